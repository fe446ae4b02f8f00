"""Which process belongs into which slice, and why."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

from byway_systemd.core.app_units import is_unit_of
from byway_systemd.core.apps import AppKind, Children
from byway_systemd.core.observed import Executable, FileState, Group, Process
from byway_systemd.core.operations import PlaceProcess, ReturnProcess
from byway_systemd.core.users import holder_of, is_home_of_gate, session_uid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set

    from byway_systemd.core.apps import App
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.steering import Steering

_LISTED = Children.LISTED
_DELETED = " (deleted)"  # d_path() in fs/d_path.c appends it to an unlinked file's name


class Placement(StrEnum):
    """How a process came to be in the slice."""

    DROP_IN = "drop-in"
    LAUNCHER = "launcher"
    GATE = "gate"
    MOVED = "moved"
    ADOPTED = "adopted"


def match_executable(process: Process, executables: tuple[Executable, ...]) -> Executable | None:
    """Return the listed executable that ``process`` runs, or None."""
    return _find_file(process, (e for e in executables if not e.excluded))


def _find_file(process: Process, executables: Iterable[Executable]) -> Executable | None:
    """Return the one of ``executables`` that ``process`` runs, or None.

    A program matches by device and inode; by its path only once the file it runs is deleted, as
    after an upgrade. A script matches as the script its interpreter was given.
    """
    if not process.in_host_namespace:
        return None
    deleted = process.path.endswith(_DELETED)
    old_path = process.path.removesuffix(_DELETED) if deleted else ""
    for executable in executables:
        if executable.state is FileState.PROGRAM:
            same = (process.device, process.inode) == (executable.device, executable.inode)
            if same or old_path in (executable.real_path, executable.path):
                return executable
        elif executable.state is FileState.SCRIPT and process.script:
            if process.script in (executable.path, executable.real_path):
                return executable
        elif old_path and old_path == executable.path:  # removed, and still running
            return executable
    return None


def tell_placement(process: Process, desired: Desired) -> Placement:
    """Return how a process that is steered came to be, read off its cgroup."""
    units = {a.value for e in desired.exits for a in e.profile.apps if a.kind is AppKind.UNIT}
    parts = process.cgroup.split("/")
    if "byway-gate.service" in parts or is_home_of_gate(process.cgroup):
        return Placement.GATE
    if process.origin:
        return Placement.MOVED
    if "byway.slice" not in parts:
        return Placement.ADOPTED
    if units.intersection(parts) or _unit_app(process.cgroup, desired):
        return Placement.DROP_IN
    return Placement.LAUNCHER


def _unit_app(cgroup: str, desired: Desired) -> bool:
    apps = (app for profile in desired.profiles for app in profile.apps)
    return any(is_in_unit_of(cgroup, app) for app in apps)


def is_in_unit_of(cgroup: str, app: App) -> bool:
    """Whether ``cgroup`` is a unit of a user's manager that is ``app``, or below it."""
    if session_uid(cgroup) is None:
        return False
    return any(is_unit_of(part, app) for part in cgroup.split("/")[4:])


def bound_groups(groups: Iterable[Group], most: int = 100) -> tuple[Group, ...]:
    """Return one group for each cgroup, and of what a user can make up ``most`` at most."""
    found: dict[str, Group] = {}
    of_users: Counter[int] = Counter()
    for group in groups:
        uid = session_uid(group.cgroup)
        if uid is not None and group.cgroup not in found:
            of_users[uid] += 1
        if uid is None or of_users[uid] <= most:
            found[group.cgroup] = group
    return tuple(found.values())


