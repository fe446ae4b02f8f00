"""The exec gate: a listed program's exec is held until its process is in the slice.

This is what happens while an exec waits: a few reads of /proc and one write. No look-ups by name,
no D-Bus, no log. It always lets the exec go on: a program that could not be placed is the mover's
work, and a gate that ends releases what it holds. What is to be marked is kept beside it
(gate_keeper), and somebody watches that it answers (gate_supervisor).
"""

from __future__ import annotations

import mmap
import os
import resource
import signal
import stat
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from byway_systemd.core.config import GATE_CGROUP
from byway_systemd.core.steering import RELEASED, is_below
from byway_systemd.core.users import (
    holder_of,
    manager_cgroup,
    name_home,
    session_uid,
    user_cgroups,
)
from byway_systemd.system.cgroups import (
    MOUNT,
    Marker,
    cgroup_of,
    nearest_profile,
    read_marker,
    write_marker,
    write_pid,
)
from byway_systemd.system.homes import make
from byway_systemd.system.processes import call_of, image_of, network_of, parent_of, uid_of

if TYPE_CHECKING:
    from byway_systemd.core.config import Profile
    from byway_systemd.system.fanotify import ExecPermission, HeldExec

_MOST_OPEN = 256  # cgroups, each open to be written to
_OTHER_DESCRIPTORS = 40  # what the handler has open besides, at most
_MOST_MOVED = 10_000  # of which it is not known yet whether the exec succeeded


@dataclass(frozen=True, slots=True)
class Target:
    """Where the processes of an executable go.

    One that is not listed itself, but excluded by apps, leaves the slice when these start it.
    """

    app: str
    profile: Profile
    path: str
    excluded_by: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Moved:
    """A process moved for an exec, as it was before: ``image`` and ``call`` tell whether it came.

    ``moment`` is in seconds of the monotonic clock.
    """

    moment: float
    pid: int
    origin: str
    cgroup: str
    image: bytes
    call: bytes


class Progress:
    """What the handler tells its supervisor.

    ``begun`` is an eventfd for epoll(7), edge-triggered and never read: it tells of every time the
    handler begins. The rest is memory of both, in whole words, so that there is nothing to lock.
    """

    _BUSY, _ANSWERED = range(2)

    def __init__(self) -> None:
        """Share it with every process forked from now on."""
        self.begun = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._words = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")

    def close(self) -> None:
        """Close what is open."""
        os.close(self.begun)

    @property
    def busy(self) -> bool:
        """Whether the handler is answering."""
        return bool(self._words[self._BUSY])

    @property
    def answered(self) -> int:
        """How many execs have been answered so far."""
        return self._words[self._ANSWERED]

    def begin(self) -> None:
        """Tell before the first event is taken: from then on poll(2) says that none waits."""
        self._words[self._BUSY] = 1
        os.eventfd_write(self.begun, 1)

    def count(self) -> None:
        """One more is answered."""
        self._words[self._ANSWERED] += 1

    def end(self) -> None:
        """All are answered."""
        self._words[self._BUSY] = 0


