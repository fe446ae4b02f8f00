"""What runs, as candidates for a traffic section: units by their cgroups, users by processes."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress

from byway_systemd.core.candidates import RunningUnit, RunningUser
from byway_systemd.core.observed import Observed
from byway_systemd.system import cgroups
from byway_systemd.system.routing import Routing

_MOST_PROGRAMS = 5  # of a user


def observe_network() -> Observed:
    """Return links and routes, which anybody may read."""
    with Routing() as routing:
        return Observed(links=routing.observe_links(), routes=routing.observe_routes())


def observe_running() -> tuple[tuple[RunningUnit, ...], tuple[RunningUser, ...]]:
    """Return the units and the users that run."""
    return observe_units(), observe_users()


def observe_units() -> tuple[RunningUnit, ...]:
    """Return the services and scopes of the system's and of users' managers that run."""
    found = (*cgroups.system_unit_cgroups(), *cgroups.user_unit_cgroups())
    return tuple(RunningUnit(cgroup.rpartition("/")[2], cgroup) for cgroup in found)


def observe_users(proc: str = "/proc") -> tuple[RunningUser, ...]:
    """Return the users of all processes, by id; kernel threads have no program."""
    programs: dict[int, dict[str, None]] = {}
    for entry in os.listdir(proc):  # noqa: PTH208 - thousands
        if entry.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                uid = os.stat(f"{proc}/{entry}").st_uid  # noqa: PTH116
                if name := _program(f"{proc}/{entry}"):
                    programs.setdefault(uid, {})[name] = None
    return tuple(
        RunningUser(uid, user_name(uid), tuple(sorted(names)[:_MOST_PROGRAMS]))
        for uid, names in sorted(programs.items())
    )


def _program(process: str) -> str:
    """Return the name in /proc/PID/comm of a process with a command line."""
    with open(f"{process}/cmdline", "rb") as file:  # noqa: PTH123
        if not file.read(1):
            return ""
    with open(f"{process}/comm", "rb") as file:  # noqa: PTH123
        return file.read().rstrip(b"\n").decode(errors="replace")


def user_name(uid: int) -> str:
    """Return the name of a user, empty where the id has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
