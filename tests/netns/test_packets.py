"""What each nft statement does to real packets, IPv4 and IPv6, UDP and TCP."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.nftables import (
    Chain,
    ChainType,
    Counter,
    Direction,
    Hook,
    Masquerade,
    MatchAddress,
    MatchCgroup,
    MatchFlowMark,
    MatchLink,
    MatchMark,
    MatchSourceOnLink,
    MatchState,
    NftRule,
    NftSet,
    NftTable,
    SetFlowMark,
    SetKind,
    SetMark,
    Side,
    Statement,
    Verdict,
)
from byway_systemd.system.nftables import Nftables
from byway_systemd.system.sysctls import write_sysctl
from netns.world import (
    CLIENT_DIRECT,
    CLIENT_VPN,
    FAMILIES,
    SERVERS,
    TABLE,
    World,
    ask,
    connect,
    exchange,
    ip,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK, DIRECT = 0x3F000000, 0x01000000
LOOPBACK = 1
BOTH = pytest.mark.parametrize("version", [4, 6])
KINDS = pytest.mark.parametrize("kind", ["udp", "tcp"])


@dataclass(frozen=True)
class Steering:
    """The rules that steer a cgroup, as byway lays them out."""

    world: World
    levels: tuple[int, ...] = (1,)
    members: tuple[str, ...] = ()

    def table(self) -> NftTable:
        """Return the table."""
        link, mark = self.world.direct_index, MatchMark(MASK, DIRECT)
        flow = (MatchFlowMark(MASK, DIRECT), SetMark(MASK, DIRECT))
        new, take = MatchState(("new",)), (SetMark(MASK, DIRECT), SetFlowMark(MASK, DIRECT))
        rules = (NftRule(f"level {n}", (new, MatchCgroup(n, "apps"), *take)) for n in self.levels)
        inbound = (MatchLink(Direction.IN, link), new, SetFlowMark(MASK, DIRECT))
        away = (mark, MatchLink(Direction.OUT, link, equal=False))
        egress = (*away, MatchLink(Direction.OUT, LOOPBACK, equal=False), Counter(), Verdict.DROP)
        wrong = (mark, MatchLink(Direction.OUT, link), MatchSourceOnLink(local=False))
        return NftTable(
            "byway",
            (
                _chain("output", ChainType.ROUTE, Hook.OUTPUT, -150, flow_then(flow, rules)),
                _chain(
                    "prerouting",
                    ChainType.FILTER,
                    Hook.PREROUTING,
                    -150,
                    (NftRule("inbound", inbound), NftRule("restore", flow)),
                ),
                _chain(
                    "egress", ChainType.FILTER, Hook.POSTROUTING, 0, (NftRule("egress", egress),)
                ),
                _chain(
                    "source",
                    ChainType.NAT,
                    Hook.POSTROUTING,
                    99,
                    (NftRule("wrong source", (*wrong, Counter(), Masquerade())),),
                ),
            ),
            (NftSet("apps", SetKind.CGROUP, self.members),),
        )


def flow_then(flow: tuple[Statement, ...], rules: Iterable[NftRule]) -> tuple[NftRule, ...]:
    """Return the rule that carries the flow's mark, then ``rules``."""
    return (NftRule("carry", flow), *rules)


def _chain(
    name: str, kind: ChainType, hook: Hook, priority: int, rules: tuple[NftRule, ...]
) -> Chain:
    return Chain(name, kind, hook, priority, rules)


def install(table: NftTable) -> None:
    """Install ``table`` in the namespace of the caller."""
    with Nftables() as nftables:
        nftables.replace_table(table)


def counters(world: World) -> dict[str, tuple[int, int]]:
    """Return the counters of the client's table."""

    def read() -> dict[str, tuple[int, int]]:
        with Nftables() as nftables:
            return nftables.read_counters("byway")

    counted: dict[str, tuple[int, int]] = world.client.run(read)
    return counted


def steer(world: World, *levels: int, members: tuple[str, ...] | None = None) -> None:
    """Steer the cgroups at ``levels`` (level 1 when none is given)."""
    chosen = levels or (1,)
    ids = world.ids()
    elements = tuple(ids[level - 1] for level in chosen) if members is None else members
    world.client.run(lambda: install(Steering(world, chosen, elements).table()))


