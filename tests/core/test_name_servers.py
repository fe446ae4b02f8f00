"""Where the questions of steered sockets go, and what that needs of the kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from worlds import WWAN, configured, laptop

from byway_systemd.core.apps import RefusedError
from byway_systemd.core.config import SETTINGS, Config, Profile
from byway_systemd.core.desired import Desired, desire
from byway_systemd.core.name_servers import read_server
from byway_systemd.core.operations import ReplaceTable, RestoreSysctl, WriteSysctl
from byway_systemd.core.plan import plan
from byway_systemd.core.status import build_status, find_warnings

if TYPE_CHECKING:
    from byway_systemd.core.observed import Observed

KEY = "net/ipv4/conf/wwan0/route_localnet"
(READ,) = (setting.read for setting in SETTINGS if setting.key == "direct.dns")


def asking(*dns: str) -> Desired:
    return desire(Config(profiles=(Profile(interface="wwan0", dns=dns),)))


def world(*servers: str) -> Observed:
    sysctls = (*laptop().sysctls, (KEY, "0"))
    return replace(laptop(), sysctls=sysctls, link_dns=tuple((WWAN.index, s) for s in servers))


def redirects(desired: Desired, observed: Observed) -> set[str]:
    (table,) = (o.table for o in plan(desired, observed) if isinstance(o, ReplaceTable))
    rules = (str(rule) for chain in table.chains for rule in chain.rules)
    return {rule.rpartition("dnat ")[2] for rule in rules if "dnat" in rule}


def test_the_first_server_of_each_family() -> None:
    servers = ("10.64.0.1", "10.64.0.3", "2001:db8::53")
    wanted = {"ip to 10.64.0.1", "ip6 to 2001:db8::53"}
    assert redirects(asking("direct"), world(*servers)) == wanted
    assert redirects(asking(*servers), world()) == wanted
    assert redirects(asking(), world(*servers)) == set()
    assert redirects(asking("direct"), world()) == set()


def test_other_links_servers_do_not_count() -> None:
    observed = replace(world(), link_dns=((WWAN.index + 50, "192.0.2.1"),))
    assert redirects(asking("direct"), observed) == set()


def test_the_loopback_is_opened_behind_the_rules_that_guard_it() -> None:
    operations = plan(asking("9.9.9.9"), world())
    kinds = [type(o) for o in operations]
    opened = next(n for n, o in enumerate(operations) if getattr(o, "key", "") == KEY)
    assert isinstance(operations[opened], WriteSysctl)
    assert opened > kinds.index(ReplaceTable)
    running = replace(world(), sysctls=((KEY, "1"),), saved_sysctls=((KEY, "0"),))
    for desired in (asking(), asking("2001:db8::53")):
        operations = plan(desired, running)
        assert RestoreSysctl(KEY, "0", "byway does not need it any more") in operations
    order = [getattr(o, "key", type(o).__name__) for o in plan(Desired.empty(), running)]
    assert KEY in order


def test_without_a_server_it_is_said() -> None:
    (warning,) = [w for w in find_warnings(asking("direct"), world()) if "DNS" in w]
    assert "dns = [...]" in warning
    assert not [w for w in find_warnings(asking("direct"), world("9.9.9.9")) if "DNS" in w]
    assert not [w for w in find_warnings(configured(), world()) if "DNS" in w]


def test_status_names_the_servers() -> None:
    shown = build_status(asking("direct"), world("10.64.0.1"), ())["profiles"][0]
    assert shown["dns"] == ["10.64.0.1"]


@pytest.mark.parametrize(
    ("value", "servers"),
    [
        ("system", ()),
        ("direct", ("direct",)),
        (["9.9.9.9", "2001:DB8::53", "9.9.9.9"], ("9.9.9.9", "2001:db8::53")),
        ("9.9.9.9, 2001:db8::53", ("9.9.9.9", "2001:db8::53")),
    ],
)
def test_reads(value: object, servers: tuple[str, ...]) -> None:
    assert READ(value) == servers


@pytest.mark.parametrize(
    "value", [[], "", 5, ["direct"], ["127.0.0.53"], ["fe80::1"], ["::"], [7], ["9.9.9.9"] * 9]
)
def test_refuses(value: object) -> None:
    with pytest.raises(RefusedError):
        READ(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.64.0.1", "10.64.0.1"),
        ("10.64.0.1:53", "10.64.0.1"),
        ("10.64.0.1:5353", ""),
        ("9.9.9.9#dns.quad9.net", "9.9.9.9"),
        ("2001:DB8::53", "2001:db8::53"),
        ("[2001:db8::53]:53#a", "2001:db8::53"),
        ("[2001:db8::53]:54", ""),
        ("fe80::1%2", ""),
        ("127.0.0.1", ""),
        ("224.0.0.251", ""),
        ("nonsense", ""),
    ],
)
def test_servers_as_systemd_writes_them(text: str, address: str) -> None:
    assert read_server(text) == address
