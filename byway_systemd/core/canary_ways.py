"""Where canaries may go: what the mode, the overrides and the links that are there ask for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from byway_systemd.core.config import DEFAULT_PROFILE
from byway_systemd.core.traffic import Mode, WhenVpnDown
from byway_systemd.core.vpn import leading_link

if TYPE_CHECKING:
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.links import Uplink
    from byway_systemd.core.network import Family
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.steering import Steering
    from byway_systemd.core.vpn import Vpn


@dataclass(frozen=True, slots=True)
class Way:
    """Where packets may go: by one of ``links`` (indexes; None for any).

    ``blocked`` says that none may leave at all, ``marked`` whether they carry byway's mark; None
    where that does not matter.
    """

    side: str
    links: frozenset[int] | None
    because: str
    blocked: bool = False
    marked: bool | None = True


@dataclass(frozen=True, slots=True)
class Ground:
    """What canaries are chosen from: what is to be, what is there, and what follows from both."""

    desired: Desired
    observed: Observed
    uplinks: dict[str, Uplink] = field(default_factory=dict)
    vpn: Vpn | None = None
    steering: Steering | None = None
    uid: int | None = None
    targets: dict[Family, str] = field(default_factory=dict)


def forced_way(ground: Ground, family: Family, *, direct: bool) -> Way:
    """Return the way of what is forced to a side."""
    return direct_way(ground, DEFAULT_PROFILE, family) if direct else vpn_way(ground, family)


def direct_way(ground: Ground, profile: str, family: Family) -> Way:
    """Return the way of what belongs to a profile."""
    uplink = ground.uplinks.get(profile)
    if uplink is None:
        return any_way("direct", "its link is down or cleared, and when_down leaves it to the VPN")
    own = frozenset([uplink.link.index] if uplink.link else [])
    if ground.desired.cleared:
        return Way("direct", own, "cleared routes: by its own link or not at all", blocked=True)
    if uplink.usable and any(route.family is family for route in uplink.defaults):
        return Way("direct", own, "by the direct link")
    return Way("direct", frozenset(), "the direct link has no way out for it", blocked=True)


def vpn_way(ground: Ground, family: Family) -> Way:
    """Return the way of what is led to the VPN."""
    vpn = ground.vpn
    if vpn is None:
        return any_way("vpn", "byway leads nothing to a VPN")
    own = frozenset([vpn.link.index] if vpn.link else [])
    if ground.desired.cleared and vpn.when_down is WhenVpnDown.BLOCK:
        return Way("vpn", own, "cleared routes: by the VPN or not at all", blocked=True)
    if vpn.usable and any(route.family is family for route in vpn.defaults):
        return Way("vpn", own, "by the VPN")
    if vpn.is_only_way:
        return Way("vpn", frozenset(), "the VPN has no way out for it", blocked=True)
    return any_way("vpn", "the VPN is down, and when_vpn_down leaves it to the main table")


def rest_way(ground: Ground, family: Family) -> Way:
    """Return the way of what nothing selects: the mode's."""
    mode = ground.desired.traffic.mode
    if mode is Mode.BYPASS or ground.desired.cleared:
        leading = leading_link(ground.desired, ground.observed, family)
        if leading is None:
            return replace(any_way("rest", "the main table decides"), marked=False)
        because = f"a VPN client leads all by {leading.name}"
        return Way("rest", frozenset([leading.index]), because, marked=False)
    by_vpn = mode is Mode.FULL_TUNNEL
    way = vpn_way(ground, family) if by_vpn else direct_way(ground, DEFAULT_PROFILE, family)
    return replace(way, side="rest", marked=False, because=f"the mode is {mode}: {way.because}")


def any_way(side: str, because: str) -> Way:
    """Return the way of what byway leaves to others."""
    return Way(side, None, because, blocked=True, marked=None)
