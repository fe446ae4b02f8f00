"""Choosing the direct link and its gateways from what the kernel shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from ipaddress import (
    IPv4Network,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TYPE_CHECKING

from byway_systemd.core.config import AUTO, WhenDown
from byway_systemd.core.desired import TABLES
from byway_systemd.core.network import (
    LAST_METRIC,
    MAIN_TABLE,
    PROTOCOL_KERNEL,
    SCOPE_LINK,
    Family,
    Link,
    Route,
    RouteKind,
)

if TYPE_CHECKING:
    from byway_systemd.core.config import Profile
    from byway_systemd.core.desired import Desired, Exit
    from byway_systemd.core.observed import Observed

# IFLA_INFO_KIND of what carries other packets. ppp is not here: it is a modem or DSL line as often
# as a VPN, so it is only taken last by `auto`.
TUNNEL_KINDS = frozenset(
    [
        "wireguard",
        "tun",
        "xfrm",
        "vti",
        "vti6",
        "ipip",
        "ip6tnl",
        "sit",
        "gre",
        "ip6gre",
        "gretap",
        "ip6gretap",
        "amneziawg",
    ]
)
_LOCAL_RANGES = tuple(
    ip_network(prefix)
    for prefix in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)


@dataclass(frozen=True, slots=True)
class Uplink:
    """A profile's direct link as it is now; ``link`` is None while it is not there.

    ``defaults`` are default routes, of any table, that lead out by it. ``shared`` says that the
    tunnel's own packets use the same link.
    """

    exit: Exit
    link: Link | None
    defaults: tuple[Route, ...]
    shared: bool

    @property
    def usable(self) -> bool:
        """Whether traffic can leave by it."""
        return self.link is not None and self.link.up and bool(self.defaults)


def is_tunnel(link: Link) -> bool:
    """Whether ``link`` is of a kind that VPNs are made of."""
    return link.kind in TUNNEL_KINDS


def find_uplink(exit_: Exit, observed: Observed) -> Uplink:
    """Return the direct link of a profile, with the default routes to give its table."""
    best = _best_link(observed)
    name = exit_.profile.interface
    if name == AUTO:
        link = best
    else:
        link = next((link for link in observed.links if link.is_called(name)), None)
    if link is None:
        return Uplink(exit_, None, (), shared=False)
    defaults = tuple(
        route
        for family in Family
        for route in _find_defaults(exit_.profile, family, link, observed)
    )
    return Uplink(exit_, link, defaults, shared=best is not None and best.index == link.index)


def _best_link(observed: Observed) -> Link | None:
    """Return the link of the best default route that is not a tunnel's: IPv4 first, low metric."""
    links = {link.index: link for link in observed.links}
    # A VPN that replaces the default route keeps a host route to its server by the old gateway.
    candidates = [
        (not route.is_default, links[route.link].kind == "ppp", *_order(route), route.link)
        for route in observed.routes
        if (route.is_default or (route.gateway and not _is_local(route.destination)))
        and route.table == MAIN_TABLE
        and route.kind is RouteKind.UNICAST
        and route.link in links
        and links[route.link].up
        and not is_tunnel(links[route.link])
    ]
    return links[min(candidates)[-1]] if candidates else None


def _order(route: Route) -> tuple[int, int]:
    return (route.family, route.metric)


def _find_defaults(
    profile: Profile, family: Family, link: Link, observed: Observed
) -> tuple[Route, ...]:
    if family is Family.IPV6 and link.awaits_ipv6:
        return ()  # what left by it now would have another link's address for all of its flow
    configured = profile.gateway if family is Family.IPV4 else profile.gateway6
    if configured != AUTO:
        return (_default_by(family, link, configured),) if link.up else ()
    return routes_out(family, link, observed)


