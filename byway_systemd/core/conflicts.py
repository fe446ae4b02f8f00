"""What the traffic section asks for that cannot be, or not as one would expect."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from byway_systemd.core.config import AUTO
from byway_systemd.core.links import steering_uplinks
from byway_systemd.core.logins import warn_of_logins
from byway_systemd.core.steering import FORCED_VPN, find_steering, forced_cgroups, is_below
from byway_systemd.core.traffic import WhenVpnDown
from byway_systemd.core.vpn import Vpn, find_vpn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.traffic import Overrides

_MOST = 1000  # values that are compared with each other


def find_conflicts(desired: Desired, observed: Observed) -> list[str]:
    """Return a warning for each."""
    if not desired.exits:
        return []
    return [
        *_warn_of_vpn(desired, find_vpn(desired, observed)),
        *_warn_of_direct(desired, observed),
        *_warn_of_users(desired),
        *warn_of_logins(desired, observed),
        *_warn_of_what_never_counts(desired),
        *warn_of_cgroups(desired, observed),
        *_warn_of_hosts(desired, observed),
    ]


def _warn_of_vpn(desired: Desired, vpn: Vpn | None) -> Iterator[str]:
    if vpn is None or vpn.usable or desired.cleared:
        return
    name = desired.traffic.vpn_interface
    what = "no tunnel was found" if name == AUTO else f"{name} is absent"
    if vpn.link is not None:
        what = f"{vpn.link.name} is {'without a way out' if vpn.link.up else 'down'}"
    blocked = desired.traffic.when_vpn_down is WhenVpnDown.BLOCK
    yield f"the VPN: {what}: its traffic {'is blocked' if blocked else 'goes direct'}"


def _warn_of_direct(desired: Desired, observed: Observed) -> Iterator[str]:
    names = {uplink.exit.profile.name for uplink in steering_uplinks(desired, observed)}
    forced = desired.traffic.force_direct or desired.traffic.mode.leads_direct
    if forced and desired.profiles[0].name not in names:
        yield "what is forced to the direct link is left to the VPN while that link is down"


def _warn_of_users(desired: Desired) -> Iterator[str]:
    for side, overrides in desired.traffic.sides:
        for first, last in overrides.user_ranges():
            if first == 0:
                yield (
                    f"{side}.uids: {first}-{last} holds root: byway's and the system's own "
                    "services go that way too, and so may forwarded packets"
                )


def _warn_of_what_never_counts(desired: Desired) -> Iterator[str]:
    direct, vpn = desired.traffic.force_direct, desired.traffic.force_vpn
    for field in ("subnets", "destinations"):
        for value in _inside(getattr(vpn, field), getattr(direct, field)):
            yield f"force_vpn.{field}: {value} is inside of what is forced direct, and goes direct"
    for first, last in vpn.user_ranges():
        if any(low <= first and last <= high for low, high in direct.user_ranges()):
            ids = f"{first}-{last}"
            yield f"force_vpn.uids: {ids} is inside of what is forced direct, and goes direct"


def _inside(values: tuple[str, ...], others: tuple[str, ...]) -> Iterator[str]:
    networks = [ip_network(other) for other in others[:_MOST] if "/" in other]
    for value in values[:_MOST]:
        if "/" in value:
            network = ip_network(value)
            same = (other for other in networks if other.version == network.version)
            # mypy cannot tell that the versions are the same.
            if any(network.subnet_of(other) for other in same):  # type: ignore[arg-type]
                yield value


def warn_of_cgroups(desired: Desired, observed: Observed) -> Iterator[str]:
    """Yield what is amiss with the cgroups that the overrides list."""
    steering = find_steering(desired, observed)
    steered = {one.cgroup for one in steering.cgroups if one.profile == FORCED_VPN}
    there = {path for path, _ in observed.cgroup_ids}
    for side, overrides in desired.traffic.sides:
        yield from _warn_of_missing(side, overrides, observed, there)
        for cgroup in forced_cgroups(overrides, observed):
            if side == "force_vpn" and cgroup not in steered:
                above = [one.cgroup for one in steering.cgroups if is_below(cgroup, one.cgroup)]
                inside = f"inside of {max(above, key=len)}" if above else "a profile's"
                yield f"{side}.cgroups: {cgroup} is {inside}, and goes direct"


def _warn_of_missing(
    side: str, overrides: Overrides, observed: Observed, there: set[str]
) -> Iterator[str]:
    named = {name for name, _ in observed.named_cgroups}
    for cgroup in overrides.cgroups:
        if cgroup not in named and cgroup not in there:
            yield f"{side}.cgroups: {cgroup}: there is no such cgroup; it is used when it appears"


def _warn_of_hosts(desired: Desired, observed: Observed) -> Iterator[str]:
    known = {name for name, _ in observed.host_addresses}
    for name in desired.traffic.host_names:
        if name not in known:
            yield f"{name}: no address is known; it is used when systemd-resolved tells one"
