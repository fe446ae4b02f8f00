"""The exec gate: a listed program's exec is held until its process is in the slice.

A process of its own (byway-gate.service, delegated by systemd below byway.slice), so that nothing
the daemon does can delay an exec. What it does while an exec waits is one fstat, one read and one
write: no look-ups by name, no D-Bus, no log. It always lets the exec go on: a program that could
not be placed is the mover's work, and a gate that ends releases what it holds.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import select
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from byway_systemd.core.config import GATE_CGROUP, GATE_OWN_CGROUP
from byway_systemd.core.errors import ConfigError, UnsupportedError
from byway_systemd.core.observed import Executable, FileState
from byway_systemd.core.steering import is_below
from byway_systemd.system.cgroups import MOUNT, Marker, cgroup_of, write_marker, write_pid
from byway_systemd.system.executables import observe_executables
from byway_systemd.system.fanotify import ExecPermission, HeldExec
from byway_systemd.system.file_events import watched_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.core.config import Config, Profile
    from byway_systemd.system.file_events import FileEvents

log = logging.getLogger("byway.gate")

# Holding these would hold the manager or the bus, without which nothing can be placed.
_NEVER_HELD = frozenset(("systemd", "systemd-executor", "dbus-daemon", "dbus-broker", "snap"))
_RESCAN = 30.0  # seconds: globs, and what inotify does not tell (a mount)
_ALIVE = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where the processes of an executable go."""

    app: str
    profile: Profile
    path: str


