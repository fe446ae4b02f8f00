"""The exec gate as a service: a handler that answers, and a supervisor that sees that it does.

They share a fanotify group. The supervisor, the service's main process, sleeps until an exec is
held, and then looks at the handler until none is any more. A handler that makes no progress is
killed and the group closed, upon which the kernel lets go on what was held. Then a new handler gets
a new group; the old one must be closed by then, or every exec would be held twice.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import resource
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from byway_systemd.core.config import GATE_CGROUP, GATE_OWN_CGROUP
from byway_systemd.core.errors import UnsupportedError
from byway_systemd.system.cgroups import MOUNT, cgroup_of, write_pid
from byway_systemd.system.exec_gate import Gate, Progress
from byway_systemd.system.fanotify import ExecPermission
from byway_systemd.system.file_events import FileEvents
from byway_systemd.system.gate_keeper import Keeper
from byway_systemd.system.gate_patience import Patience
from byway_systemd.system.processes import call_of, image_of, network_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.core.config import Config

log = logging.getLogger("byway.gate")

_BRIEF = 1.0  # seconds: a handler that lived no longer is not started again at once
_CRASHED = 70  # EX_SOFTWARE of sysexits.h
_STACK = 256 * 1024  # bytes, of the keeper's thread: it is locked in memory

_libc = ctypes.CDLL(None, use_errno=True)
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_PR_SET_PDEATHSIG = 1


def run_gate(
    load: Callable[[], Config], notify: Callable[..., None], config_paths: tuple[Path, ...]
) -> NoReturn:
    """Hold and place until SIGTERM; ``load`` may raise ConfigError, then nothing changes."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    for cgroup in ("gate", "default"):
        Path(f"{MOUNT}{GATE_CGROUP}/{cgroup}").mkdir(exist_ok=True)
    write_pid(GATE_OWN_CGROUP, os.getpid())
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _lock_memory()

    def serve(permission: ExecPermission, progress: Progress, report: int) -> None:
        _handle(Gate(permission, progress), load, config_paths, report)

    supervisor = Supervisor(serve, notify)
    while True:
        try:
            permission = ExecPermission()
        except OSError as error:
            reason = f"not available: {error.strerror}"
            notify(status=reason)
            raise UnsupportedError(
                f"{reason} (the gate needs Linux 5.15 with fanotify permission events, outside of "
                "containers; without it byway moves programs as it sees them)"
            ) from None
        supervisor.supervise(permission)


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler: its pid, a pidfd of it, and the pipe by which it tells its state."""

    pid: int
    pidfd: int
    state: int

    def end(self) -> int:
        """Kill it, and close what belongs to it; return its status (waitpid(2))."""
        os.kill(self.pid, signal.SIGKILL)  # it is there, as nobody has waited for it
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.pidfd)
        os.close(self.state)
        return status


class Supervisor:
    """Starts one handler after the other, each with a group of its own."""

    def __init__(
        self, serve: Callable[[ExecPermission, Progress, int], None], notify: Callable[..., None]
    ) -> None:
        """``serve`` runs in the handler: it answers for ever, and writes its state to a pipe."""
        self._serve = serve
        self._notify = notify
        self._ready = False
        # Half of what systemd allows; sd_watchdog_enabled(3).
        self._interval = int(os.environ.get("WATCHDOG_USEC", "10000000")) / 2_000_000
        self._next_sign = 0.0

    def supervise(self, permission: ExecPermission) -> None:
        """Run a handler until it ends, hangs or is killed; its group is closed then."""
        progress = Progress()
        begin = time.monotonic()
        handler = self._start(permission, progress)
        hangs = False
        try:
            hangs = self._watch(permission, progress, handler)
        finally:
            status = handler.end()
            permission.close()  # the last to have it open: what was held goes on
            progress.close()
        if hangs:
            log.error("the gate's handler hung with an exec held: killed, and started anew")
        elif os.WIFEXITED(status):  # it said why; systemd starts the service again
            sys.exit(os.WEXITSTATUS(status))
        else:
            log.error("the gate's handler was killed (signal %d): started anew", status & 0x7F)
        if time.monotonic() - begin < _BRIEF:
            time.sleep(0.1)

    def _start(self, permission: ExecPermission, progress: Progress) -> Handler:
        """Fork; return in the supervisor alone."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        supervisor = os.getpid()
        pid = os.fork()
        if pid:
            os.close(writer)
            return Handler(pid, os.pidfd_open(pid), reader)
        try:
            os.close(reader)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == supervisor:
                self._serve(permission, progress, writer)
        except BaseException:
            log.exception("this is a bug in byway")
        finally:
            os._exit(_CRASHED)

    def _watch(self, permission: ExecPermission, progress: Progress, handler: Handler) -> bool:
        """Return True when the handler hangs, False when it has ended."""
        patience = Patience(permission, progress, handler.pid)
        with select.epoll() as poll:
            # The first tells while the handler has not taken the exec, the second once it does.
            for descriptor in (permission.fileno(), progress.begun):
                poll.register(descriptor, select.EPOLLIN | select.EPOLLET)
            poll.register(handler.pidfd, select.EPOLLIN)
            poll.register(handler.state, select.EPOLLIN)
            while True:
                self._show_sign()
                due = min(patience.next_look, self._next_sign) - time.monotonic()
                ready = {number for number, _ in poll.poll(max(0.0, due))}
                if handler.pidfd in ready:
                    return False
                if handler.state in ready:
                    self._pass_on(handler.state)
                if ready & {permission.fileno(), progress.begun}:
                    patience.begin(time.monotonic())
                if patience.is_over(time.monotonic()):
                    return True

    def _show_sign(self) -> None:
        if time.monotonic() >= self._next_sign:
            self._notify(watchdog=True)
            self._next_sign = time.monotonic() + self._interval

    def _pass_on(self, state: int) -> None:
        lines = os.read(state, 65536).decode(errors="replace").splitlines()
        if lines:
            self._notify(ready=not self._ready, status=lines[-1])
            self._ready = True


def _handle(
    gate: Gate, load: Callable[[], Config], config_paths: tuple[Path, ...], report: int
) -> None:
    """Answer what is held, for ever."""
    _lock_memory()

    def tell(state: str) -> None:
        with suppress(BlockingIOError):  # the supervisor has not read the last ones yet
            os.write(report, f"{state}\n".encode(errors="replace"))

    keeper = Keeper(gate, load, FileEvents(), config_paths, tell)
    keeper.arm()
    # Once through all that is read while an exec waits: then it is in memory, and stays there.
    for read in (cgroup_of, network_of, image_of, call_of):
        read(os.getpid())
    # What is there now stays: the collector need not walk it while an exec waits.
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(0.0005)  # seconds: the keeper makes way for the handler
    threading.stack_size(_STACK)
    threading.Thread(target=_end_with, args=(keeper.run,), daemon=True).start()
    poll = select.poll()
    poll.register(gate.permission.fileno(), select.POLLIN)
    while True:
        poll.poll()
        gate.admit()


def _end_with(run: Callable[[], None]) -> None:
    """End the process when ``run`` does, in a thread of it."""
    try:
        run()
    except BaseException:
        log.exception("this is a bug in byway")
    finally:
        os._exit(_CRASHED)


def _lock_memory() -> None:
    """Keep in memory what is in use: a page that must be read from a disk may take its time."""
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        _libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)


def _end(_number: int, _frame: object) -> None:
    raise SystemExit(0)
