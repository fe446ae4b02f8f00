"""Finding the VPN's link, and what its routing table holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from byway_systemd.core.config import AUTO
from byway_systemd.core.desired import TABLES
from byway_systemd.core.links import (
    TUNNEL_KINDS,
    find_uplink,
    is_tunnel,
    local_routes,
    routes_out,
)
from byway_systemd.core.network import (
    LAST_METRIC,
    MAIN_TABLE,
    PROTOCOL_KERNEL,
    Family,
    Link,
    Route,
    RouteKind,
)
from byway_systemd.core.rules import can_take, is_own_rule
from byway_systemd.core.traffic import WhenVpnDown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed

_THROW_METRIC = 1024  # what the kernel makes of none for IPv6
# What a VPN is most likely made of, first. A ppp link may also be a modem or DSL line: one that is
# a direct link is not looked at.
_PREFERRED = ("wireguard", "amneziawg", "tun", "ppp", "xfrm", "vti", "vti6")
_LINK_LOCAL = "fe80::/64"  # without it, no neighbour is found
# Routes to everywhere, and the halves by which OpenVPN and others leave the default as it is.
WAYS_OUT = frozenset(
    ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "::/1", "8000::/1", "2000::/3"]
)


@dataclass(frozen=True, slots=True)
class Vpn:
    """The VPN as it is now; ``link`` is None while it is not there.

    ``defaults`` are default routes that lead out by it. ``tunnel_mark`` is the mark of its own
    encrypted packets (0 for none) and ``endpoints`` the prefixes they go to.
    """

    mark: int
    table: int
    link: Link | None = None
    defaults: tuple[Route, ...] = ()
    when_down: WhenVpnDown = WhenVpnDown.BLOCK
    tunnel_mark: int = 0
    endpoints: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether traffic can leave by it."""
        return self.link is not None and self.link.up and bool(self.defaults)

    @property
    def is_only_way(self) -> bool:
        """Whether what is for the VPN may leave by nothing else now."""
        return self.usable or self.when_down is WhenVpnDown.BLOCK


def find_vpn(desired: Desired, observed: Observed) -> Vpn | None:
    """Return the VPN where byway leads anything to it, else None.

    While routes are cleared, it is not usable.
    """
    if not desired.exits or not desired.traffic.uses_vpn:
        return None
    traffic = desired.traffic
    vpn = Vpn(desired.vpn_mark, traffic.vpn_table.number, when_down=traffic.when_vpn_down)
    link = find_vpn_link(desired, observed)
    if link is None:
        return vpn
    defaults = tuple(
        replace(route, table=vpn.table, protocol=PROTOCOL_KERNEL)
        for family in Family
        for route in routes_out(family, link, observed)
        if not desired.cleared
    )
    tunnel = next((tunnel for tunnel in observed.tunnels if tunnel.link == link.index), None)
    if tunnel is None:
        return replace(vpn, link=link, defaults=defaults)
    return replace(
        vpn, link=link, defaults=defaults, tunnel_mark=tunnel.mark, endpoints=tunnel.endpoints
    )


def find_vpn_link(desired: Desired, observed: Observed) -> Link | None:
    """Return the link that is configured, or the most likely one of those that are tunnels."""
    name = desired.traffic.vpn_interface
    if name != AUTO:
        return next((link for link in observed.links if link.is_called(name)), None)
    uplinks = (find_uplink(exit_, observed) for exit_ in desired.exits)
    direct = {uplink.link.index for uplink in uplinks if uplink.link}
    leading = {
        route.link
        for route in observed.routes
        if route.destination in WAYS_OUT
        and route.kind is RouteKind.UNICAST
        and route.table not in TABLES
    }
    candidates = [
        (link.index not in leading, not link.up, _preference(link), link.index)
        for link in observed.links
        if link.kind in {*_PREFERRED, *TUNNEL_KINDS}
        and link.index not in direct
        and (link.index in leading or _has_address(link))
    ]
    found = min(candidates)[-1] if candidates else 0
    return next((link for link in observed.links if link.index == found), None)


