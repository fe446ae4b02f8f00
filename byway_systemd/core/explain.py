"""Why a process, a unit or a destination goes the way it goes."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from byway_systemd.core.config import DEFAULT_PROFILE
from byway_systemd.core.describe import JsonObject, present_operation
from byway_systemd.core.errors import UsageError
from byway_systemd.core.placement import (
    describe_match,
    match_executable,
    plan_process,
    tell_placement,
)
from byway_systemd.core.steering import FORCED_VPN, RELEASED, is_below
from byway_systemd.core.traffic import Mode

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Executable, Observed, Process
    from byway_systemd.core.steering import Steering
    from byway_systemd.core.traffic import Overrides

_NOT_LISTED = "nothing that is listed selects it"
_CLEARED = "; the routes are cleared, so that it leaves by that link or not at all"


def explain_process(
    desired: Desired, steering: Steering, process: Process, executables: tuple[Executable, ...]
) -> JsonObject:
    """Return where a process's traffic goes and why, and what byway is about to change."""
    subject = {"pid": process.pid, "cgroup": process.cgroup}
    if not process.in_host_namespace:
        because = "it has a network of its own, as a container has"
        return {**subject, "verdict": "vpn", "profile": None, "because": because, "change": None}
    operation = plan_process(desired, steering, process, executables)
    match = match_executable(process, executables)
    profile = steering.profile_of(process.cgroup)
    if not profile:
        decided = _explain_undecided(desired, steering, (process.cgroup,), process.uid)
        change = present_operation(operation) if operation else None
        if match:  # it is about to be placed
            decided["because"] = f"it {describe_match(match)}"
        return {**subject, **decided, "placement": None, "change": change}
    if match:
        because = f"it {describe_match(match)}"
    elif process.app:
        because = f"it belongs to {process.app}"
    else:
        because = f"it is in {process.cgroup}"
    return {
        **subject,
        **_verdict(desired, steering, profile, because),
        "placement": str(tell_placement(process, desired)),
        "change": present_operation(operation) if operation else None,
    }


def _verdict(desired: Desired, steering: Steering, profile: str, because: str) -> JsonObject:
    """Return the way of what belongs to ``profile``."""
    if profile == RELEASED:
        because = "it is not listed any more, and leaves the slice at its next start"
        return {**_explain_mode(desired, steering), "because": because}
    if any(steered.profile == profile for steered in steering.cgroups):
        because += _CLEARED if desired.cleared else ""
        return {"verdict": "direct", "profile": profile, "because": because}
    down = next(p for p in desired.profiles if p.name == profile)
    why = "the routes are cleared" if desired.cleared else f"{down.interface} is down"
    because = f"{because}, but {why} and when_down is {down.when_down}"
    return {"verdict": "vpn", "profile": profile, "because": because}


def _explain_undecided(
    desired: Desired, steering: Steering, cgroups: tuple[str, ...], uid: int = -1
) -> JsonObject:
    """Return the way of what belongs to no profile: the overrides', direct first, or the mode's."""
    traffic, cleared = desired.traffic, _CLEARED if desired.cleared else ""
    sides = (
        ("direct", "force_direct", traffic.force_direct, DEFAULT_PROFILE),
        ("vpn", "force_vpn", traffic.force_vpn, FORCED_VPN),
    )
    for verdict, side, overrides, name in sides:
        if verdict == "direct" and not _is_steered(steering):
            continue
        forced = [one.cgroup for one in steering.cgroups if one.profile == name]
        above = [one for cgroup in cgroups for one in forced if is_below(cgroup, one)]
        if above:
            because = f"{side}.cgroups has {max(above, key=len)}{cleared}"
            return {"verdict": verdict, "profile": None, "because": because}
        if overrides.has_user(uid):
            because = f"{side}.uids has the user {uid}{cleared}"
            return {"verdict": verdict, "profile": None, "because": because}
    return _explain_mode(desired, steering)


def _explain_mode(desired: Desired, steering: Steering) -> JsonObject:
    mode = desired.traffic.mode
    if desired.cleared:
        because = f"{_NOT_LISTED}, and the routes are cleared: the main table decides"
        return {"verdict": "vpn", "profile": None, "because": because}
    because = _NOT_LISTED if mode is Mode.BYPASS else f"{_NOT_LISTED}, and the mode is {mode}"
    verdict = "direct" if mode.leads_direct and _is_steered(steering) else "vpn"
    return {"verdict": verdict, "profile": None, "because": because}


def _is_steered(steering: Steering) -> bool:
    """Whether anything can be led to the default profile's link now."""
    return any(steered.profile == DEFAULT_PROFILE for steered in steering.cgroups)


