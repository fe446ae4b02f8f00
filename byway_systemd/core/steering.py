"""Which cgroups are steered, and where to.

The slices of the system and of every user's manager; cgroups that are *adopted*, because all that
runs in them belongs to one listed app: marked where they stand, so that their open sockets follow
and nothing is moved; cgroups that are *released*: they stand in a slice still, as a service
does until its next start, and go as if byway were not there; and cgroups that are *forced* to the
direct link or the VPN. Direct beats VPN: what is forced to the VPN inside of what goes direct goes
direct.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from byway_systemd.core.apps import AppKind
from byway_systemd.core.config import DEFAULT_PROFILE, HOLDER_CGROUP
from byway_systemd.core.links import near_prefixes, steering_uplinks
from byway_systemd.core.operations import SocketVerdict
from byway_systemd.core.users import holder_unit, user_cgroups

if TYPE_CHECKING:
    from collections.abc import Iterator

    from byway_systemd.core.config import Profile
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed, Service, UserManager
    from byway_systemd.core.traffic import Overrides

RELEASED = "-"  # no profile's name; of a cgroup in a holder, too
FORCED_VPN = "+"  # nor is this: of a cgroup that is forced to the VPN


@dataclass(frozen=True, slots=True)
class Steered:
    """A cgroup, the name of the profile whose link it takes (or RELEASED), and its mark.

    ``started`` ones are slices that the plan starts when they are missing.
    """

    cgroup: str
    profile: str
    mark: int
    started: bool = False


@dataclass(frozen=True, slots=True)
class Steering:
    """What is decided for all cgroups, and what open sockets need to follow it.

    ``places`` are (cgroup, profile) of all that belong to a profile; ``cgroups`` those of them that
    are steered now: a profile whose link is down may be left to the VPN. ``holders`` are the
    cgroups of the users' holders that are there, or are started.
    """

    places: tuple[tuple[str, str], ...] = ()
    cgroups: tuple[Steered, ...] = ()
    mask: int = 0
    resets: bool = False
    near: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()

    def profile_of(self, cgroup: str) -> str:
        """Return the name of the profile whose place ``cgroup`` is in: the deepest place's.

        RELEASED, or empty when it is in none.
        """
        matches = [place for place in self.places if is_below(cgroup, place[0])]
        return max(matches, key=lambda place: len(place[0]))[1] if matches else ""

    def verdict(self, profile: str) -> SocketVerdict:
        """Return what becomes of the open sockets of what now goes by ``profile``, or by none."""
        mark = next((s.mark for s in self.cgroups if s.profile == profile), 0)
        return SocketVerdict(mark, self.mask, self.resets, self.near)


def is_below(cgroup: str, ancestor: str) -> bool:
    """Whether ``cgroup`` is ``ancestor`` or below it."""
    return cgroup == ancestor or cgroup.startswith(ancestor.rstrip("/") + "/")


def profile_cgroups(profile: Profile, observed: Observed) -> tuple[str, ...]:
    """Return the cgroups of a profile's own slices, the system's first."""
    users = (user_cgroups(profile, manager.cgroup) for manager in observed.user_managers)
    return (*profile.cgroups, *(cgroup for cgroups in users for cgroup in cgroups))


def find_steering(desired: Desired, observed: Observed) -> Steering:
    """Return what ``desired`` decides for the cgroups there are."""
    places = find_places(desired, observed)
    return Steering(
        tuple(places.items()),
        _steered_cgroups(desired, places, observed),
        desired.mark_mask,
        desired.resets_sockets,
        tuple(prefix for prefixes in near_prefixes(observed) for prefix in prefixes),
        _find_holders(desired, observed),
    )


def find_places(desired: Desired, observed: Observed) -> dict[str, str]:
    """Return every cgroup that belongs to a profile, and whose (or RELEASED)."""
    places = {
        cgroup: profile.name
        for profile in desired.profiles
        for cgroup in profile_cgroups(profile, observed)
    }
    names = set(places.values())
    places |= {group.cgroup: group.profile for group in observed.groups if group.profile in names}
    # What was placed in a holder and cannot go back: where it came from has ended.
    holders = (manager.cgroup + HOLDER_CGROUP for manager in observed.user_managers)
    places |= {f"{holder}/{RELEASED}": RELEASED for holder in holders}
    return places | dict(_service_cgroups(desired, observed))


def _find_holders(desired: Desired, observed: Observed) -> tuple[str, ...]:
    return tuple(
        manager.cgroup + HOLDER_CGROUP
        for manager in observed.user_managers
        if manager.holds or starts_holder(manager, desired, observed)
    )


def starts_holder(manager: UserManager, desired: Desired, observed: Observed) -> bool:
    """Whether the plan starts a manager's holder: once, as its user may keep it from starting."""
    tried = (*observed.active_units, *observed.failed_units)
    wanted = desired.runs_holders and manager.state == "active"
    return wanted and holder_unit(manager.uid) not in tried