def _preference(link: Link) -> int:
    return _PREFERRED.index(link.kind) if link.kind in _PREFERRED else len(_PREFERRED)


def _has_address(link: Link) -> bool:
    return not all(ip_interface(address).is_link_local for address in link.addresses)


def vpn_routes(vpn: Vpn, observed: Observed, *, keeps_near: bool) -> tuple[Route, ...]:
    """Return everything the VPN's routing table holds, in an order in which it can be added.

    ``keeps_near`` copies main's routes to what is near; those by the VPN's own link are always
    there, and so are host routes, by which VPN clients reach their servers. What goes to the
    tunnel's endpoints is thrown back to the rules that follow, as it would go round in a loop. The
    last is an unreachable default, so that nothing falls through.
    """
    own = vpn.link.index if vpn.link else 0
    near = [
        replace(route, table=vpn.table, protocol=PROTOCOL_KERNEL)
        for route in local_routes(observed, vpn.link)
        if keeps_near or route.link == own or route.destination == _LINK_LOCAL
    ]
    servers = [
        replace(r, table=vpn.table, protocol=PROTOCOL_KERNEL) for r in _host_routes(observed)
    ]
    thrown = [_throw(prefix, vpn.table) for prefix in vpn.endpoints]
    last = [
        Route(family, vpn.table, family.default, RouteKind.UNREACHABLE, metric=LAST_METRIC)
        for family in Family
        if vpn.is_only_way
    ]
    unique: dict[tuple[int, int, str, int, int], Route] = {}
    near.sort(key=lambda route: bool(route.gateway))
    for route in (*thrown, *near, *servers, *vpn.defaults, *last):
        # IPv6 keeps one route a link at the same metric (fe80::/64 stands on every link).
        link = route.link if route.family is Family.IPV6 else 0
        unique.setdefault((*route.slot, link), route)
    return tuple(unique.values())


def _host_routes(observed: Observed) -> Iterator[Route]:
    tunnels = {link.index for link in observed.links if is_tunnel(link)}
    for route in observed.routes:
        is_host = route.destination.endswith("/32" if route.family is Family.IPV4 else "/128")
        by_router = route.kind is RouteKind.UNICAST and route.gateway and route.link not in tunnels
        if route.table == MAIN_TABLE and is_host and by_router:
            yield route


def _throw(prefix: str, table: int) -> Route:
    family = Family.IPV6 if ":" in prefix else Family.IPV4
    return Route(family, table, prefix, RouteKind.THROW, metric=_THROW_METRIC)


def leading_link(desired: Desired, observed: Observed, family: Family) -> Link | None:
    """Return the tunnel that a VPN client leads everything by, where it is up and plainly does.

    By the best default route of the main table, by routes to halves of everything there, or by a
    default route in a table that a rule of others looks up for unmarked packets.
    """
    link = find_vpn_link(desired, observed)
    if link is None or not link.up:
        return None
    own = tuple(ip_interface(a).ip for one in observed.links for a in one.addresses)
    asked = {
        rule.table
        for rule in observed.rules
        if rule.family is family
        and not is_own_rule(rule)
        and can_take(rule, 0, own)
        and rule.suppress_prefix_length < 0
        and rule.table != MAIN_TABLE
    }
    defaults = [
        route
        for route in observed.routes
        if route.family is family
        and route.destination in WAYS_OUT
        and route.kind is RouteKind.UNICAST
        and route.table not in TABLES
    ]
    in_main = [route for route in defaults if route.table == MAIN_TABLE]
    best = max(in_main, key=lambda r: (not r.is_default, -r.metric), default=None)
    leads = any(route.table in asked and route.link == link.index for route in defaults)
    return link if leads or (best and best.link == link.index) else None
