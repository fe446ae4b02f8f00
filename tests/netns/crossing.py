"""A machine at a crossing: a direct link, a VPN and a network of containers behind it.

Both ways lead to a server that answers with its own name and the source it saw. byway's own plan
is applied to the machine: links, routes, rules and the nftables table are the kernel's.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from byway_systemd.core import operations as op
from byway_systemd.core.config import Config, Profile
from byway_systemd.core.desired import TABLES, Desired, desire
from byway_systemd.core.observed import Observed
from byway_systemd.core.plan import plan
from byway_systemd.core.rules import is_own_rule
from byway_systemd.system import nft_codec, route_messages
from byway_systemd.system.netlink import FLAG_ACK, NETLINK_NETFILTER, Message, NetlinkSocket
from byway_systemd.system.nftables import Nftables
from byway_systemd.system.routing import Routing
from netns.world import CLIENT_DIRECT, CLIENT_VPN, SERVERS, Child, Namespace, ask, ip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from byway_systemd.core.network import Tunnel
    from byway_systemd.core.traffic import Traffic

LOADED = (nft_codec, route_messages)  # once, and not in every child
VPN_TABLE = 51820  # as wg-quick has it
_DELETE_FLOWS = 1 << 8 | 2  # IPCTNL_MSG_CT_DELETE
_MASQUERADE = """
table inet containers {
  chain nat {
    type nat hook postrouting priority 100;
    iifname "br-test" oifname != "br-test" masquerade
  }
}
"""
BRIDGE = {4: "172.18.0.1", 6: "fd00:18::1"}
CONTAINER = {4: "172.18.0.2", 6: "fd00:18::2"}
SUBNETS = {4: "172.18.0.0/16", 6: "fd00:18::/64"}
_LENGTHS = {4: 24, 6: 64}
_OPERATIONS = (
    op.AddRoute, op.DeleteRoute, op.AddRule, op.DeleteRule, op.ReplaceTable, op.UpdateSet,
    op.DeleteTable,
)  # fmt: skip


@dataclass(frozen=True)
class Crossing:
    """The namespaces, and the cgroups that can be matched."""

    machine: Namespace
    container: Namespace
    direct: Namespace
    cgroups: tuple[Path, ...]
    mount: Path

    def cgroup(self, level: int) -> str:
        """Return the path of a cgroup as the configuration has it."""
        return f"/{self.cgroups[level].relative_to(self.mount)}"

    def steer(
        self, traffic: Traffic, *, forget: bool = True, tunnel: Tunnel | None = None
    ) -> list[str]:
        """Apply the plan until nothing is left to do; return the names of what was applied.

        ``tunnel`` is what the VPN's link is to be taken for.
        """
        profile = Profile(interface="direct0")
        desired = desire(Config(profiles=(profile,), traffic=traffic))
        return self.converge(desired, forget=forget, tunnel=tunnel)

    def converge(
        self, desired: Desired, *, forget: bool = True, tunnel: Tunnel | None = None
    ) -> list[str]:
        """Apply the plan for ``desired``; with ``forget`` no open flow is known afterwards."""
        ids = tuple((self.cgroup(n), path.stat().st_ino) for n, path in enumerate(self.cgroups))
        tunnels = (tunnel,) if tunnel else ()

        def look(routing: Routing, nftables: Nftables) -> Observed:
            return replace(_observe(routing, nftables, ids), tunnels=tunnels)

        applied: list[str] = self.machine.run(lambda: _converge(desired, look, forget=forget))
        return applied

    def step(self, traffic: Traffic | None, look: Callable[[], Any]) -> list[Any]:
        """Apply the plan and return what ``look`` says before it and after every operation.

        Without ``traffic`` byway stops.
        """
        profiles = (Profile(interface="direct0"),)
        desired = desire(Config(profiles=profiles, traffic=traffic)) if traffic else Desired.empty()

        def run() -> list[Any]:
            found = [look()]
            with Routing() as routing, Nftables() as nftables:
                for operation in _plan(desired, _observe(routing, nftables, ())):
                    _apply(routing, nftables, operation)
                    found.append(look())
            return found

        looks: list[Any] = self.machine.run(run)
        return looks

    def way(  # noqa: PLR0913 - each is one thing that selects
        self,
        version: int,
        kind: str = "udp",
        *,
        uid: int = 0,
        source: str = "",
        cgroup: int = -1,
        forwarded: bool = False,
    ) -> str:
        """Return where a line to the server went and the source it had, or nothing."""

        def run() -> str:
            if uid:
                os.setuid(uid)
            try:
                return ask(version, kind, source=source)
            except OSError as error:
                return type(error).__name__ if isinstance(error, PermissionError) else ""

        namespace = self.container if forwarded else self.machine
        found: str = namespace.run(run, self.cgroups[cgroup] if cgroup >= 0 else None)
        return found.split(" ", maxsplit=1)[0]


def _observe(routing: Routing, nftables: Nftables, ids: tuple[tuple[str, int], ...]) -> Observed:
    return Observed(
        links=routing.observe_links(),
        routes=routing.observe_routes(),
        rules=routing.observe_rules(),
        table=nftables.observe_table("byway"),
        cgroup_ids=(("/byway.slice", 1), *ids),
        marker_fault="not tried here",
    )


def _plan(desired: Desired, observed: Observed) -> Iterator[op.Operation]:
    return (o for o in plan(desired, observed) if isinstance(o, _OPERATIONS))


def _converge(
    desired: Desired, look: Callable[[Routing, Nftables], Observed], *, forget: bool
) -> list[str]:
    applied: list[str] = []
    if forget:
        _forget_flows()
    with Routing() as routing, Nftables() as nftables:
        for _ in range(3):
            todo = tuple(_plan(desired, look(routing, nftables)))
            for operation in todo:
                _apply(routing, nftables, operation)
                applied.append(type(operation).__name__)
            if not todo:
                return applied
    raise AssertionError(f"never in sync: {todo}")


def _forget_flows() -> None:
    """Forget every tracked flow: a new one may have an old one's ports, and would follow it."""
    with NetlinkSocket(NETLINK_NETFILTER) as netlink:
        netlink.request(Message(_DELETE_FLOWS, FLAG_ACK, bytes(4), "forget the tracked flows"))