def plan_process(
    desired: Desired,
    steering: Steering,
    process: Process,
    executables: tuple[Executable, ...],
) -> PlaceProcess | ReturnProcess | None:
    """Return the move that ``process`` needs, or None. The daemon calls it for every exec.

    A process that byway placed, or that was born to one, stays until its app is no longer listed.
    """
    if not desired.exits:
        return None  # byway stops: what runs goes on where it is
    executable = match_executable(process, executables)
    leaves = "" if executable else _why_it_leaves(desired, process, executables)
    if executable is not None:
        profile_name, app = executable.profile, str(executable.app)
        because = describe_match(executable)
    else:
        profile_name, app = _profile_of_app(process.app, desired), process.app
        because = f"belongs to {app}"
    profile = next((e.profile for e in desired.exits if e.profile.name == profile_name), None)
    if profile is None or leaves:
        because = leaves or (f"{app} is not listed any more" if app else "nothing asks for it")
        verdict = steering.verdict("")
        returned = ReturnProcess(process.pid, process.start, process.origin, verdict, because)
        return returned if process.origin else None
    if steering.profile_of(process.cgroup) == profile.name:
        return None
    name = process.path.removesuffix(_DELETED).rsplit("/", 1)[-1]
    origin = process.origin or process.cgroup
    verdict = steering.verdict(profile.name)
    holder = holder_of(origin, process.uid)
    home = f"{holder}/{profile.name}" if holder in steering.holders else ""
    return PlaceProcess(
        process.pid, process.start, name, app, profile.slice, origin, verdict, because, home
    )


def _why_it_leaves(desired: Desired, process: Process, executables: tuple[Executable, ...]) -> str:
    """Return why what an app started does not go its way; empty when it does."""
    apps = {str(app): app for profile in desired.profiles for app in profile.apps}
    app = apps.get(process.app) if process.origin else None
    if app is None or not app.lets_go:
        return ""
    excluded = (e for e in executables if e.excluded and e.app == app)
    if found := _find_file(process, excluded):
        return f"{app} excludes {found.path}"
    return f"of what {app} starts only listed programs stay" if app.children is _LISTED else ""


def _profile_of_app(app: str, desired: Desired) -> str:
    names = (e.profile.name for e in desired.exits if app in map(str, e.profile.apps))
    return next(names, "")


def describe_match(executable: Executable) -> str:
    """Return why a process matches, for people."""
    listed = str(executable.app)
    what = "the script" if executable.state is FileState.SCRIPT else "the program"
    if listed == executable.path:
        return f"runs {what} {listed}"
    return f"runs {what} {executable.path}, which matches {listed}"


def may_be_adopted(cgroup: str) -> bool:
    """Whether ``cgroup`` is one unit's own: a scope or a service that no other units stand in."""
    name = cgroup.rpartition("/")[2]
    if name == "init.scope" or name.startswith(("byway", "user@")):
        return False
    return name.endswith((".scope", ".service")) and "byway.slice" not in cgroup.split("/")


def find_groups(
    members: Mapping[str, tuple[Process, ...]], executables: tuple[Executable, ...]
) -> tuple[Group, ...]:
    """Return the cgroups in which nothing runs but one listed app and its children.

    ``members`` are all processes of each cgroup in question. A process whose parents have ended
    belongs to nobody, so that its cgroup is not the app's alone.
    """
    found = []
    for cgroup, processes in sorted(members.items()):
        matches = {p.pid: m for p in processes if (m := match_executable(p, executables))}
        parents = {process.pid: process.parent for process in processes}
        owners = {match.profile for match in matches.values()}
        adoptable = may_be_adopted(cgroup) and not any(m.app.lets_go for m in matches.values())
        alone = all(_descends(process.pid, parents, matches.keys()) for process in processes)
        if adoptable and len(owners) == 1 and alone:
            first = matches[min(matches)]
            found.append(Group(cgroup, first.profile, str(first.app)))
    return tuple(found)


def _descends(pid: int, parents: Mapping[int, int], ancestors: Set[int]) -> bool:
    for _ in range(len(parents) + 1):
        if pid in ancestors:
            return True
        pid = parents.get(pid, 0)
    return False


def wanted_executables(observed: Observed) -> tuple[Executable, ...]:
    """Return the executables that exist and can be matched."""
    usable = (FileState.PROGRAM, FileState.SCRIPT, FileState.MISSING)
    return tuple(e for e in observed.executables if e.state in usable)