class Gate:
    """Answers the execs that are held, and puts their processes where ``targets`` says.

    ``targets`` is keyed by (device, inode) and replaced whole, by another thread. ``moved`` is what
    to look at again; ``failure`` why the last one that could not be placed was not. ``wake`` is an
    eventfd that becomes readable when either of them has something new.
    """

    def __init__(self, permission: ExecPermission, progress: Progress) -> None:
        """Answer what ``permission`` holds."""
        self.permission = permission
        self.targets: dict[tuple[int, int], Target] = {}
        self.moved: deque[Moved] = deque(maxlen=_MOST_MOVED)
        self.failure = ""
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._progress = progress
        self._open: dict[str, int] = {}  # cgroup -> its cgroup.procs
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most_open = max(1, min(_MOST_OPEN, limit - _OTHER_DESCRIPTORS))
        self._network = network_of(os.getpid())

    def close(self) -> None:
        """Release what is held, and close everything."""
        self.permission.close()
        os.close(self.wake)
        while self._open:
            self._forget(next(iter(self._open)))

    def admit(self) -> None:
        """Place and release every exec that waits."""
        self._progress.begin()
        for held in self.permission.read():
            try:
                if held.pid > 0:  # 0: from outside this pid namespace
                    self._place(held)
            except Exception as error:
                if _is_alive(held.pidfd):
                    self._fail(str(error))  # said later: nothing is logged while an exec waits
            finally:
                self.permission.allow(held)
                self._progress.count()
        self._progress.end()

    def _place(self, held: HeldExec) -> None:
        status = os.fstat(held.descriptor)
        target = self.targets.get((status.st_dev, status.st_ino))
        if target is None:
            return
        origin = cgroup_of(held.pid)
        if target.excluded_by:
            _let_go(held.pid, origin, target)
            return
        if not origin or _goes_right(origin, target.profile):
            return
        if network_of(held.pid) == self._network:  # nothing of byway's is in a container's
            # A program with the set-user-ID bit is not the user's: in his holder he could end it.
            uid = -1 if status.st_mode & stat.S_ISUID else uid_of(held.pid)
            self._take_in(held, target, origin, holder_of(origin, uid))

    def _take_in(self, held: HeldExec, target: Target, origin: str, holder: str) -> None:
        image, call = image_of(held.pid), call_of(held.pid)
        cgroup = self._enter(held.pid, target, origin, holder)
        if not _is_alive(held.pidfd):
            undo_move(held.pid, cgroup, origin)
        elif image and call:
            self.moved.append(Moved(time.monotonic(), held.pid, origin, cgroup, image, call))
            if len(self.moved) == 1:
                self._tell()

    def _enter(self, pid: int, target: Target, origin: str, holder: str) -> str:
        """Move a process where it belongs, with its session where that has a holder."""
        if holder:
            name = name_home(target.app, origin, by_gate=True)
            home = f"{holder}/{target.profile.name}/{name}"
            with suppress(OSError):  # there is none, or its user has changed it
                return self._move_surely(pid, home, target, origin)
        return self._move_surely(pid, _gate_cgroup(target, origin), target, origin)

    def _move_surely(self, pid: int, cgroup: str, target: Target, origin: str) -> str:
        try:
            self._move(pid, cgroup, target.app, origin)
        except OSError:  # the cgroup was empty, and removed at this moment
            self._forget(cgroup)
            self._move(pid, cgroup, target.app, origin)
        return cgroup

    def _move(self, pid: int, cgroup: str, app: str, origin: str) -> None:
        descriptor = self._open.get(cgroup)
        if descriptor is None:
            if len(self._open) >= self._most_open:
                self._forget(next(iter(self._open)))
            if is_below(cgroup, GATE_CGROUP):
                os.makedirs(f"{MOUNT}{cgroup}", exist_ok=True)  # noqa: PTH103 - no objects here
            else:
                make(cgroup)
            write_marker(cgroup, Marker(origin, app))
            descriptor = os.open(f"{MOUNT}{cgroup}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            self._open[cgroup] = descriptor
        os.write(descriptor, str(pid).encode())

    def _forget(self, cgroup: str) -> None:
        descriptor = self._open.pop(cgroup, -1)
        if descriptor >= 0:
            os.close(descriptor)

    def _fail(self, reason: str) -> None:
        if reason != self.failure:
            self.failure = reason
            self._tell()

    def _tell(self) -> None:
        os.eventfd_write(self.wake, 1)


def _goes_right(cgroup: str, profile: Profile) -> bool:
    """Whether the sockets of ``cgroup`` leave by the profile's link already."""
    nearest = nearest_profile(cgroup)  # of what is adopted, or released
    if nearest in (profile.name, RELEASED):
        return nearest == profile.name
    uid = session_uid(cgroup)
    of_user = () if uid is None else user_cgroups(profile, manager_cgroup(uid))
    return any(is_below(cgroup, own) for own in (*profile.cgroups, *of_user))


def _let_go(pid: int, cgroup: str, target: Target) -> None:
    """Put a process of a slice that becomes an excluded program back where its app came from."""
    marker = read_marker(cgroup)
    if marker and marker.app in target.excluded_by:
        with suppress(FileNotFoundError):  # its cgroup has gone: the mover finds another
            write_pid(marker.origin, pid)


def undo_move(pid: int, cgroup: str, origin: str) -> None:
    """Undo the move of a process that had died by then: its pid may have been another's already.

    Who has the pid now was born where its parent is; ``origin`` is where the dead one was.
    """
    if cgroup_of(pid) == cgroup:
        write_pid(cgroup_of(parent_of(pid)) or origin, pid)


def _gate_cgroup(target: Target, origin: str) -> str:
    """Return the cgroup for a profile, an app and where its processes came from."""
    key = "\0".join((target.profile.name, target.app, origin)).encode(errors="replace")
    return f"{target.profile.gate_cgroup}/{blake2b(key, digest_size=6).hexdigest()}"


def _is_alive(pidfd: int) -> bool:
    """Whether the process has its pid still."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except OSError:
        return False
    return True