@dataclass(slots=True)
class Gate:
    """The marks and where each leads. ``cgroups`` caches open cgroup.procs files."""

    permission: ExecPermission
    targets: dict[tuple[int, int], Target] = field(default_factory=dict)
    cgroups: dict[tuple[str, str, str], int] = field(default_factory=dict)
    failure: str = ""

    def arm(self, executables: tuple[Executable, ...], profiles: tuple[Profile, ...]) -> None:
        """Mark what is listed now, and no longer what was."""
        by_name = {profile.name: profile for profile in profiles}
        targets = {}
        for executable in executables:
            if executable.state in (FileState.PROGRAM, FileState.SCRIPT) and _may_hold(executable):
                target = Target(
                    str(executable.app), by_name[executable.profile], executable.real_path
                )
                targets[executable.device, executable.inode] = target
        for file in self.targets.keys() - targets.keys():
            with suppress(OSError):  # the file has gone, and its mark with it
                self.permission.unmark(self.targets[file].path)
        self.targets = targets
        for target in targets.values():
            with suppress(OSError):  # it may have gone since it was looked at
                self.permission.mark(target.path)

    def admit(self) -> None:
        """Place and release every exec that waits."""
        for held in self.permission.read():
            try:
                if held.pid > 0:  # 0: from outside this pid namespace
                    self._place(held)
            except OSError as error:
                self.failure = str(error)  # said later: nothing is logged while an exec waits
            finally:
                self.permission.allow(held)

    def describe(self) -> str:
        """Return the gate's state, for `systemctl status`."""
        failure = f"; could not place: {self.failure}" if self.failure else ""
        return f"holds {len(self.targets)} files{failure}"

    def sweep(self) -> None:
        """Remove the cgroups nobody is in any more."""
        for descriptor in self.cgroups.values():
            os.close(descriptor)
        self.cgroups.clear()
        for profile in Path(f"{MOUNT}{GATE_CGROUP}").iterdir():
            if profile.is_dir() and profile.name != "gate":
                for cgroup in profile.iterdir():
                    if cgroup.is_dir():
                        with suppress(OSError):  # EBUSY: somebody is
                            cgroup.rmdir()

    def _place(self, held: HeldExec) -> None:
        status = os.fstat(held.descriptor)
        target = self.targets.get((status.st_dev, status.st_ino))
        if target is None:
            return
        origin = cgroup_of(held.pid)
        if not origin or any(is_below(origin, cgroup) for cgroup in target.profile.cgroups):
            return
        descriptor = self._open(target, origin)
        try:
            os.write(descriptor, str(held.pid).encode())
        except OSError:
            # The cgroup was removed, or its file refused: once more by a fresh one.
            os.close(self.cgroups.pop((target.profile.name, target.app, origin)))
            os.write(self._open(target, origin), str(held.pid).encode())

    def _open(self, target: Target, origin: str) -> int:
        key = (target.profile.name, target.app, origin)
        descriptor = self.cgroups.get(key)
        if descriptor is None:
            name = blake2b("\0".join(key).encode(errors="replace"), digest_size=6).hexdigest()
            cgroup = f"{target.profile.gate_cgroup}/{name}"
            os.makedirs(f"{MOUNT}{cgroup}", exist_ok=True)  # noqa: PTH103 - no objects on this path
            write_marker(cgroup, Marker(origin, target.app))
            descriptor = os.open(f"{MOUNT}{cgroup}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            self.cgroups[key] = descriptor
        return descriptor


def run_gate(
    load: Callable[[], Config],
    events: FileEvents,
    notify: Callable[..., None],
    config_paths: tuple[Path, ...],
) -> None:
    """Hold and place until SIGTERM; ``load`` may raise ConfigError, then nothing changes."""
    for cgroup in ("gate", "default"):
        Path(f"{MOUNT}{GATE_CGROUP}/{cgroup}").mkdir(exist_ok=True)
    write_pid(GATE_OWN_CGROUP, os.getpid())
    # Out of descriptors the kernel denies the exec: have as many as it takes.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        permission = ExecPermission()
    except OSError as error:
        raise UnsupportedError(
            f"{error.strerror} (the gate needs Linux 5.15 with fanotify permission events, outside "
            "of containers; without it byway moves programs as it sees them)"
        ) from None
    _serve(Gate(permission), load, events, notify, config_paths)


def _serve(
    gate: Gate,
    load: Callable[[], Config],
    events: FileEvents,
    notify: Callable[..., None],
    config_paths: tuple[Path, ...],
) -> None:
    config = _arm(gate, load, None, events, config_paths)
    # What is there now stays: the collector need not walk it while an exec waits.
    gc.freeze()
    gc.disable()
    notify(ready=True, status=gate.describe())
    poll = select.epoll()
    poll.register(gate.permission.fileno(), select.EPOLLIN)
    poll.register(events.fileno(), select.EPOLLIN)
    last_scan = time.monotonic()
    while True:
        for descriptor, _ in poll.poll(_ALIVE):
            if descriptor == gate.permission.fileno():
                before = gate.failure
                gate.admit()
                if gate.failure != before:
                    log.error("could not place a program: %s", gate.failure)
                    notify(status=gate.describe())
            elif events.drain():
                config = _arm(gate, load, config, events, config_paths)
                notify(status=gate.describe())
        notify(watchdog=True)
        if time.monotonic() - last_scan > _RESCAN:
            last_scan = time.monotonic()
            gate.sweep()
            config = _arm(gate, load, config, events, config_paths)
            gc.collect()


def _end(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _arm(
    gate: Gate,
    load: Callable[[], Config],
    config: Config | None,
    events: FileEvents,
    paths: tuple[Path, ...],
) -> Config | None:
    with suppress(ConfigError):  # the daemon reports it
        config = load()
    if config is None:
        return None
    for profile in config.profiles:
        Path(f"{MOUNT}{profile.gate_cgroup}").mkdir(exist_ok=True)
    executables = observe_executables(config.profiles)
    gate.arm(executables, config.profiles)
    # An upgrade puts a new file in the old one's place, and the mark goes with the old one.
    events.watch((*paths, *watched_files(executables)))
    return config


def _may_hold(executable: Executable) -> bool:
    return Path(executable.real_path).name not in _NEVER_HELD
