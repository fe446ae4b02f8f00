"""The doctor's checks of links, routes and routing rules."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from byway_systemd.core.config import AUTO, WhenDown
from byway_systemd.core.describe import describe_route, describe_rule
from byway_systemd.core.findings import Finding, Severity
from byway_systemd.core.links import find_uplink, steering_uplinks
from byway_systemd.core.network import Family, RouteKind
from byway_systemd.core.rules import can_take, can_take_forwarded, is_own_rule
from byway_systemd.core.traffic import WhenVpnDown
from byway_systemd.core.vpn import find_vpn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from byway_systemd.core.findings import Case
    from byway_systemd.core.network import Link, Route, RoutingRule

_STRICT = 1  # rp_filter, Documentation/networking/ip-sysctl.rst


def check_direct_links(case: Case) -> Iterator[Finding]:
    """Every profile's link is there, up, and leads out."""
    for exit_ in case.desired.exits:
        uplink = find_uplink(exit_, case.observed)
        if uplink.usable:
            continue
        profile = exit_.profile
        blocked = profile.when_down is WhenDown.BLOCK
        fate = "its traffic is blocked" if blocked else "its traffic takes the VPN"
        what = f"profile {profile.name}: the direct link {profile.interface} cannot be used: {fate}"
        if uplink.link is None:
            there = ", ".join(link.name for link in case.observed.links if not link.loopback)
            remedy = f"write one of these as interface: {there}" if there else "connect one"
            yield Finding(Severity.ERROR, what, "there is no such link", remedy)
        elif not uplink.link.up:
            remedy = f"bring it up: ip link set {uplink.link.name} up, or connect it"
            yield Finding(Severity.ERROR, what, f"{uplink.link.name} is down", remedy)
        else:
            evidence = f"no default route by {uplink.link.name}"
            remedy = 'connect it with a gateway, or write one: gateway = "192.0.2.1"'
            yield Finding(Severity.ERROR, what, evidence, remedy)


def check_vpn_link(case: Case) -> Iterator[Finding]:
    """The VPN's link is there, up, and leads out, where anything is led to it."""
    vpn = find_vpn(replace(case.desired, cleared=False), case.observed)
    traffic = case.desired.traffic
    if vpn is None or vpn.usable:
        return
    blocked = traffic.when_vpn_down is WhenVpnDown.BLOCK
    what = f"the VPN cannot be used: its traffic {'is blocked' if blocked else 'goes direct'}"
    remedy = "start the VPN's client"
    if vpn.link is None and traffic.vpn_interface == AUTO:
        evidence = "no link is a tunnel"
        remedy += ", or name its link: vpn_interface"
    elif vpn.link is None:
        evidence = f"there is no link {traffic.vpn_interface}"
        remedy += ", or correct vpn_interface"
    elif not vpn.link.up:
        evidence = f"{vpn.link.name} is down"
    else:
        evidence = f"{vpn.link.name} has no address, and no default route leads to it"
    yield Finding(Severity.ERROR, what, evidence, remedy)


def check_tables(case: Case) -> Iterator[Finding]:
    """The tables that packets are led to have a default route out."""
    if case.desired.cleared:
        what = "the routes are cleared: what is listed leaves by its own link or not at all"
        evidence = "byway routes clear was asked for, and the main table leads all"
        yield Finding(Severity.WARNING, what, evidence, "sudo byway routes restore")
        return
    if not case.is_applied:
        return
    vpn = find_vpn(case.desired, case.observed)
    tables = [
        (uplink.exit.table, uplink.link)
        for uplink in steering_uplinks(case.desired, case.observed)
        if uplink.usable
    ]
    if vpn and vpn.usable:
        tables.append((vpn.table, vpn.link))
    for table, link in tables:
        seen = {route.family for route in case.observed.routes if _leads_out(route, table, link)}
        name = link.name if link else ""
        if not seen:
            what = f"table {table} has no default route by {name}: nothing gets out by it"
            evidence = _show_table(case, table)
            remedy = "sudo byway apply (see journalctl -u byway for what keeps it from being there)"
            yield Finding(Severity.ERROR, what, evidence, remedy)
        elif Family.IPV6 not in seen and _has_ipv6_elsewhere(case, link):
            what = f"table {table} has no IPv6 default route: IPv6 that is led to it goes nowhere"
            evidence = f"{name} leads out over IPv4 only"
            remedy = "nothing, unless IPv6 is to work there: let the link have an IPv6 gateway"
            yield Finding(Severity.NOTE, what, evidence, remedy)


