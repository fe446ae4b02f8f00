"""Why a process, a unit or a destination goes the way it goes."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from byway_systemd.core.describe import JsonObject, present_operation
from byway_systemd.core.errors import UsageError
from byway_systemd.core.placement import (
    describe_match,
    match_executable,
    plan_process,
    tell_placement,
)
from byway_systemd.core.steering import RELEASED, is_below

if TYPE_CHECKING:
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Executable, Observed, Process
    from byway_systemd.core.steering import Steering

_NOT_LISTED = "nothing that is listed selects it"


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
    if match:
        because = f"it {describe_match(match)}"
    elif process.app:
        because = f"it belongs to {process.app}"
    elif profile:
        because = f"it is in {process.cgroup}"
    else:
        because = _NOT_LISTED
    return {
        **subject,
        **_verdict(desired, steering, profile, because),
        "placement": str(tell_placement(process, desired)) if profile else None,
        "change": present_operation(operation) if operation else None,
    }


def _verdict(desired: Desired, steering: Steering, profile: str, because: str) -> JsonObject:
    """Return the way of what belongs to ``profile``; empty when it belongs to none."""
    if profile in ("", RELEASED):
        if profile:
            because = "it is not listed any more, and leaves the slice at its next start"
        return {"verdict": "vpn", "profile": None, "because": because}
    if any(steered.profile == profile for steered in steering.cgroups):
        return {"verdict": "direct", "profile": profile, "because": because}
    down = next(p for p in desired.profiles if p.name == profile)
    because = f"{because}, but {down.interface} is down and when_down is {down.when_down}"
    return {"verdict": "vpn", "profile": profile, "because": because}


def explain_unit(desired: Desired, steering: Steering, observed: Observed, name: str) -> JsonObject:
    """Return where the traffic of a unit goes, of the system's manager or of users', and why."""
    unit = name if "." in name else f"{name}.service"
    listed = {
        app.value: profile.name
        for profile in desired.profiles
        for app in profile.apps
        if not app.kind.names_files
    }
    cgroups = [s.cgroup for s in observed.services if s.name == unit and s.cgroup]
    cgroups += [place for place, _ in steering.places if place.rpartition("/")[2] == unit]
    cgroups = list(dict.fromkeys(cgroups))
    if unit in listed:
        because = f"{unit} is listed"
    elif cgroups:
        because = f"it runs in {cgroups[0]}"
    else:
        because = f"{unit} is neither listed nor in one of byway's slices"
    profile = steering.profile_of(cgroups[0]) if cgroups else listed.get(unit, "")
    return {"unit": unit, "cgroups": cgroups, **_verdict(desired, steering, profile, because)}


def explain_destination(desired: Desired, steering: Steering, text: str) -> JsonObject:
    """Return where an address is reached, and why; raise UsageError on what is none."""
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
    because = "it is not listed, so that the main table decides" + (f"; by {ways}" if ways else "")
    return {"destination": str(address), "verdict": "vpn", "because": because}
