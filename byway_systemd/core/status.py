"""The status: what is configured, what is there, and whether the two agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from byway_systemd.core.apps import App, AppKind
from byway_systemd.core.config import GATE_SERVICE, WhenDown
from byway_systemd.core.conflicts import find_conflicts
from byway_systemd.core.describe import JsonObject, present_operation
from byway_systemd.core.links import Uplink, find_uplink
from byway_systemd.core.name_servers import list_servers
from byway_systemd.core.network import Family
from byway_systemd.core.observed import Executable, FileState
from byway_systemd.core.placement import (
    is_in_unit_of,
    match_executable,
    tell_placement,
    wanted_executables,
)
from byway_systemd.core.rules import DIRECT_MARK_OFFSET, is_own_rule
from byway_systemd.core.steering import RELEASED, find_steering, is_below, is_released
from byway_systemd.core.traffic_status import present_traffic
from byway_systemd.core.users import holder_unit

if TYPE_CHECKING:
    from byway_systemd.core.config import Profile
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed, Process
    from byway_systemd.core.operations import Operation
    from byway_systemd.core.steering import Steering

_CLEARED = (
    "the routes are cleared: the main table leads all, and what is listed leaves by its own link, "
    "or as when_down says (byway routes restore)"
)


def build_status(
    desired: Desired, observed: Observed, remaining: tuple[Operation, ...]
) -> JsonObject:
    """Return the status as a JSON value; ``remaining`` is what the plan would still do."""
    drift = [present_operation(operation) for operation in remaining]
    uplinks = [find_uplink(exit_, observed) for exit_ in desired.exits]
    steering = find_steering(desired, observed)
    return {
        "in_sync": not drift,
        "drift": drift,
        "profiles": [_present_uplink(uplink, desired, observed) for uplink in uplinks],
        "apps": [
            _present_app(app, profile, steering, observed)
            for profile in desired.profiles
            for app in profile.apps
        ],
        "traffic": present_traffic(desired, observed, remaining),
        "processes": _present_processes(desired, steering, observed),
        "placement": {
            "exec_gate": tell_gate(desired, observed),
            "socket_marker": tell_marker(desired, observed),
            **_script_note(observed),
        },
        "warnings": find_warnings(desired, observed),
    }


def tell_gate(desired: Desired, observed: Observed) -> str:
    """Return what the exec gate is doing, or why it does nothing."""
    if not desired.runs_gate:
        return f"off ({desired.gate_reason})" if desired.gate_reason else "off"
    if GATE_SERVICE in observed.failed_units:
        return _gate_fault(observed)
    if GATE_SERVICE in observed.starting_units:
        return "starting"
    return "active" if GATE_SERVICE in observed.active_units else "not running"


def _gate_fault(observed: Observed) -> str:
    return observed.gate_note if observed.gate_note.startswith("not available") else "failed"


def tell_marker(desired: Desired, observed: Observed) -> str:
    """Return whether sockets are marked when they are made, or why not."""
    if not desired.marks_sockets:
        return "off"
    return f"not available: {observed.marker_fault}" if observed.marker_fault else "active"


def _script_note(observed: Observed) -> JsonObject:
    """The gate holds what is executed, and `python3 FILE` executes the interpreter."""
    if not any(e.state is FileState.SCRIPT and not e.excluded for e in observed.executables):
        return {}
    return {"scripts": "held when executed themselves; as `INTERPRETER FILE` moved when seen"}


def _present_uplink(uplink: Uplink, desired: Desired, observed: Observed) -> JsonObject:
    profile, link = uplink.exit.profile, uplink.link
    gateways = {
        f"ipv{family.version}": next(
            (r.gateway or "on the link" for r in uplink.defaults if r.family is family), None
        )
        for family in Family
    }
    preferences = sorted({r.preference for r in observed.rules if r.table == uplink.exit.table})
    return {
        "name": profile.name,
        "interface": profile.interface,
        "link": link.name if link else None,
        "state": _uplink_state(uplink),
        "sharing": ("shared" if uplink.shared else "dedicated") if link else None,
        "gateways": gateways,
        "when_down": str(profile.when_down),
        "dns": list(list_servers(uplink, observed)) if profile.dns else "system",
        "slice": profile.slice,
        "cgroup_id": dict(observed.cgroup_ids).get(profile.slice_cgroup),
        "mark": f"{uplink.exit.mark:#010x}/{desired.mark_mask:#010x}",
        "table": uplink.exit.table,
        "preferences": preferences,
    }


def _uplink_state(uplink: Uplink) -> str:
    if uplink.link is None:
        return "absent"
    if not uplink.link.up:
        return "down"
    return "up" if uplink.defaults else "no gateway"


def _present_app(app: App, profile: Profile, steering: Steering, observed: Observed) -> JsonObject:
    executables = tuple(e for e in wanted_executables(observed) if e.app == app)
    pids = [
        process.pid
        for process in observed.processes
        if (match_executable(process, executables) or is_in_unit_of(process.cgroup, app))
        and steering.profile_of(process.cgroup) == profile.name
    ]
    if app.kind is AppKind.UNIT:
        return {"app": str(app), "profile": profile.name, **_present_unit(app, profile, observed)}
    files = [e for e in observed.executables if e.app == app and not e.excluded]
    missing = app.kind.names_files and all(e.state is FileState.MISSING for e in files)
    state = "missing" if missing else "running" if pids else "not running"
    return {"app": str(app), "profile": profile.name, "state": state, "pids": pids}


def _present_unit(app: App, profile: Profile, observed: Observed) -> JsonObject:
    cgroup = next((s.cgroup for s in observed.services if s.name == app.value), "")
    if not cgroup:
        state = "not running"
    elif is_below(cgroup, profile.slice_cgroup):
        state = "running"
    else:
        state = f"running, adopted where it is; in {profile.slice} from its next start on"
    return {"state": state, "pids": []}


def _present_processes(
    desired: Desired, steering: Steering, observed: Observed
) -> list[JsonObject]:
    return [
        {
            "pid": process.pid,
            "program": _program(process, observed),
            "profile": profile,
            "placement": str(tell_placement(process, desired)),
            "cgroup": process.cgroup,
        }
        for process in observed.processes
        if (profile := steering.profile_of(process.cgroup)) not in ("", RELEASED)
    ]


def _program(process: Process, observed: Observed) -> str:
    """Return the listed script that it interprets, else its executable."""
    match = match_executable(process, wanted_executables(observed))
    return process.script if match and match.state is FileState.SCRIPT else process.path


def find_warnings(desired: Desired, observed: Observed) -> list[str]:
    """Return what is not wrong in the configuration and yet keeps it from working."""
    found = [_CLEARED] if desired.cleared else []
    found += warn_of_files(tuple(e for e in observed.executables if not e.excluded))
    found += [_warn_of_link(find_uplink(exit_, observed)) for exit_ in desired.exits]
    found += find_conflicts(desired, observed)
    found += [_warn_of_dns(find_uplink(exit_, observed), observed) for exit_ in desired.exits]
    if desired.runs_gate and GATE_SERVICE in observed.failed_units:
        found.append(
            f"the exec gate: {_gate_fault(observed)}; a program's first connections "
            "may use the VPN (see journalctl -u byway-gate; try systemctl restart byway-gate)"
        )
    found += [
        f"user {manager.uid}: the service manager does not answer, so the session's listed programs"
        f" are placed in the system's byway.slice (systemctl restart {holder_unit(manager.uid)})"
        for manager in observed.user_managers
        if holder_unit(manager.uid) in observed.failed_units and not manager.holds
    ]
    found += [
        f"{service.name} is not listed any more: it is left to the VPN, and leaves byway.slice at "
        f"its next start (systemctl restart {service.name})"
        for service in observed.services
        if is_released(service, desired)
    ]
    standard = desired.base + DIRECT_MARK_OFFSET
    own = (rule.preference for rule in observed.rules if is_own_rule(rule))
    if moved := {preference for preference in own if preference < standard}:
        found.append(
            f"byway's rules stand at {min(moved)} instead of {standard}, in front of foreign ones"
        )
    return [warning for warning in found if warning]


def _warn_of_dns(uplink: Uplink, observed: Observed) -> str:
    profile = uplink.exit.profile
    if not profile.dns or not uplink.usable or list_servers(uplink, observed):
        return ""
    return (
        f"profile {profile.name}: {profile.interface} has no DNS servers that anybody told of, so "
        "names are looked up as before (write the servers' addresses: dns = [...])"
    )


def warn_of_files(executables: tuple[Executable, ...]) -> list[str]:
    """Return what keeps listed files from being selected, or from being so as they are listed."""
    found = [_warn_of_file(executable) for executable in executables]
    first: dict[tuple[int, int], Executable] = {}
    for executable in executables:
        if executable.inode:
            other = first.setdefault((executable.device, executable.inode), executable)
            if other.profile != executable.profile:
                found.append(
                    f"{executable.app} of profile {executable.profile}: the same file as "
                    f"{other.app}, and goes the way of profile {other.profile} (list it once)"
                )
    return [warning for warning in found if warning]


def _warn_of_file(executable: Executable) -> str:
    app = str(executable.app)
    match executable.state:
        case FileState.PROGRAM | FileState.SCRIPT:
            return ""
        case FileState.MISSING:
            return f"{app}: there is no such file; it is used when it appears"
        case FileState.DIRECTORY:
            return f"{app}: a directory; name the program, or use DIR/*"
        case FileState.SHARED:
            return (
                f"{app}: {executable.real_path} is many programs in one file; it is not selected "
                "(list the program that it starts, or a script of your own)"
            )
        case FileState.ESSENTIAL:
            return (
                f"{app}: {executable.real_path} is part of byway or of what it works with; it is "
                "not selected (list a script, which is matched as itself, or unit:NAME)"
            )
        case _:
            assert_never(executable.state)


def _warn_of_link(uplink: Uplink) -> str:
    profile, state = uplink.exit.profile, _uplink_state(uplink)
    if state == "up":
        return ""
    what = "blocked" if profile.when_down is WhenDown.BLOCK else "by the VPN"
    return f"profile {profile.name}: {profile.interface} is {state}: its traffic is {what}"