def _leads_out(route: Route, table: int, link: Link | None) -> bool:
    by_link = link is not None and route.link == link.index
    is_way = route.is_default and route.kind is RouteKind.UNICAST
    return route.table == table and is_way and by_link


def _show_table(case: Case, table: int) -> str:
    routes = [route for route in case.observed.routes if route.table == table]
    defaults = [describe_route(route) for route in routes if route.is_default]
    return "; ".join(defaults) if defaults else f"it has {len(routes)} routes"


def _has_ipv6_elsewhere(case: Case, link: Link | None) -> bool:
    """Whether this machine has IPv6 at all, so that programs try it."""
    own = link.index if link else 0
    return any(
        route.family is Family.IPV6 and route.is_default and route.link not in (0, own)
        for route in case.observed.routes
        if route.kind is RouteKind.UNICAST
    )


def check_rules(case: Case) -> Iterator[Finding]:
    """No foreign routing rule decides before byway's own about the packets that these are for."""
    here = tuple(ip_interface(a).ip for link in case.observed.links for a in link.addresses)
    traffic = case.desired.traffic
    for family in Family:
        rules = [rule for rule in case.observed.rules if rule.family is family]
        sources = tuple(s for _, side in traffic.sides for s in side.sources(family))
        for index, own in enumerate(rules):
            if not is_own_rule(own):
                continue
            mark = own.mark if own.mask == case.desired.mark_mask else 0
            forwarded = tuple(source for source in sources if source == own.source)
            winner = next(
                (
                    rule
                    for rule in rules[:index]
                    if rule.preference and not is_own_rule(rule)
                    and (can_take(rule, mark, here) or can_take_forwarded(rule, forwarded))
                ),
                None,
            )  # fmt: skip
            if winner:
                yield _in_front(winner, own)
                break  # one of a family says it


def _in_front(winner: RoutingRule, own: RoutingRule) -> Finding:
    what = f"a foreign routing rule decides before byway's: {describe_rule(winner)}"
    evidence = f"byway's stands behind it, at {describe_rule(own)}"
    remedy = (
        "sudo byway apply moves byway's in front; if it comes back, give the foreign one a higher "
        f"number (ip rule add ... pref {own.preference + 1000}), or stop what adds it"
    )
    return Finding(Severity.ERROR, what, evidence, remedy)


def check_reverse_filters(case: Case) -> Iterator[Finding]:
    """A strict reverse path filter looks at the mark, or it drops the answers."""
    seen = {name: (mode, marked) for name, mode, marked in case.surroundings.reverse_filters}
    links = {
        uplink.link.name for uplink in steering_uplinks(case.desired, case.observed) if uplink.link
    }
    vpn = find_vpn(case.desired, case.observed)
    links |= {vpn.link.name} if vpn and vpn.link else set()
    for name in sorted(links):
        mode, marked = seen.get(name, (0, True))
        if mode == _STRICT and not marked:
            what = f"answers that come in by {name} are dropped by the reverse path filter"
            evidence = f"net.ipv4.conf.{name}: rp_filter is 1, and src_valid_mark is 0"
            remedy = f"sudo sysctl net/ipv4/conf/{name}/src_valid_mark=1 (byway sets it, if it may)"
            yield Finding(Severity.ERROR, what, evidence, remedy)