def routes_out(family: Family, link: Link, observed: Observed) -> tuple[Route, ...]:
    """Return the default routes by ``link`` of main, else of any table, else what leads out by it.

    That is the router that host routes go by, and on a point-to-point link none.
    """
    on_link = [
        route
        for route in observed.routes
        if route.family is family
        and route.link == link.index
        and route.kind is RouteKind.UNICAST
        and route.table not in TABLES
    ]
    defaults = [route for route in on_link if route.is_default]
    in_main = tuple(route for route in defaults if route.table == MAIN_TABLE)
    if in_main or defaults:
        return in_main or tuple(defaults)
    # A VPN that replaces the default route keeps a host route to its server by the old gateway.
    gateways = Counter(
        route.gateway for route in on_link if route.gateway and not _is_local(route.destination)
    )
    if gateways:
        return (_default_by(family, link, gateways.most_common(1)[0][0]),)
    if link.point_to_point and link.up and _has_address(link, family):
        return (_default_by(family, link, ""),)
    return ()


def _default_by(family: Family, link: Link, gateway: str) -> Route:
    onlink = bool(gateway) and not any(
        ip_address(gateway) in ip_interface(address).network
        for address in link.addresses
        if ip_interface(address).version == ip_address(gateway).version
    )
    onlink = onlink and not ip_address(gateway).is_link_local
    scope = 0 if gateway or family is Family.IPV6 else SCOPE_LINK
    return Route(
        family, MAIN_TABLE, family.default, gateway=gateway, link=link.index, metric=1024,
        scope=scope, onlink=onlink,
    )  # fmt: skip


def _has_address(link: Link, family: Family) -> bool:
    addresses = (ip_interface(address) for address in link.addresses)
    return any(a.version == family.version and not a.is_link_local for a in addresses)


def _is_local(prefix: str) -> bool:
    network = ip_network(prefix)
    return any(
        network.version == local.version and network.subnet_of(local)  # type: ignore[arg-type]
        for local in _LOCAL_RANGES
    )


def local_routes(observed: Observed, own: Link | None) -> tuple[Route, ...]:
    """Return main's routes to what is near: connected prefixes and routed private ranges.

    Those of tunnels are left out, unless the tunnel is the profile's ``own`` direct link.
    """
    tunnels = {link.index for link in observed.links if is_tunnel(link)}
    if own:
        tunnels.discard(own.index)
    return tuple(
        route
        for route in observed.routes
        if route.table == MAIN_TABLE
        and route.kind is RouteKind.UNICAST
        and not route.is_default
        and route.link not in tunnels
        and (not route.gateway or _is_local(route.destination))
    )


def near_prefixes(observed: Observed) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the IPv4 and IPv6 prefixes that are reached without any direct link, sorted."""
    near = local_routes(observed, None)
    four = collapse_addresses(
        IPv4Network(route.destination) for route in near if route.family is Family.IPV4
    )
    six = collapse_addresses(
        IPv6Network(route.destination) for route in near if route.family is Family.IPV6
    )
    return tuple(sorted(map(str, four))), tuple(sorted(map(str, six)))


def steering_uplinks(desired: Desired, observed: Observed) -> tuple[Uplink, ...]:
    """Return the direct links that are to be steered to: all but those left to the VPN now.

    While routes are cleared, none is usable.
    """
    uplinks = (find_uplink(exit_, observed) for exit_ in desired.exits)
    return tuple(
        uplink
        for uplink in uplinks
        if (uplink.usable and not desired.cleared)
        or uplink.exit.profile.when_down is WhenDown.BLOCK
    )


def table_routes(uplink: Uplink, observed: Observed) -> tuple[Route, ...]:
    """Return everything the profile's routing table holds, in an order in which it can be added.

    The last is an unreachable default, so that nothing falls through to the next rule when the
    link goes down and takes its own routes with it.
    """
    table = uplink.exit.table
    near = sorted(local_routes(observed, uplink.link), key=lambda route: bool(route.gateway))
    copies = [
        replace(route, table=table, protocol=PROTOCOL_KERNEL) for route in (*near, *uplink.defaults)
    ]
    last = [
        Route(family, table, family.default, RouteKind.UNREACHABLE, metric=LAST_METRIC)
        for family in Family
    ]
    unique: dict[tuple[int, int, str, int, int], Route] = {}
    for route in (*copies, *last):
        # IPv6 keeps one route a link at the same metric (fe80::/64 stands on every link).
        link = route.link if route.family is Family.IPV6 else 0
        unique.setdefault((*route.slot, link), route)
    return tuple(unique.values())