@BOTH
@KINDS
def test_the_mark_leads_the_cgroup_out_by_the_direct_link(
    world: World, version: int, kind: str
) -> None:
    steer(world)
    inside = world.client.run(lambda: ask(version, kind), world.cgroups[0])
    outside = world.client.run(lambda: ask(version, kind))
    assert inside == f"direct {CLIENT_DIRECT[version]}"
    assert outside == f"vpn {CLIENT_VPN[version]}"


@BOTH
@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_a_level_matches_what_is_below_and_not_what_is_above(
    world: World, version: int, level: int
) -> None:
    steer(world, level)
    ways = [world.client.run(lambda: ask(version), path).split()[0] for path in world.cgroups]
    assert ways == ["vpn"] * (level - 1) + ["direct"] * (5 - level)


def test_one_set_serves_several_levels(world: World) -> None:
    ids = world.ids()
    steer(world, 2, 4, members=(ids[1], ids[3]))
    assert world.client.run(lambda: ask(4), world.cgroups[0]).startswith("vpn")
    assert world.client.run(lambda: ask(4), world.cgroups[1]).startswith("direct")


@BOTH
def test_the_flow_keeps_its_way_when_the_cgroup_leaves_the_set(world: World, version: int) -> None:
    steer(world)

    def talk() -> list[str]:
        with connect(version, "tcp") as connection, Nftables() as nftables:
            before = exchange(connection)
            nftables.update_set("byway", "apps", SetKind.CGROUP, (), world.ids()[:1])
            return [before, exchange(connection), ask(version, "tcp")]

    first, second, other = world.client.run(talk, world.cgroups[0])
    assert first == second == f"direct {CLIENT_DIRECT[version]}"
    assert other.startswith("vpn")


@BOTH
def test_an_open_flow_is_left_where_it_is(world: World, version: int) -> None:
    steer(world, members=())

    def talk() -> list[str]:
        with connect(version, "tcp") as connection, Nftables() as nftables:
            before = exchange(connection)
            nftables.update_set("byway", "apps", SetKind.CGROUP, world.ids()[:1], ())
            return [before, exchange(connection), ask(version, "tcp")]

    first, second, other = world.client.run(talk, world.cgroups[0])
    assert first == second == f"vpn {CLIENT_VPN[version]}"
    assert other.startswith("direct")


@KINDS
@pytest.mark.parametrize(("valid_mark", "way"), [("1", "direct"), ("0", "")])
def test_strict_reverse_path_filter_needs_src_valid_mark(
    world: World, kind: str, valid_mark: str, way: str
) -> None:
    def talk() -> str:
        write_sysctl("net/ipv4/conf/direct0/rp_filter", "1")
        write_sysctl("net/ipv4/conf/direct0/src_valid_mark", valid_mark)
        return ask(4, kind)

    steer(world)
    assert world.client.run(talk, world.cgroups[0])[: len("direct")] == way


@BOTH
def test_only_a_wrong_source_is_rewritten(world: World, version: int) -> None:
    steer(world)
    right = CLIENT_DIRECT[version]
    assert world.client.run(lambda: ask(version, source=right), world.cgroups[0]) == (
        f"direct {right}"
    )
    assert counters(world)["wrong source"] == (0, 0)
    assert world.client.run(lambda: ask(version), world.cgroups[0]) == f"direct {right}"
    assert counters(world)["wrong source"][0] == 1


@BOTH
def test_marked_packets_never_leave_by_another_link(world: World, version: int) -> None:
    steer(world)
    ip("-n", world.client.name, f"-{version}", "rule", "delete", "preference", TABLE)
    assert world.client.run(lambda: ask(version), world.cgroups[0]) == ""
    assert world.client.run(lambda: ask(version)).startswith("vpn")
    assert counters(world)["egress"][0] >= 1


@BOTH
@KINDS
def test_an_inbound_flow_is_answered_by_the_direct_link(
    world: World, version: int, kind: str
) -> None:
    steer(world, members=())
    assert _reach(world, version, kind) == "served"


