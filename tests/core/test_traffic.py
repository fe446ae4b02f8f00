"""The traffic section: what it reads, what it refuses, and what it comes to."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway_systemd.core.desired import FIRST_TABLE
from byway_systemd.core.errors import ConfigError, Problem
from byway_systemd.core.network import Family
from byway_systemd.core.parse import (
    MOST_DESTINATIONS,
    MOST_HOSTS,
    ConfigFile,
    parse_config,
    read_entries,
)
from byway_systemd.core.traffic import (
    VPN_TABLE,
    VPN_TABLE_NAME,
    Mode,
    Overrides,
    Table,
    Traffic,
    Users,
    WhenVpnDown,
    resolve_users,
)

V4, V6 = Family


def read(*texts: str, listed: str = "") -> Traffic:
    files = [ConfigFile(f"{n}.toml", text) for n, text in enumerate(texts)]
    if listed:
        files.append(ConfigFile("bypass.list", listed, is_list=True))
    return parse_config(tuple(files)).traffic


def refused(*texts: str, listed: str = "") -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        read(*texts, listed=listed)
    return caught.value.problems


def test_nothing_is_the_mode_bypass_and_no_vpn() -> None:
    assert read() == Traffic()
    assert (Traffic().mode, Traffic().uses_vpn) == (Mode.BYPASS, False)


def test_reads_every_setting() -> None:
    traffic = read("""
        [traffic]
        mode = "selective"
        vpn_interface = "wg0"
        vpn_table = 11640
        auto_local_bypass = false
        when_vpn_down = "direct"
        bypass = ["203.0.113.7", "2001:DB8::/48", "Relay.Example.net."]
        [traffic.force_direct]
        subnets = ["172.18.0.0/16", "2001:db8:1::1"]
        uids = [1000, "2000-2010", "alice"]
        cgroups = ["/system.slice/a.service", "system.slice/b.scope/", "docker", "x.scope"]
        [traffic.force_vpn]
        subnets = ["192.0.2.7"]
        uids = ["7"]
        cgroups = ["/sys/fs/cgroup/user.slice"]
        destinations = ["198.51.100.0/24"]
    """)
    assert traffic == Traffic(
        Mode.SELECTIVE,
        "wg0",
        Table(11640),
        auto_local_bypass=False,
        when_vpn_down=WhenVpnDown.DIRECT,
        force_direct=Overrides(
            ("172.18.0.0/16", "2001:db8:1::1/128"),
            (Users(1000, 1000), Users(2000, 2010), Users(0, 0, "alice")),
            ("/system.slice/a.service", "/system.slice/b.scope", "docker.service", "x.scope"),
            ("203.0.113.7/32", "2001:db8::/48", "relay.example.net"),
        ),
        force_vpn=Overrides(
            ("192.0.2.7/32",), (Users(7, 7),), ("/user.slice",), ("198.51.100.0/24",)
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        'uids = "1000, 2000-2010; 5"',
        'uids = """\n1000\n2000-2010\n\n5"""',
        'uids = ["1000,2000 - 2010", 5]',
    ],
)
def test_a_text_may_hold_several(text: str) -> None:
    traffic = read(f"[traffic.force_vpn]\n{text}")
    assert list(map(str, traffic.force_vpn.uids)) == ["1000", "2000-2010", "5"]


def test_lists_append_across_files_and_hold_a_value_once() -> None:
    one = '[traffic]\nbypass = ["192.0.2.1", "192.0.2.2"]\nmode = "direct"'
    two = '[traffic]\nbypass = ["192.0.2.1/32", "192.0.2.3"]\nmode = "selective"'
    traffic = read(one, two, listed="192.0.2.3\n# none\n\n  192.0.2.4 # why\n")
    assert traffic.mode is Mode.SELECTIVE
    assert traffic.force_direct.destinations == tuple(f"192.0.2.{n}/32" for n in (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("mode", '"sideways"', '"full_tunnel", "selective" or "direct"'),
        ("when_vpn_down", '"vpn"', '"block" or "direct"'),
        ("auto_local_bypass", "1", "without quotes"),
        ("vpn_table", "254", "from 11622 to 11653"),
        ("vpn_table", "51820", "51820: routes of others in it would be removed"),
        ("vpn_table", "11590", "from 11622 to 11653"),
        ("vpn_table", "11654", "from 11622 to 11653"),
        ("vpn_table", '"11640"', "from 11622 to 11653, without quotes"),
        ("vpn_table", '"../x"', "not the name of a routing table: '../x'"),
        ("vpn_table", "true", "not a routing table: True (write"),
        ("vpn_table", "true", "from 11622 to 11653"),
        ("bypass", '"10.0.0.1/8"', "first address: 10.0.0.0/8"),
        ("bypass", '["0.0.0.0/0"]', "everything"),
        ("bypass", '["::1"]', "never leaves"),
        ("bypass", '["224.0.0.1"]', "never leaves"),
        ("bypass", '["localhost"]', "never leaves"),
        ("bypass", '["a..b"]', "not an address"),
        ("bypass", '["-a.example"]', "not an address"),
        ("bypass", '["1.2.3"]', "not a subnet"),
        ("bypass", '[""]', "empty"),
        ("bypass", "[7]", "in quotes"),
        ("bypass", "7", "not a list"),
        ("force_direct.uids", '["9-2"]', "write 2-9"),
        ("force_direct.uids", "[4294967295]", "at most 4294967294"),
        ("force_direct.uids", "[-1]", "not a user"),
        ("force_direct.uids", "[true]", "not a user"),
        ("force_vpn.uids", '["a b"]', "not a user"),
        ("force_vpn.cgroups", '["/"]', "every cgroup"),
        ("force_vpn.cgroups", '["a/../b"]', "without //"),
        ("force_vpn.cgroups", '["a\\u0000"]', "control character"),
        ("force_vpn.subnets", '["x"]', "not a subnet"),
        ("force_direct.destinations", "[]", "unknown key"),
    ],
)
def test_refuses(key: str, value: str, said: str) -> None:
    (problem,) = refused(f"[traffic]\n{key} = {value}")
    assert said in f"{problem}"
    assert (problem.file, problem.line) == ("0.toml", 2)
    assert problem.key.startswith(f"traffic.{key}")


def test_a_value_on_both_sides_is_refused_and_says_where() -> None:
    text = '[traffic]\nbypass = ["192.0.2.1"]\n[traffic.force_direct]\nuids = ["5"]\n'
    both = '[traffic.force_vpn]\nuids = "5"\ndestinations = ["192.0.2.1"]\nsubnets = ["192.0.2.1"]'
    assert [str(p) for p in refused(text, both)] == [
        "1.toml:2: traffic.force_vpn.uids: forced both ways: '5' "
        "(it is in 0.toml, traffic.force_direct.uids[0]: remove one of them)",
        "1.toml:3: traffic.force_vpn.destinations[0]: forced both ways: '192.0.2.1/32' "
        "(it is in 0.toml, traffic.bypass[0]: remove one of them)",
    ]


def test_a_list_file_names_its_lines() -> None:
    assert [str(p) for p in refused(listed="192.0.2.1\n\nx y\n")] == [
        "bypass.list:3: not an address, a prefix or a host's name: 'x y' "
        "(write one such as 203.0.113.7, 2001:db8::/48 or relay.example.net)"
    ]


def test_a_list_file_is_bounded() -> None:
    (problem,) = refused(listed="\n" * MOST_DESTINATIONS)
    assert "200000 lines" in str(problem)


def test_what_overlaps_is_joined() -> None:
    overrides = Overrides(
        ("10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "2001:db8::/48"),
        (Users(5, 9), Users(1, 3), Users(4, 4), Users(8, 12), Users(0, 0, "alice")),
    )
    assert (overrides.sources(V4), overrides.sources(V6)) == (("10.0.0.0/8",), ("2001:db8::/48",))
    assert overrides.user_ranges() == ((1, 12),)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 9)).map(lambda p: (p[0], sum(p)))))
def test_joined_ranges_hold_the_same_ids(ranges: list[tuple[int, int]]) -> None:
    joined = Overrides(uids=tuple(Users(*ends) for ends in ranges)).user_ranges()
    ids = [set(range(first, last + 1)) for first, last in joined]
    assert set().union(*ids) == {i for first, last in ranges for i in range(first, last + 1)}
    assert all(before[1] + 1 < after[0] for before, after in pairwise(joined))


def test_names_of_users_become_their_ids() -> None:
    traffic = read('[traffic.force_vpn]\nuids = ["alice", "bob", "7"]')
    resolved, unknown = resolve_users(traffic, {"alice": 1000}.get)
    assert (resolved.force_vpn.user_ranges(), unknown) == (((7, 7), (1000, 1000)), ("bob",))


def test_user_entries_know_their_places() -> None:
    file = ConfigFile("a.toml", '[traffic.force_vpn]\nuids = ["alice", "7"]')
    assert [(str(e.value), e.path[-1]) for e in read_entries((file,))] == [("alice", 0), ("7", 1)]


def test_names_of_hosts_are_told_from_prefixes() -> None:
    traffic = read(
        '[traffic]\nbypass = ["b.example", "192.0.2.1"]\n'
        '[traffic.force_vpn]\ndestinations = ["a.example"]'
    )
    assert traffic.host_names == ("a.example", "b.example")


def test_names_of_hosts_are_bounded() -> None:
    names = "\n".join(f"h{n}.example" for n in range(MOST_HOSTS + 1))
    (problem,) = refused(listed=names)
    assert "too many names" in str(problem)


@pytest.mark.parametrize(
    ("value", "table"), [('"agvpn"', 11653), ("11653", 11653), ("11622", 11622), ("11640", 11640)]
)
def test_tables_of_the_vpn(value: str, table: int) -> None:
    assert read(f"[traffic]\nvpn_table = {value}\n").vpn_table == Table(table)


def test_names_of_tables_know_their_places() -> None:
    file = ConfigFile("a.toml", '[traffic]\nvpn_table = "work"')
    ((entry,), config) = read_entries((file,)), parse_config((file,))
    assert (entry.value.name, entry.path) == ("work", ("traffic", "vpn_table"))
    assert config.traffic.vpn_table.name == "work"


def test_names_of_the_tables_are_those_of_iproute2() -> None:
    lines = (Path(__file__).parents[2] / "units/rt_tables.conf").read_text().splitlines()
    named = dict(line.split() for line in lines if not line.startswith("#"))
    assert named == {str(FIRST_TABLE): "byway", str(VPN_TABLE): VPN_TABLE_NAME}