def _steered_cgroups(
    desired: Desired, places: dict[str, str], observed: Observed
) -> tuple[Steered, ...]:
    uplinks = steering_uplinks(desired, observed)
    marks = {uplink.exit.profile.name: uplink.exit.mark for uplink in uplinks}
    slices = {profile.slice_cgroup for profile in desired.profiles}
    steered = [
        Steered(cgroup, name, marks[name], cgroup in slices)
        for cgroup, name in places.items()
        if name in marks
    ]
    released = desired.released_mark
    steered += [
        Steered(cgroup, RELEASED, released, cgroup in slices)
        for cgroup, name in places.items()
        if name not in marks and any(is_below(cgroup, other.cgroup) for other in steered)
    ]
    known = {one.cgroup for one in steered}
    if (mark := marks.get(DEFAULT_PROFILE)) is not None:
        forced = forced_cgroups(desired.traffic.force_direct, observed)
        steered += [Steered(c, DEFAULT_PROFILE, mark) for c in forced if c not in known]
    if desired.exits:
        direct = {*places, *(one.cgroup for one in steered)}
        steered += [
            Steered(cgroup, FORCED_VPN, desired.vpn_mark)
            for cgroup in forced_cgroups(desired.traffic.force_vpn, observed)
            if not any(is_below(cgroup, other) for other in direct)
        ]
    return tuple(steered)


def forced_cgroups(overrides: Overrides, observed: Observed) -> tuple[str, ...]:
    """Return the cgroups of one side, sorted: the paths, and those that have a bare name."""
    paths = {cgroup for cgroup in overrides.cgroups if cgroup.startswith("/")}
    names = set(overrides.cgroups) - paths
    paths.update(path for name, path in observed.named_cgroups if name in names)
    return tuple(sorted(paths))


def find_cgroups(desired: Desired, observed: Observed) -> tuple[str, ...]:
    """Return every cgroup that may be steered, whether it is there or not."""
    sides = (overrides for _, overrides in desired.traffic.sides if desired.exits)
    forced = (cgroup for side in sides for cgroup in forced_cgroups(side, observed))
    return tuple(dict.fromkeys((*find_places(desired, observed), *forced)))


def is_released(service: Service, desired: Desired) -> bool:
    """Whether a service that runs in a slice is to leave it at its next start.

    Nothing lists it and nobody's drop-in asks for the slice any more.
    """
    slices = {profile.slice for profile in desired.profiles}
    return bool(service.cgroup and service.slice) and service.slice not in slices


def _service_cgroups(desired: Desired, observed: Observed) -> Iterator[tuple[str, str]]:
    """Yield services that run elsewhere than configured, and where their traffic is to go."""
    listed = {
        app.value: profile
        for profile in desired.profiles
        for app in profile.apps
        if app.kind is AppKind.UNIT
    }
    for service in observed.services:
        if not service.cgroup:
            continue
        if profile := listed.get(service.name):
            if not is_below(service.cgroup, profile.slice_cgroup):
                yield service.cgroup, profile.name
        elif is_released(service, desired):
            yield service.cgroup, RELEASED