@BOTH
@KINDS
def test_prerouting_sees_the_cgroup_of_a_listener(world: World, version: int, kind: str) -> None:
    inbound = (MatchLink(Direction.IN, world.direct_index), MatchState(("new",)))
    flow = (MatchFlowMark(MASK, DIRECT), SetMark(MASK, DIRECT))
    rule = (*inbound, MatchCgroup(1, "apps"), Counter(), SetFlowMark(MASK, DIRECT))
    chains = (
        _chain("pre", ChainType.FILTER, Hook.PREROUTING, -150, (NftRule("listener", rule),)),
        _chain("out", ChainType.ROUTE, Hook.OUTPUT, -150, (NftRule("carry", flow),)),
    )
    table = NftTable("byway", chains, (NftSet("apps", SetKind.CGROUP, world.ids()[:1]),))
    for _ in range(3):
        world.client.run(lambda: install(table))  # anew: the counter begins at 0
        assert _reach(world, version, kind) == "served"
        if counters(world)["listener"][0] == 1:
            break  # more: a busy machine lost a packet, and it was sent again as a new flow
    assert counters(world)["listener"][0] == 1


def _reach(world: World, version: int, kind: str) -> str:
    """Return the answer of a server in the client's cgroup to the namespace ``direct``."""
    types = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
    address = (CLIENT_DIRECT[version], 7010)

    def serve() -> None:
        with socket.socket(FAMILIES[version], types[kind]) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.settimeout(3)
            # Not any address: without a mark on the socket, an unconnected UDP socket takes its
            # source by the main table, before any hook, and the answer is of no known flow.
            server.bind(address)
            if kind == "udp":
                server.sendto(b"served", server.recvfrom(2048)[1])
                return
            server.listen()
            connection, _ = server.accept()
            with connection:
                connection.settimeout(1)
                connection.recv(2048)
                connection.send(b"served")

    def call() -> str:
        for _ in range(20):
            with socket.socket(FAMILIES[version], types[kind]) as caller:
                # The server's address, to which the client's main table leads by the VPN.
                caller.bind((SERVERS[version], 0))
                caller.settimeout(0.5)
                try:
                    caller.connect(address)
                    return exchange(caller)
                except (ConnectionRefusedError, TimeoutError):
                    # Not listening yet: the refusal, of no socket in the cgroup, may go by the VPN.
                    continue
        return "refused"

    def greet() -> None:
        # Neighbour discovery for an off-link source would be answered by way of the VPN link.
        with socket.socket(FAMILIES[version], socket.SOCK_DGRAM) as neighbour:
            neighbour.sendto(b"", (CLIENT_DIRECT[version], 9))
            time.sleep(0.05)

    world.direct.run(greet)
    server = world.client.start(serve, world.cgroups[0])
    _wait_for_listener(world, version, kind, address[1])
    answered: str = world.direct.run(call)
    server.result()
    return answered


def _wait_for_listener(world: World, version: int, kind: str, port: int) -> None:
    name = f"/proc/self/net/{kind}{'6' if version == 6 else ''}"
    for _ in range(200):
        text = world.client.run(lambda: Path(name).read_text(encoding="ascii"))
        if f":{port:04X} " in text:
            return
    raise AssertionError("the listener does not come up")