def explain_unit(desired: Desired, steering: Steering, observed: Observed, name: str) -> JsonObject:
    """Return where the traffic of a unit goes, of the system's manager or of users', and why."""
    unit, listed = _full_name(name), _listed_units(desired)
    cgroups = _cgroups_of(unit, steering, observed)
    profile = steering.profile_of(cgroups[0]) if cgroups else listed.get(unit, "")
    if not profile:
        places = tuple(cgroups) or (f"/system.slice/{unit}",)
        decided = _explain_undecided(desired, steering, places)
        if decided["because"] == _NOT_LISTED:
            decided["because"] = f"{unit} is neither listed nor in one of byway's slices"
        return {"unit": unit, "cgroups": cgroups, **decided}
    because = f"{unit} is listed" if unit in listed else f"it runs in {cgroups[0]}"
    return {"unit": unit, "cgroups": cgroups, **_verdict(desired, steering, profile, because)}


def knows_unit(desired: Desired, steering: Steering, observed: Observed, name: str) -> bool:
    """Whether the configuration lists a unit, or it runs where byway has something to decide."""
    unit, traffic = _full_name(name), desired.traffic
    forced = {cgroup.rpartition("/")[2] for cgroup in traffic.cgroups}
    return bool(
        unit in _listed_units(desired) or unit in forced or _cgroups_of(unit, steering, observed)
    )


def _full_name(name: str) -> str:
    return name if "." in name else f"{name}.service"


def _listed_units(desired: Desired) -> dict[str, str]:
    """Return the profiles of what is listed and is no file, by its name."""
    return {
        app.value: profile.name
        for profile in desired.profiles
        for app in profile.apps
        if not app.kind.names_files
    }


def _cgroups_of(unit: str, steering: Steering, observed: Observed) -> list[str]:
    cgroups = [s.cgroup for s in observed.services if s.name == unit and s.cgroup]
    steered = (one.cgroup for one in steering.cgroups)
    known = (*(place for place, _ in steering.places), *steered)
    cgroups += [place for place in known if place.rpartition("/")[2] == unit]
    return list(dict.fromkeys(cgroups))


def explain_destination(
    desired: Desired, steering: Steering, observed: Observed, text: str
) -> JsonObject:
    """Return where an address is reached, and why; raise UsageError on what is none.

    What is listed goes its own way to what is not decided here.
    """
    try:
        address = ip_address(text)
    except ValueError:
        raise UsageError(f"not an address: {text!r} (write one, such as 192.0.2.1)") from None
    near = (prefix for prefix in steering.near if address.version == ip_network(prefix).version)
    if prefix := next((prefix for prefix in near if address in ip_network(prefix)), None):
        because = f"{prefix} is near: it is reached without any direct link"
        return {"destination": str(address), "verdict": "near", "because": because}
    ways = ", ".join(
        f"{profile.interface} for what belongs to {profile.name}"
        for profile in desired.profiles
        if any(is_below(steered.cgroup, profile.slice_cgroup) for steered in steering.cgroups)
    )
    traffic, elsewhere = desired.traffic, f"; by {ways}" if ways else ""
    direct = _find_holder(address, traffic.force_direct, observed)
    if direct and _is_steered(steering):
        because = f"bypass has {direct}"
        return {"destination": str(address), "verdict": "direct", "because": because}
    if holder := _find_holder(address, traffic.force_vpn, observed):
        because = f"force_vpn.destinations has {holder}{elsewhere}"
        return {"destination": str(address), "verdict": "vpn", "because": because}
    decides = "the main table decides"
    if traffic.mode is not Mode.BYPASS:
        decides = f"the mode decides: {traffic.mode}"
    verdict = _explain_mode(desired, steering)["verdict"]
    because = f"it is not listed, so that {decides}{elsewhere}"
    return {"destination": str(address), "verdict": verdict, "because": because}


def _find_holder(
    address: IPv4Address | IPv6Address, overrides: Overrides, observed: Observed
) -> str:
    """Return the narrowest prefix that is listed and holds ``address``, or a listed host's name."""
    listed = set(overrides.destinations)
    lengths = range(address.max_prefixlen, -1, -1)
    prefixes = (str(ip_network((address, length), strict=False)) for length in lengths)
    found = next((prefix for prefix in prefixes if prefix in listed), "")
    own = f"{address}/{address.max_prefixlen}"
    names = (name for name, prefix in observed.host_addresses if prefix == own)
    return found or next((name for name in names if name in listed), "")
