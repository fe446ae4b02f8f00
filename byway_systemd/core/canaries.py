"""Canaries: packets that show whether the mode and the overrides do what they say.

One for each kind of selection in use, and one that nothing selects; each has the links that it may
leave by. They are counted and dropped behind everything else that a packet meets on its way out, by
a table of their own, so that none ever leaves the machine and nobody has to answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING

from byway_systemd.core.canary_ways import (
    Ground,
    Way,
    any_way,
    direct_way,
    forced_way,
    rest_way,
    vpn_way,
)
from byway_systemd.core.config import DEFAULT_PROFILE
from byway_systemd.core.links import local_routes, steering_uplinks
from byway_systemd.core.network import MAIN_TABLE, Family
from byway_systemd.core.steering import (
    FORCED_VPN,
    RELEASED,
    find_steering,
    forced_cgroups,
    is_below,
)
from byway_systemd.core.traffic import LAST_UID, collapse_prefixes
from byway_systemd.core.vpn import find_vpn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Network, IPv6Network

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.traffic import Overrides

DISCARD = 9  # the port (RFC 863)
NO_SLICE = "-.slice"  # the root: none of byway's, and none that an override can name
MOST = 3  # canaries of a kind, side and family
# RFC 5737, RFC 3849, RFC 9637: for documentation, so nobody's.
_NOBODYS = {
    Family.IPV4: tuple(
        f"{net}.{host}" for host in (9, 209) for net in ("192.0.2", "198.51.100", "203.0.113")
    ),
    Family.IPV6: ("2001:db8:ffff:9::9", "3fff:ffff:9::9", "2001:db8:0:9::9"),
}
_SHORTEST = 7  # of a route that is no default and none of a default's parts
_NOBODY = 65534
_NO_CGROUP = "there is no such cgroup now"


@dataclass(frozen=True, slots=True)
class Canary:
    """A packet to send, by TCP and by UDP, and its way.

    ``selects`` is what takes it. It is sent by user ``uid`` from ``slice`` (or for a moment from
    ``cgroup``), to ``destination``, and from ``source`` unless that is empty.
    """

    check: str
    selects: str
    family: Family
    way: Way
    destination: str
    uid: int
    slice: str = NO_SLICE
    cgroup: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """What cannot be tried, and why."""

    check: str
    selects: str
    because: str


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of selection: its name, the criterion, and what finds its canaries."""

    name: str
    criterion: str
    find: Callable[[Ground], Iterator[Canary | Skipped]]


def find_canaries(
    desired: Desired, observed: Observed
) -> tuple[tuple[Canary, ...], tuple[Skipped, ...]]:
    """Return what is to be sent, in the order of the checks, and what cannot be tried."""
    uplinks = {u.exit.profile.name: u for u in steering_uplinks(desired, observed)}
    ground = Ground(
        desired, observed, uplinks, find_vpn(desired, observed), find_steering(desired, observed)
    )
    uid = _find_outside_user(desired)
    ground = replace(ground, uid=uid, targets=dict(_find_targets(ground)))
    if uid is None:
        because = "the overrides name every user, so that nothing can be told apart"
        return (), (Skipped("outside", "every check", because),)
    found = [one for check in CHECKS for one in check.find(ground)]
    return (
        tuple(one for one in found if isinstance(one, Canary)),
        tuple(one for one in found if isinstance(one, Skipped)),
    )


def _find_outside_user(desired: Desired) -> int | None:
    """Return a user whom no override names: the one behind the first range, where he is free."""
    ranges = [r for _, side in desired.traffic.sides for r in side.user_ranges()]
    beside = [last + 1 for _, last in ranges if last < LAST_UID]
    candidates = (*beside, *range(_NOBODY, _NOBODY - 100, -1))
    free = (u for u in candidates if not any(first <= u <= last for first, last in ranges))
    return next(free, None)


def _find_targets(ground: Ground) -> Iterator[tuple[Family, str]]:
    """Yield for each family an address that nothing but a default route leads to."""
    sides = ground.desired.traffic.sides
    for family, addresses in _NOBODYS.items():
        listed = [p for _, side in sides for p in _destinations(side, family, ground)]
        for address in addresses:
            if not _covers(tuple(listed), address) and not _why_not(address, ground):
                yield family, address
                break


def _outside(ground: Ground) -> Iterator[Canary | Skipped]:
    for family in Family:
        yield _make(ground, "outside", "nothing", family, rest_way(ground, family))


def _in_slices(ground: Ground) -> Iterator[Canary | Skipped]:
    for profile in ground.desired.profiles:
        for family in Family:
            way = direct_way(ground, profile.name, family)
            yield _make(ground, "app", profile.slice, family, way, slice=profile.slice)


