"""Modes, overrides and destinations: which link real packets leave by."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from itertools import pairwise

import pytest

from byway_systemd.core.network import Tunnel
from byway_systemd.core.traffic import Mode, Overrides, Table, Traffic, Users, WhenVpnDown
from netns.crossing import (
    CONTAINER,
    SUBNETS,
    VPN_TABLE,
    Crossing,
    look_around,
    set_owner,
)
from netns.world import (
    CLIENT_DIRECT,
    CLIENT_VPN,
    FAMILIES,
    SERVERS,
    ask,
    ip,
)

BOTH = pytest.mark.parametrize("version", [4, 6])
KINDS = pytest.mark.parametrize("kind", ["udp", "tcp"])
OWNERS = pytest.mark.parametrize("owner", ["nobody", "halves", "wg-quick"])
USER = 12345
USERS = (Users(USER, USER + 5),)


def _traffic(mode: Mode = Mode.BYPASS, **fields: object) -> Traffic:
    return Traffic(mode=mode, vpn_interface="vpn0", **fields)  # type: ignore[arg-type]


WAYS = {
    Mode.BYPASS: {"nobody": "direct", "halves": "vpn", "wg-quick": "vpn"},
    Mode.FULL_TUNNEL: dict.fromkeys(["nobody", "halves", "wg-quick"], "vpn"),
    Mode.SELECTIVE: dict.fromkeys(["nobody", "halves", "wg-quick"], "direct"),
    Mode.DIRECT: dict.fromkeys(["nobody", "halves", "wg-quick"], "direct"),
}


@BOTH
@OWNERS
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("first", ["byway", "the VPN client"])
def test_a_mode_decides_about_what_nothing_else_does(
    crossing: Crossing, mode: Mode, owner: str, version: int, first: str
) -> None:
    if first == "byway":
        crossing.steer(_traffic(mode))
    set_owner(crossing, owner)
    crossing.steer(_traffic(mode))
    found = {
        (kind, forwarded): crossing.way(version, kind, forwarded=forwarded)
        for kind in ("udp", "tcp")
        for forwarded in (False, True)
    }
    assert set(found.values()) == {WAYS[mode][owner]}, found


def _everywhere(crossing: Crossing, version: int, selector: str) -> dict[str, str]:
    """Return the ways of what a selector of ``_overrides`` takes, by protocol."""
    how: dict[str, object] = {
        "own source": {"source": CLIENT_VPN[version]},
        "containers": {"forwarded": True},
        "user": {"uid": USER + 3},
        "cgroup": {"cgroup": 2},
        "destination": {},
        "destination, forwarded": {"forwarded": True},
    }[selector]  # type: ignore[assignment]
    return {kind: crossing.way(version, kind, **how) for kind in ("udp", "tcp")}  # type: ignore[arg-type]


def _overrides(crossing: Crossing, version: int, selector: str) -> Overrides:
    bits = 32 if version == 4 else 128
    return {
        "own source": Overrides(subnets=(f"{CLIENT_VPN[version]}/{bits}",)),
        "containers": Overrides(subnets=(SUBNETS[version],)),
        "user": Overrides(uids=USERS),
        "cgroup": Overrides(cgroups=(crossing.cgroup(1),)),
        "destination": Overrides(
            destinations=(f"{SERVERS[version]}/{32 if version == 4 else 128}",)
        ),
        "destination, forwarded": Overrides(
            destinations=({4: "198.51.100.0/24", 6: "2001:db8:99::/48"}[version],)
        ),
    }[selector]


SELECTORS = ("own source", "containers", "user", "cgroup", "destination", "destination, forwarded")
OF_EACH = pytest.mark.parametrize("selector", SELECTORS)


@BOTH
@OF_EACH
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("owner", ["nobody", "wg-quick"])
def test_an_override_beats_the_mode(
    crossing: Crossing, selector: str, mode: Mode, owner: str, version: int
) -> None:
    """Whatever the mode, and whoever has the default route; and gone when it is taken back."""
    set_owner(crossing, owner)
    overrides = _overrides(crossing, version, selector)
    way = {}
    for side in ("direct", "vpn"):
        crossing.steer(_traffic(mode, **{f"force_{side}": overrides}))
        way[side] = set(_everywhere(crossing, version, selector).values())
    assert way == {"direct": {"direct"}, "vpn": {"vpn"}}
    crossing.steer(_traffic(mode))
    assert crossing.way(version) == WAYS[mode][owner]


HERE = ("own source", "user", "cgroup", "destination")
THROUGH = ("containers", "destination, forwarded")
PAIRS = [(o, t) for some in (HERE, THROUGH) for o in some for t in some]


@BOTH
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_direct_beats_vpn(crossing: Crossing, ours: str, theirs: str, version: int) -> None:
    """Of every pair of selectors that one packet can fit."""
    direct = _overrides(crossing, version, ours)
    vpn = _overrides(crossing, version, theirs)
    forwarded = ours in THROUGH
    how = {} if forwarded else {"uid": USER, "cgroup": 2, "source": CLIENT_VPN[version]}
    for mode in (Mode.SELECTIVE, Mode.FULL_TUNNEL):
        crossing.steer(_traffic(mode, force_direct=direct, force_vpn=vpn))
        for kind in ("udp", "tcp"):
            found = crossing.way(version, kind, forwarded=forwarded, **how)  # type: ignore[arg-type]
            assert found == "direct", (mode, kind)


@BOTH
@pytest.mark.parametrize("side", ["direct", "vpn"])
def test_past_the_bands_sets_do_what_rules_did(crossing: Crossing, side: str, version: int) -> None:
    bits = 32 if version == 4 else 128
    base = {4: "203.0.113.", 6: "2001:db8:77::"}[version]
    subnets = (*(f"{base}{n}/{bits}" for n in range(1, 200, 2)), SUBNETS[version])
    users = (*(Users(n, n) for n in range(20_000, 30_000, 2)), *USERS)
    mode = Mode.FULL_TUNNEL if side == "direct" else Mode.SELECTIVE
    crossing.steer(_traffic(mode, **{f"force_{side}": Overrides(subnets, users)}))
    assert len(look_around(crossing).rules) < 30
    for kind in ("udp", "tcp"):
        assert crossing.way(version, kind, uid=USER) == side
        assert crossing.way(version, kind, uid=USER + 6) != side
        assert crossing.way(version, kind, uid=20_002) == side
        assert crossing.way(version, kind, uid=20_003) != side
        assert crossing.way(version, kind, forwarded=True) == side
    # What took a connection's source by another route has the link's own.
    own = {"direct": CLIENT_DIRECT, "vpn": CLIENT_VPN}[side][version]
    assert crossing.machine.run(lambda: _ask_as(USER, version)) == f"{side} {own}"


def _ask_as(uid: int, version: int) -> str:
    os.setuid(uid)
    return ask(version, "tcp")


@BOTH
def test_cgroups_of_one_user_are_told_apart_at_any_depth(crossing: Crossing, version: int) -> None:
    crossing.steer(_traffic(Mode.SELECTIVE, force_vpn=Overrides(cgroups=(crossing.cgroup(2),))))
    ways = [crossing.way(version, uid=USER, cgroup=level) for level in range(4)]
    assert ways == ["direct", "direct", "vpn", "vpn"]


@BOTH
@pytest.mark.parametrize("mode", Mode)
def test_what_is_near_stays_near(crossing: Crossing, mode: Mode, version: int) -> None:
    """Containers are reached from here in every mode, also by what is forced to the VPN."""

    def listen() -> str:
        family = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
        with socket.socket(family, socket.SOCK_DGRAM) as server:
            server.bind((CONTAINER[version], 7100))
            server.settimeout(3)
            _, peer = server.recvfrom(99)
            server.sendto(b"here", peer)
            return "reached"

    def call() -> str:
        import socket  # noqa: PLC0415

        os.setuid(USER)
        family = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
        with socket.socket(family, socket.SOCK_DGRAM) as caller:
            caller.settimeout(0.2)
            for _ in range(10):
                caller.sendto(b"?", (CONTAINER[version], 7100))
                with suppress(TimeoutError, ConnectionRefusedError):
                    return caller.recv(99).decode()
        return ""

    crossing.steer(_traffic(mode, force_vpn=Overrides(uids=USERS)))
    child = crossing.container.start(listen)
    assert crossing.machine.run(call) == "here"
    assert child.result() == "reached"


@BOTH
@pytest.mark.parametrize(
    ("mode", "when", "way"),
    [
        (Mode.FULL_TUNNEL, WhenVpnDown.BLOCK, ""),
        (Mode.FULL_TUNNEL, WhenVpnDown.DIRECT, "direct"),
        (Mode.SELECTIVE, WhenVpnDown.BLOCK, ""),
        (Mode.SELECTIVE, WhenVpnDown.DIRECT, "direct"),
    ],
)
def test_a_vpn_that_is_down_blocks_or_not(
    crossing: Crossing, mode: Mode, when: WhenVpnDown, way: str, version: int
) -> None:
    """At once, before byway has seen it, and after; what is direct goes on."""
    traffic = _traffic(
        mode,
        when_vpn_down=when,
        force_vpn=Overrides(uids=USERS, cgroups=(crossing.cgroup(1),)),
        force_direct=Overrides(uids=(Users(USER + 9, USER + 9),)),
    )
    crossing.steer(traffic)
    name = crossing.machine.name
    ip("-n", name, "link", "set", "vpn0", "down")
    try:
        at_once = {crossing.way(version, uid=USER), crossing.way(version, cgroup=1)}
        assert at_once == {""}
        crossing.steer(traffic)
        after = {crossing.way(version, uid=USER), crossing.way(version, cgroup=1)}
        if mode is Mode.FULL_TUNNEL:
            after.add(crossing.way(version))
        assert after == {way}
        assert crossing.way(version, uid=USER + 9) == "direct"
    finally:
        _restore_vpn(crossing)
    crossing.steer(traffic)
    assert crossing.way(version, uid=USER) == crossing.way(version, cgroup=1) == "vpn"


def _restore_vpn(crossing: Crossing) -> None:
    """Set the link up again, with what a VPN client would give it."""
    name = crossing.machine.name
    ip("-n", name, "link", "set", "vpn0", "up")
    near = CLIENT_VPN[6]
    with suppress(AssertionError):
        ip("-n", name, "address", "add", f"{near}/64", "dev", "vpn0", "nodad")
    for version in (4, 6):
        route = ("default", "via", f"{CLIENT_VPN[version][:-1]}2", "dev", "vpn0")
        ip("-n", name, f"-{version}", "route", "replace", *route, "table", VPN_TABLE)


@BOTH
@pytest.mark.parametrize("new", [Mode.FULL_TUNNEL, Mode.SELECTIVE, Mode.DIRECT, Mode.BYPASS])
@pytest.mark.parametrize("old", [Mode.FULL_TUNNEL, Mode.SELECTIVE, Mode.DIRECT, Mode.BYPASS])
def test_nothing_goes_wrong_between_two_modes(
    crossing: Crossing, old: Mode, new: Mode, version: int
) -> None:
    """After each operation: what both modes decide alike never changes, the rest but once."""
    subnet = {4: "10.1.0.1/32", 6: "2001:db8:1::1/128"}[version]
    fields = {
        "force_direct": Overrides(subnets=(subnet,)),
        "force_vpn": Overrides(uids=USERS),
    }
    set_owner(crossing, "halves")
    crossing.steer(_traffic(old, **fields))

    def look() -> tuple[str, str, str]:
        forced = ask(version, source=CLIENT_DIRECT[version]).split(" ", maxsplit=1)[0]
        os.seteuid(USER)
        user = ask(version).split(" ", maxsplit=1)[0]
        os.seteuid(0)
        return forced, user, ask(version).split(" ", maxsplit=1)[0]

    looks = crossing.step(_traffic(new, **fields), look)
    assert {forced for forced, _, _ in looks} == {"direct"}
    assert {user for _, user, _ in looks} == {"vpn"}
    undecided = [way for _, _, way in looks]
    before, after = WAYS[old]["halves"], WAYS[new]["halves"]
    changes = [pair for pair in pairwise(undecided) if pair[0] != pair[1]]
    assert (undecided[0], undecided[-1]) == (before, after)
    assert len(changes) == (before != after)


@BOTH
@pytest.mark.parametrize(
    ("mode", "side", "way"), [(Mode.FULL_TUNNEL, "direct", "direct"), (Mode.DIRECT, "vpn", "vpn")]
)
def test_what_is_excepted_from_a_mode_is_so_before_the_mode(
    crossing: Crossing, mode: Mode, side: str, way: str, version: int
) -> None:
    """A destination goes the same way before, at every step, after, and on the way down."""
    set_owner(crossing, {"direct": "nobody", "vpn": "halves"}[way])
    prefix = f"{SERVERS[version]}/{32 if version == 4 else 128}"
    excepted = _traffic(mode, **{f"force_{side}": Overrides(destinations=(prefix,))})

    def look() -> str:
        return ask(version).split(" ", maxsplit=1)[0]

    crossing.steer(_traffic())
    assert set(crossing.step(excepted, look)) == {way}
    assert set(crossing.step(None, look)) == {way}


@BOTH
@KINDS
def test_the_tunnels_own_packets_do_not_enter_it(
    crossing: Crossing, kind: str, version: int
) -> None:
    """By their endpoint, or by the link's mark."""
    bits = 32 if version == 4 else 128
    index = next(link.index for link in look_around(crossing).links if link.name == "vpn0")
    endpoint = Tunnel(index, 0, (f"{SERVERS[version]}/{bits}",))
    everybody = Overrides(uids=(Users(0, 5),), cgroups=(crossing.cgroup(0),))
    for traffic in (_traffic(Mode.FULL_TUNNEL), _traffic(Mode.BYPASS, force_vpn=everybody)):
        crossing.steer(traffic)
        assert crossing.way(version, kind, cgroup=1) == "vpn"
        crossing.steer(traffic, tunnel=endpoint)
        assert crossing.way(version, kind, cgroup=1) == "direct"
    crossing.steer(_traffic(Mode.FULL_TUNNEL), tunnel=Tunnel(index, 51820))
    assert crossing.way(version, kind) == "vpn"
    marked = crossing.machine.run(lambda: ask(version, kind, mark=51820))
    assert marked.startswith("direct")