def _apply(routing: Routing, nftables: Nftables, operation: Any) -> None:
    match operation:
        case op.AddRoute():
            (routing.replace_route if operation.replace else routing.add_route)(operation.route)
        case op.DeleteRoute():
            routing.delete_route(operation.route)
        case op.AddRule():
            routing.add_rule(operation.rule)
        case op.DeleteRule():
            routing.delete_rule(operation.rule)
        case op.ReplaceTable():
            nftables.replace_table(operation.table)
        case op.UpdateSet(name=name, kind=kind, add=add, remove=remove):
            nftables.update_set(operation.table, name, kind, add, remove)
        case op.DeleteTable():
            nftables.delete_table(operation.name)


def build(name: Callable[[str], Namespace], start: Callable[[Namespace, str], Child]) -> None:
    """Lay out links, addresses and servers; main's default leads to the direct link."""
    machine, container = name("machine"), name("container")
    for way, addresses in (("direct", CLIENT_DIRECT), ("vpn", CLIENT_VPN)):
        _join(machine, name(way), f"{way}0", addresses)
        for version in (4, 6):
            nodad = ["nodad"] if version == 6 else []
            ip("-n", name(way).name, "address", "add", SERVERS[version], "dev", "lo", *nodad)
            gateway = f"{addresses[version][:-1]}2"
            table = 254 if way == "direct" else VPN_TABLE
            route = ("default", "via", gateway, "dev", f"{way}0", "table", table)
            ip("-n", machine.name, f"-{version}", "route", "add", *route)
        start(name(way), way)
    _join(machine, container, "br-test", BRIDGE)
    for version in (4, 6):
        ip("-n", container.name, f"-{version}", "route", "add", "default", "via", BRIDGE[version])
    machine.run(_forward)
    machine.run(_masquerade)


def _masquerade() -> None:
    subprocess.run(["nft", "-f", "-"], input=_MASQUERADE, text=True, check=True)


def _forward() -> None:
    for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        with open(f"/proc/sys/{key}", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write("1")


def _join(machine: Namespace, there: Namespace, link: str, addresses: dict[int, str]) -> None:
    ip("-n", machine.name, "link", "add", link, "type", "veth", "peer", "eth0", "netns", there.name)
    ip("-n", machine.name, "link", "set", link, "up")
    ip("-n", there.name, "link", "set", "eth0", "up")
    for version, length in _LENGTHS.items():
        near, nodad = addresses[version], ["nodad"] if version == 6 else []
        far = f"{near[:-1]}2"
        ip("-n", machine.name, "address", "add", f"{near}/{length}", "dev", link, *nodad)
        ip("-n", there.name, "address", "add", f"{far}/{length}", "dev", "eth0", *nodad)


def own_nothing(observed: Observed) -> bool:
    """Whether nothing of byway's is there."""
    routes = [route for route in observed.routes if route.table in TABLES]
    return not routes and not any(map(is_own_rule, observed.rules)) and observed.table is None


def look_around(crossing: Crossing) -> Observed:
    """Return what the kernel shows."""

    def look() -> Observed:
        with Routing() as routing, Nftables() as nftables:
            return replace(_observe(routing, nftables, ()), cgroup_ids=())

    observed: Observed = crossing.machine.run(look)
    return observed


def set_owner(crossing: Crossing, owner: str) -> None:
    """Let nobody, OpenVPN's halves of a default or wg-quick's rules have the default route."""
    name = crossing.machine.name
    halves = {4: ("0.0.0.0/1", "128.0.0.0/1"), 6: ("::/1", "8000::/1")}
    for version in (4, 6):
        for half in halves[version]:
            via = ("via", f"{CLIENT_VPN[version][:-1]}2", "dev", "vpn0")
            with suppress(AssertionError):
                ip("-n", name, f"-{version}", "route", "delete", half)
            if owner == "halves":
                ip("-n", name, f"-{version}", "route", "add", half, *via)
        rules = (
            ("not", "fwmark", VPN_TABLE, "lookup", VPN_TABLE),
            ("lookup", 254, "suppress_prefixlength", 0),
        )
        for rule in rules:
            with suppress(AssertionError):
                ip("-n", name, f"-{version}", "rule", "delete", *rule)
        for rule in rules if owner == "wg-quick" else ():
            ip("-n", name, f"-{version}", "rule", "add", *rule)