OURS = MatchMark(0xFFFFFFFF, 0x0200CA6C)  # the mark of the datagram to count
SERVER4, SERVER6 = SERVERS[4], SERVERS[6]
SETS = (
    NftSet("server4", SetKind.IPV4, (f"{SERVER4}/32",)),
    NftSet("server6", SetKind.IPV6, (f"{SERVER6}/128",)),
    NftSet("own4", SetKind.IPV4, ("10.2.0.0/24",)),
    NftSet("everything4", SetKind.IPV4, ("0.0.0.0/0",)),
    NftSet("top4", SetKind.IPV4, ("198.51.100.2/31", "255.0.0.0/8")),
    NftSet("own6", SetKind.IPV6, ("2001:db8:2::/64",)),
    NftSet("empty4", SetKind.IPV4),
)
V4, V6 = SetKind.IPV4, SetKind.IPV6
TO, FROM = Side.DESTINATION, Side.SOURCE
# A statement, and whether it matches an IPv4 and an IPv6 datagram sent to the server with the
# mark 0x0200ca6c by the VPN link.
MATCHES: tuple[tuple[Statement, bool, bool], ...] = (
    (MatchMark(MASK, 0x02000000), True, True),
    (MatchMark(MASK, DIRECT), False, False),
    (MatchMark(MASK, DIRECT, equal=False), True, True),
    (MatchMark(0xFFFFFFFF, 0x0200CA6C), True, True),
    (MatchFlowMark(MASK, 0), True, True),
    (MatchFlowMark(MASK, 0, equal=False), False, False),
    (MatchState(("new",)), True, True),
    (MatchState(("established", "related")), False, False),
    (MatchState(("established", "new")), True, True),
    (MatchState(("untracked", "invalid")), False, False),
    (MatchCgroup(1, "nobody"), False, False),
    (MatchLink(Direction.OUT, LOOPBACK), False, False),
    (MatchLink(Direction.OUT, LOOPBACK, equal=False), True, True),
    (MatchAddress(V4, TO, "server4"), True, False),
    (MatchAddress(V4, TO, "server4", member=False), False, False),
    (MatchAddress(V4, TO, "top4"), False, False),
    (MatchAddress(V4, TO, "top4", member=False), True, False),
    (MatchAddress(V4, TO, "everything4"), True, False),
    (MatchAddress(V4, TO, "empty4"), False, False),
    (MatchAddress(V4, FROM, "own4"), True, False),
    (MatchAddress(V6, TO, "server6"), False, True),
    (MatchAddress(V6, FROM, "own6"), False, True),
    (MatchAddress(V6, FROM, "server6", member=False), False, True),
    (MatchSourceOnLink(), True, True),
    (MatchSourceOnLink(local=False), False, False),
)


@pytest.mark.parametrize(("statement", "on_ipv4", "on_ipv6"), MATCHES, ids=str)
def test_what_a_statement_matches(
    world: World, statement: Statement, on_ipv4: bool, on_ipv6: bool
) -> None:
    for version, expected in ((4, on_ipv4), (6, on_ipv6)):
        rules = (NftRule("counted", (OURS, statement, Counter())),)
        assert _count_rules(world, rules, version) == expected


@pytest.mark.parametrize(
    ("before", "counted"),
    [(Verdict.ACCEPT, 0), (Verdict.RETURN, 0), (Verdict.DROP, 0), (Counter(), 1)],
)
def test_verdicts_end_the_chain(world: World, before: Statement, counted: int) -> None:
    rules = (NftRule("before", (before,)), NftRule("counted", (OURS, Counter())))
    assert _count_rules(world, rules, 4) == counted


def test_setting_a_mark_keeps_foreign_bits(world: World) -> None:
    seen = (MatchMark(0xFFFFFFFF, 0x0100CA6C), MatchFlowMark(0xFFFFFFFF, 0x01000041))
    rules = (
        NftRule("set", (SetMark(MASK, DIRECT), SetFlowMark(0xFF, 0x41), SetFlowMark(MASK, DIRECT))),
        NftRule("counted", (*seen, Counter())),
    )
    assert _count_rules(world, rules, 4) == 1


def _count_rules(world: World, rules: tuple[NftRule, ...], version: int) -> int:
    """Return what the rule "counted" counts of one datagram to the server."""
    chain = _chain("output", ChainType.FILTER, Hook.OUTPUT, 0, rules)
    table = NftTable("byway", (chain,), (*SETS, NftSet("nobody", SetKind.CGROUP)))

    def send() -> int:
        with Nftables() as nftables:
            nftables.replace_table(table)
            connection = connect(version, "udp", mark=0x0200CA6C)
            with connection, suppress(PermissionError):  # what a drop in output gives
                connection.send(b"?")
            return nftables.read_counters("byway")["counted"][0]

    counted: int = world.client.run(send)
    return counted