def _in_cgroups(ground: Ground) -> Iterator[Canary | Skipped]:
    there = {path for path, _ in ground.observed.cgroup_ids}
    found = {name for name, _ in ground.observed.named_cgroups}
    for _, side in ground.desired.traffic.sides:
        missing = (name for name in side.cgroups if "/" not in name and name not in found)
        yield from (Skipped("cgroup", name, _NO_CGROUP) for name in missing)
        for cgroup in forced_cgroups(side, ground.observed)[:MOST]:
            if cgroup not in there:
                yield Skipped("cgroup", cgroup, _NO_CGROUP)
                continue
            profile = _profile_of(cgroup, ground)
            for family in Family:
                if profile == RELEASED:
                    way = any_way("direct", "it is left to the main table")
                elif profile == FORCED_VPN:
                    way = vpn_way(ground, family)
                else:
                    way = direct_way(ground, profile or DEFAULT_PROFILE, family)
                yield _make(ground, "cgroup", cgroup, family, way, cgroup=cgroup)


def _of_users(ground: Ground) -> Iterator[Canary | Skipped]:
    traffic = ground.desired.traffic
    for _, side in traffic.sides:
        for first, _last in side.user_ranges()[:MOST]:
            is_direct = traffic.force_direct.has_user(first)
            for family in Family:
                way = forced_way(ground, family, direct=is_direct)
                yield _make(ground, "uid", f"uid {first}", family, way, uid=first)


def _from_sources(ground: Ground) -> Iterator[Canary | Skipped]:
    traffic = ground.desired.traffic
    own = [ip_interface(a).ip for link in ground.observed.links for a in link.addresses]
    for _, side in traffic.sides:
        for family in Family:
            for prefix in side.sources(family)[:MOST]:
                inside = (str(a) for a in own if a in ip_network(prefix))
                source = next(inside, _first_of(prefix))
                is_direct = _covers(traffic.force_direct.sources(family), source)
                way = forced_way(ground, family, direct=is_direct)
                yield _make(ground, "source", prefix, family, way, source=source)


def _to_destinations(ground: Ground) -> Iterator[Canary | Skipped]:
    traffic = ground.desired.traffic
    for _, side in traffic.sides:
        for family in Family:
            direct = _destinations(traffic.force_direct, family, ground)
            for prefix in _destinations(side, family, ground)[:MOST]:
                address = _first_of(prefix)
                if because := _why_not(address, ground):
                    yield Skipped("destination", prefix, because)
                    continue
                way = forced_way(ground, family, direct=_covers(direct, address))
                yield _make(ground, "destination", prefix, family, way, destination=address)


CHECKS = (
    Check(
        "outside",
        "what nothing selects carries no mark of byway's and goes where the mode leads it",
        _outside,
    ),
    Check(
        "app",
        "what is sent in a profile's slice carries its mark and leaves by its direct link alone",
        _in_slices,
    ),
    Check("cgroup", "what is sent in a listed cgroup leaves by its side's link alone", _in_cgroups),
    Check("uid", "what a listed user sends leaves by its side's link alone", _of_users),
    Check(
        "source", "what is sent from a listed subnet leaves by its side's link alone", _from_sources
    ),
    Check(
        "destination",
        "what is sent to a listed destination leaves by its side's link alone",
        _to_destinations,
    ),
)


def _make(  # noqa: PLR0913 - what differs from a canary that nothing selects, by name
    ground: Ground,
    check: str,
    selects: str,
    family: Family,
    way: Way,
    *,
    destination: str = "",
    uid: int | None = None,
    slice: str = NO_SLICE,  # noqa: A002 - systemd's word
    cgroup: str = "",
    source: str = "",
) -> Canary | Skipped:
    target = destination or ground.targets.get(family, "")
    sender = ground.uid if uid is None else uid
    if not target or sender is None:
        because = f"no IPv{family.version} address is left that only a default route leads to"
        return Skipped(check, selects, because)
    return Canary(check, selects, family, way, target, sender, slice, cgroup, source)


def _profile_of(cgroup: str, ground: Ground) -> str:
    """Return whose way a cgroup goes: that of the deepest one that is steered."""
    steered = ground.steering.cgroups if ground.steering else ()
    above = [one for one in steered if is_below(cgroup, one.cgroup)]
    return max(above, key=lambda one: len(one.cgroup)).profile if above else ""


def _destinations(side: Overrides, family: Family, ground: Ground) -> tuple[str, ...]:
    return collapse_prefixes(side.resolve_destinations(ground.observed.host_addresses), family)


def _why_not(address: str, ground: Ground) -> str:
    """Return why a canary to ``address`` would show nothing; empty when it would."""
    near = tuple(route.destination for route in local_routes(ground.observed, None))
    own = tuple(a.partition("/")[0] for link in ground.observed.links for a in link.addresses)
    if address in own or _covers(near, address):
        return "it is near: it is reached without any direct link"
    if ground.vpn and _covers(ground.vpn.endpoints, address):
        return "it is an endpoint of the tunnel"
    routed = tuple(
        route.destination
        for route in ground.observed.routes
        if route.table == MAIN_TABLE and int(route.destination.rpartition("/")[2]) > _SHORTEST
    )
    return "the main table has a route of its own to it" if _covers(routed, address) else ""


def _first_of(prefix: str) -> str:
    """Return the first address of a prefix that can be a host's."""
    network = ip_network(prefix)
    return str(network[0] if network.num_addresses == 1 else network[1])


def _covers(prefixes: tuple[str, ...], address: str) -> bool:
    host = ip_address(address)
    return any(host in network for network in _networks(prefixes))


@lru_cache(maxsize=8)
def _networks(prefixes: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(prefix) for prefix in prefixes)