def _connect_from_afar(version: int, address: tuple[str, int]) -> socket.socket:
    """Return a connection from an address that is not near."""
    client = socket.socket(FAMILIES[version])
    client.bind((SERVERS[version], 0))
    client.settimeout(3)
    try:
        client.connect(address)
    except OSError:
        client.close()
        raise
    return client


def _log_in(version: int, address: tuple[str, int]) -> bytes:
    """Return the server's answer, once there is a server."""
    for _ in range(50):
        with suppress(ConnectionRefusedError), _connect_from_afar(version, address) as client:
            client.send(b"?")
            return client.recv(1)
        time.sleep(0.02)
    return b""


@BOTH
def test_a_login_by_the_direct_link_outlives_whatever_is_forced(
    crossing: Crossing, version: int
) -> None:
    """One that is open goes on, and a new one is answered by the link it came in by."""
    crossing.steer(_traffic(Mode.BYPASS))
    address = (CLIENT_DIRECT[version], 7200)
    own = Overrides(subnets=(f"{CLIENT_DIRECT[version]}/{32 if version == 4 else 128}",))
    each = [_traffic(mode) for mode in (Mode.FULL_TUNNEL, Mode.SELECTIVE, Mode.DIRECT)]
    each += [_traffic(force_vpn=Overrides(uids=(Users(0, 9),))), _traffic(force_vpn=own), each[0]]

    def serve() -> int:
        served = 0
        with socket.create_server(address, family=FAMILIES[version]) as server:
            server.settimeout(20)
            for _ in range(len(each) + 1):
                connection, _peer = server.accept()
                with connection:
                    while connection.recv(1):
                        connection.send(b".")
                        served += 1
        return served

    server = crossing.machine.start(serve)
    assert crossing.direct.run(lambda: _log_in(version, address)) == b"."
    for traffic in each:
        ready, told = os.pipe(), os.pipe()

        def talk(ready: tuple[int, int] = ready, told: tuple[int, int] = told) -> bytes:
            with _connect_from_afar(version, address) as client:
                client.send(b"?")
                first = client.recv(1)
                os.write(ready[1], b".")
                os.read(told[0], 1)
                client.send(b"?")
                return first + client.recv(1)

        child = crossing.direct.start(talk)
        os.read(ready[0], 1)
        crossing.steer(traffic, forget=False)
        os.write(told[1], b".")
        assert child.result() == b"..", traffic
    assert server.result() == 1 + 2 * len(each)


@BOTH
def test_another_table_of_the_vpn(crossing: Crossing, version: int) -> None:
    """By its number; the one before holds nothing any more."""
    for table, other in ((11640, 11653), (11653, 11640)):
        crossing.steer(_traffic(Mode.FULL_TUNNEL, vpn_table=Table(table)))
        tables = {route.table for route in look_around(crossing).routes}
        assert (table in tables, other in tables) == (True, False)
        assert crossing.way(version) == "vpn"


def test_100_000_prefixes_are_one_set(crossing: Crossing) -> None:
    numbers = range(0, 200_000, 2)
    prefixes = [f"11.{n >> 16}.{n >> 8 & 255}.{n & 255}/32" for n in numbers]
    direct = Overrides(destinations=(*prefixes, f"{SERVERS[4]}/32"))
    applied = crossing.steer(_traffic(Mode.FULL_TUNNEL, force_direct=direct))
    assert applied.count("ReplaceTable") == 1
    assert crossing.way(4) == "direct"
    fewer = Overrides(destinations=tuple(prefixes))
    assert crossing.steer(_traffic(Mode.FULL_TUNNEL, force_direct=fewer)) == ["UpdateSet"]
    assert crossing.way(4) == "vpn"
