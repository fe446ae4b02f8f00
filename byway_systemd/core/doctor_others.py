"""The doctor's checks of the service, the entries, and of other software that is in the way."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from byway_systemd.core.config import GATE_SERVICE
from byway_systemd.core.conflicts import find_conflicts
from byway_systemd.core.describe import describe_operation
from byway_systemd.core.findings import Finding, Severity
from byway_systemd.core.foreign_filters import DirectPacket, find_dropping
from byway_systemd.core.links import near_prefixes, steering_uplinks
from byway_systemd.core.network import MAIN_TABLE, Family, RouteKind
from byway_systemd.core.observed import FileState
from byway_systemd.core.status import tell_gate, tell_marker, warn_of_files
from byway_systemd.core.steering import FORCED_VPN, find_steering, is_below
from byway_systemd.core.traffic import Mode
from byway_systemd.core.vpn import find_vpn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from byway_systemd.core.findings import Case, TunnelServer

_SHOWN = 3  # of many operations


def check_service(case: Case) -> Iterator[Finding]:
    """The daemon runs, with the configuration that is there."""
    if not case.runs:
        remedy = "sudo systemctl enable --now byway (see journalctl -u byway if it does not stay)"
        if case.is_applied:
            what = "byway does not run: what was applied stays, and nothing follows what happens"
            evidence = "it has no process, and its routing rules are there"
            yield Finding(Severity.WARNING, what, evidence, remedy)
        else:
            what = "byway does not run: nothing is steered"
            evidence = "it has no process, and no routing rule"
            yield Finding(Severity.ERROR, what, evidence, remedy)
    for problem in case.problems:
        what = "the configuration is refused, and the last good one is in force"
        yield Finding(Severity.ERROR, what, problem, "correct it (byway config check)")


def check_sync(case: Case) -> Iterator[Finding]:
    """Everything is as the configuration says."""
    if not case.is_applied or not case.remaining:
        return
    shown = "; ".join(describe_operation(operation) for operation in case.remaining[:_SHOWN])
    more = "; ..." if len(case.remaining) > _SHOWN else ""
    what = f"not in sync: operations still to be done: {len(case.remaining)}"
    remedy = "sudo byway apply; journalctl -u byway says what fails or comes back"
    yield Finding(Severity.ERROR, what, shown + more, remedy)


def check_entries(case: Case) -> Iterator[Finding]:
    """Everything that is listed selects something now."""
    executables = tuple(e for e in case.observed.executables if not e.excluded)
    missing = {str(e.app) for e in executables if e.state is FileState.MISSING}
    for warning in warn_of_files(executables):
        app, _, why = warning.partition(": ")
        is_note = app in missing
        severity = Severity.NOTE if is_note else Severity.WARNING
        what = f"the app {app} selects nothing" if is_note else f"the app {app} is not as listed"
        yield Finding(severity, what, why, "correct the entry, or leave it (byway list)")
    for warning in find_conflicts(case.desired, case.observed):
        if warning.startswith("the VPN: "):  # the check of the VPN's link says it
            continue
        severity = Severity.NOTE if warning.endswith("when it appears") else Severity.WARNING
        what, _, why = warning.partition(": ")
        yield Finding(
            severity, f"traffic: {what}", why or warning, "see [traffic] in byway.toml(5)"
        )


def check_kill_switches(case: Case) -> Iterator[Finding]:
    """Nobody's firewall drops what is marked for a direct link."""
    mask = case.desired.mark_mask
    for uplink in steering_uplinks(case.desired, case.observed):
        if uplink.link is None or not uplink.usable:
            continue
        dropping: dict[str, tuple[str, list[str]]] = {}
        for family in sorted({route.family for route in uplink.defaults}):
            packet = DirectPacket(uplink.link.index, uplink.link.name, uplink.exit.mark, family)
            for chain, why in find_dropping(case.surroundings.filters, packet):
                dropping.setdefault(chain, (why, []))[1].append(f"IPv{Family(family).version}")
        for chain, (why, families) in dropping.items():
            what = f"a firewall drops what leaves by {uplink.link.name}: table and chain {chain}"
            evidence = f"{why}, {' and '.join(families)}"
            accept = f"mark and {mask:#010x} == {uplink.exit.mark:#010x} accept"
            remedy = f"let byway's mark pass: sudo nft insert rule {chain} {accept}"
            yield Finding(Severity.ERROR, what, evidence, remedy)


