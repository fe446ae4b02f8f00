"""Users' holders: a user's processes are put into cgroups of his own session (core/users.py).

By a direct write, as no service manager takes another one's processes. What is below a holder is
the user's to change at any time: each step may fail, and only processes of the user are put there.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from byway_systemd.core.config import HOLDER_CGROUP
from byway_systemd.core.steering import RELEASED, is_below
from byway_systemd.core.users import manager_cgroup, name_home, session_uid
from byway_systemd.system import cgroups
from byway_systemd.system.cgroups import Marker, cgroup_of, write_marker, write_pid
from byway_systemd.system.processes import descendants, parent_of, start_time, uid_of

_ROUNDS = 8  # processes may fork meanwhile


def place(pid: int, start: int, home: str, marker: Marker) -> tuple[int, ...]:
    """Move a process and its descendants; return those of them that are not the user's.

    ``home`` is a profile's in a user's holder. Raises FileNotFoundError when that is not there,
    ProcessLookupError when the process is gone, or is another one now, or somebody else's.
    """
    cgroup = f"{home}/{name_home(marker.app, marker.origin, by_gate=False)}"
    make(cgroup)
    write_marker(cgroup, marker)
    _move(pid, start, cgroup)
    others: set[int] = set()
    for _ in range(_ROUNDS):
        outside = [child for child in descendants(pid) if _is_outside(child, cgroup)]
        waiting = [child for child in outside if child not in others]
        if not waiting:
            break
        for child in waiting:
            try:
                _move(child, start_time(child), cgroup)
            except OSError:
                others.add(child)
    return tuple(child for child in sorted(others) if _is_outside(child, cgroup))


def give_back(pid: int, start: int, origin: str) -> bool:
    """Move a process of a holder back to ``origin``; return whether that was a user's.

    Where it has ended, the process stays with the session, in a cgroup that is not steered.
    """
    uid = session_uid(origin)
    if uid is None or session_uid(cgroup_of(pid)) != uid:
        return False
    try:
        _move(pid, start, origin)
    except ProcessLookupError:
        raise
    except OSError:
        rest = f"{manager_cgroup(uid)}{HOLDER_CGROUP}/{RELEASED}/rest"
        make(rest)
        _move(pid, start, rest)
    return True


def make(cgroup: str) -> None:
    """Make a cgroup two levels below a holder; raise FileNotFoundError when there is no holder.

    It is the user's, so that his manager can remove it.
    """
    uid = session_uid(cgroup)
    if uid is None:
        raise FileNotFoundError(errno.ENOENT, f"no user's cgroup: {cgroup}")
    for path in (cgroup.rpartition("/")[0], cgroup):
        with suppress(FileExistsError):
            os.mkdir(f"{cgroups.MOUNT}{path}", 0o755)  # noqa: PTH102
            os.chown(f"{cgroups.MOUNT}{path}", uid, -1)


def _move(pid: int, start: int, cgroup: str) -> None:
    """Move one process of the user's; what died and gave its pid away meanwhile is put back."""
    before = cgroup_of(pid)
    _require(pid, start, cgroup)
    write_pid(cgroup, pid)
    try:
        _require(pid, start, cgroup)
    except OSError:
        with suppress(OSError):
            if cgroup_of(pid) == cgroup:
                # Another one has the pid: it was born where its parent is.
                same = start_time(pid) == start
                write_pid(before if same else cgroup_of(parent_of(pid)), pid)
        raise


def _require(pid: int, start: int, cgroup: str) -> None:
    try:
        same = start_time(pid) == start and uid_of(pid) == session_uid(cgroup)
    except OSError:
        same = False
    if not same:
        raise ProcessLookupError(errno.ESRCH, f"process {pid} has ended, or is another user's")


def _is_outside(pid: int, cgroup: str) -> bool:
    now = cgroup_of(pid)
    return bool(now) and not is_below(now, cgroup)
