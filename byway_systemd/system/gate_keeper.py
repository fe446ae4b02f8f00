"""The gate's other thread: keeps the marks as the configuration and the files are now.

Beside the thread that answers, as looking up a path may take as long as a dead network mount likes.
It also puts back what was moved for an exec that failed, and says what went wrong.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from byway_systemd.core.config import GATE_CGROUP
from byway_systemd.core.errors import ConfigError
from byway_systemd.core.observed import Executable, FileState
from byway_systemd.system.cgroups import MOUNT, cgroup_of, write_pid
from byway_systemd.system.exec_gate import Target
from byway_systemd.system.executables import observe_executables
from byway_systemd.system.file_events import watched_files
from byway_systemd.system.processes import call_of, image_of, runs_listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.core.config import Config, Profile
    from byway_systemd.system.exec_gate import Gate
    from byway_systemd.system.file_events import FileEvents

log = logging.getLogger("byway.gate")

_RESCAN = 30.0  # seconds: what no event tells of
_PATIENCE = 1.0  # seconds, for an exec to succeed
_REST = 5  # times as long as a look takes, until the next: files may change all the time


class Keeper:
    """Keeps one gate; ``load`` may raise ConfigError, then the last configuration stays."""

    def __init__(
        self,
        gate: Gate,
        load: Callable[[], Config],
        events: FileEvents,
        config_paths: tuple[Path, ...],
        report: Callable[[str], None],
    ) -> None:
        """Nothing is marked yet; ``report`` gets the gate's state as text whenever it changes."""
        self._gate = gate
        self._load = load
        self._events = events
        self._config_paths = config_paths
        self._report = report
        self._profiles: tuple[Profile, ...] = ()
        self._executables: tuple[Executable, ...] = ()
        self._failure = ""
        self._rest_until = 0.0

    def run(self) -> None:
        """Keep on until the process ends."""
        with open("/proc/self/mountinfo", "rb") as mounts:  # noqa: PTH123
            poll = select.epoll()
            poll.register(self._gate.wake, select.EPOLLIN)
            poll.register(self._events.fileno(), select.EPOLLIN)
            poll.register(mounts.fileno(), select.EPOLLPRI)  # a mount: proc_pid_mountinfo(5)
            next_scan = time.monotonic() + _RESCAN
            while True:
                now = time.monotonic()
                due = min(next_scan, self._next_check())
                ready = {number for number, _ in poll.poll(max(0.0, due - now))}
                changed = mounts.fileno() in ready
                if self._events.fileno() in ready:
                    changed = self._events.drain() or changed
                if self._gate.wake in ready:
                    os.eventfd_read(self._gate.wake)
                self.say_failure()
                self.return_failed(time.monotonic())
                if changed:
                    self._look_again()
                if time.monotonic() >= next_scan:
                    self._look_again()
                    self.sweep()
                    gc.collect()
                    next_scan = time.monotonic() + _RESCAN

    def arm(self) -> None:
        """Mark what is listed now, and watch for changes of it."""
        with suppress(ConfigError):  # the daemon reports it
            self._profiles = self._load().profiles
        for profile in self._profiles:
            Path(f"{MOUNT}{profile.gate_cgroup}").mkdir(exist_ok=True)
        watches_more = True
        while watches_more:  # what changes after a look and before the watch would be missed
            self._executables = observe_executables(self._profiles)
            # An upgrade puts a new file in the old one's place, and the mark goes with the old one.
            paths = (*self._config_paths, *watched_files(self._executables))
            watches_more = self._events.watch(paths)
        self._mark()
        self._report(self.describe())

    def describe(self) -> str:
        """Return the gate's state, for `systemctl status`."""
        failure = f"; could not place: {self._failure}" if self._failure else ""
        files = len(self._gate.targets)
        return f"holds {files} file{'s' * (files != 1)}{failure}"

    def say_failure(self) -> None:
        """Log and report why a program could not be placed."""
        if self._gate.failure != self._failure:
            self._failure = self._gate.failure
            log.error("could not place a program: %s", self._failure)
            self._report(self.describe())

    def return_failed(self, now: float) -> None:
        """Put back who was moved for an exec that has failed since: E2BIG, AT_EXECVE_CHECK."""
        moved = self._gate.moved
        while moved and moved[0].moment + _PATIENCE <= now:
            entry = moved.popleft()
            if cgroup_of(entry.pid) != entry.cgroup or image_of(entry.pid) != entry.image:
                continue
            if call_of(entry.pid) == entry.call:  # another watcher of files holds it still
                moved.append(replace(entry, moment=now))
                continue
            # Who asked whether it may execute a script goes on to interpret it.
            if not runs_listed(entry.pid, self._executables, has_scripts=True):
                with suppress(OSError):  # its cgroup is gone meanwhile, or the process is
                    write_pid(entry.origin, entry.pid)

    def sweep(self) -> None:
        """Remove the cgroups nobody is in any more."""
        for profile in Path(f"{MOUNT}{GATE_CGROUP}").iterdir():
            if profile.is_dir() and profile.name != "gate":
                for cgroup in profile.iterdir():
                    if cgroup.is_dir():
                        with suppress(OSError):  # EBUSY: somebody is
                            cgroup.rmdir()

    def _mark(self) -> None:
        gate = self._gate
        by_name = {profile.name: profile for profile in self._profiles}
        targets: dict[tuple[int, int], Target] = {}
        for executable in self._executables:
            if executable.state in (FileState.PROGRAM, FileState.SCRIPT):
                file = (executable.device, executable.inode)
                targets[file] = _target(executable, by_name[executable.profile], targets.get(file))
        gone = [target for file, target in gate.targets.items() if file not in targets]
        gate.targets = targets
        for target in gone:
            with suppress(OSError):  # the file has gone, and its mark with it
                gate.permission.unmark(target.path)
        for target in targets.values():
            with suppress(OSError):  # it may have gone since it was looked at
                gate.permission.mark(target.path)

    def _next_check(self) -> float:
        moved = self._gate.moved
        return moved[0].moment + _PATIENCE if moved else float("inf")

    def _look_again(self) -> None:
        time.sleep(max(0.0, self._rest_until - time.monotonic()))
        begin = time.monotonic()
        self._events.drain()  # what came while it rested is looked at now
        self.arm()
        end = time.monotonic()
        self._rest_until = end + _REST * (end - begin)


def _target(executable: Executable, profile: Profile, before: Target | None) -> Target:
    """Return what is to be done with a file; what lists it counts before what excludes it."""
    app, path = str(executable.app), executable.real_path
    if before and not (before.excluded_by and executable.excluded):
        return before
    if not executable.excluded:
        return Target(app, profile, path)
    excluding = before.excluded_by if before else frozenset()
    return Target("", profile, path, excluding | {app})