def check_endpoints(case: Case) -> Iterator[Finding]:
    """The VPN's own packets to its server do not go into its tunnel again."""
    vpn = find_vpn(case.desired, case.observed)
    for server in case.surroundings.servers:
        if vpn is None or vpn.link is None or server.link != vpn.link.index:
            continue
        why = _leads_into_tunnel(case, server)
        if why and not _is_exempt(case, server):
            address = server.prefix.partition("/")[0]
            what = f"the tunnel's own packets to {address} go into the tunnel: it cannot work"
            evidence = f"{server.program} ({vpn.link.name}) talks to {address}, and {why}"
            yield Finding(Severity.ERROR, what, evidence, f"sudo byway bypass add {address}")


def _leads_into_tunnel(case: Case, server: TunnelServer) -> str:
    """Return what leads a program's packets to its own server to the VPN; empty for nothing."""
    traffic = case.desired.traffic
    if _holds(traffic.force_vpn.destinations, server.prefix):
        return "force_vpn.destinations has it"
    if traffic.force_vpn.has_user(server.uid):
        return f"force_vpn.uids has its user {server.uid}"
    steered = find_steering(case.desired, case.observed).cgroups
    forced = (one.cgroup for one in steered if one.profile == FORCED_VPN)
    if above := next((cgroup for cgroup in forced if is_below(server.cgroup, cgroup)), ""):
        return f"force_vpn.cgroups has {above}"
    return f"the mode is {traffic.mode}" if traffic.mode is Mode.FULL_TUNNEL else ""


def _is_exempt(case: Case, server: TunnelServer) -> bool:
    """Whether something keeps a server's address, or the program that talks to it, off the VPN."""
    direct = case.desired.traffic.force_direct
    if _holds(direct.resolve_destinations(case.observed.host_addresses), server.prefix):
        return True
    if any(_holds(near, server.prefix) for near in near_prefixes(case.observed)):
        return True
    if direct.has_user(server.uid):
        return True
    steered = find_steering(case.desired, case.observed).cgroups
    by_cgroup = (one for one in steered if one.profile != FORCED_VPN)
    if any(is_below(server.cgroup, one.cgroup) for one in by_cgroup):
        return True
    return any(
        route.destination == server.prefix
        and route.table == MAIN_TABLE
        and route.kind is RouteKind.UNICAST
        and route.link != server.link
        and route.gateway
        for route in case.observed.routes
    )


def _holds(prefixes: tuple[str, ...], inner: str) -> bool:
    network = ip_network(inner)
    addresses = (network.supernet(new_prefix=n) for n in range(network.prefixlen + 1))
    return not {*map(str, addresses)}.isdisjoint(prefixes)


def check_names(case: Case) -> Iterator[Finding]:
    """Programs ask for names in a way that `dns` can lead to the direct link's servers."""
    profiles = [p.name for p in case.desired.profiles if p.dns]
    if profiles and "resolve" in case.surroundings.host_sources:
        what = (
            "names of what is listed are not looked up as dns says: most programs have "
            "systemd-resolved do it, outside of the slice"
        )
        evidence = f"hosts: {' '.join(case.surroundings.host_sources)} (/etc/nsswitch.conf)"
        remedy = (
            "take resolve, and the [...] after it, out of that line; dns is to be there instead"
        )
        yield Finding(Severity.WARNING, what, evidence, remedy)


def check_placement(case: Case) -> Iterator[Finding]:
    """The exec gate and the socket marker do their part."""
    if not case.runs:
        return
    gate = tell_gate(case.desired, case.observed)
    if case.desired.runs_gate and gate not in ("active", "starting"):
        what = "the exec gate is not active: a program's first connections may use the VPN"
        remedy = f"sudo systemctl restart {GATE_SERVICE}; journalctl -u {GATE_SERVICE} says more"
        yield Finding(Severity.WARNING, what, gate, remedy)
    marker = tell_marker(case.desired, case.observed)
    if case.desired.marks_sockets and marker != "active":
        what = (
            "sockets are not marked when they are made: where main has no route, such as under a "
            "kill switch, connections of listed apps fail"
        )
        remedy = "use a kernel with CONFIG_CGROUP_BPF; in a container allow bpf(2)"
        yield Finding(Severity.WARNING, what, marker, remedy)
