"""The daemon's event loop: what happens outside becomes a move or a reconcile."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from byway_systemd.api.service import View
from byway_systemd.api.surface import Outlet, Surface
from byway_systemd.background import Background
from byway_systemd.coalescer import Coalescer
from byway_systemd.core.config import GATE_SERVICE
from byway_systemd.core.describe import JsonObject, describe_operation
from byway_systemd.core.desired import Desired
from byway_systemd.core.errors import BywayError, ConfigError
from byway_systemd.core.observed import Observed
from byway_systemd.core.placement import plan_process, wanted_executables
from byway_systemd.core.status import build_status
from byway_systemd.core.steering import Steering, find_steering
from byway_systemd.happenings import Happenings
from byway_systemd.reconcile import Outcome, System, reconcile

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.core.observed import Executable, Process
    from byway_systemd.core.operations import Operation
    from byway_systemd.reconcile import Failure

log = logging.getLogger("byway")

_QUIET = 0.02  # seconds between two reconciles for events; the first event is acted on at once
_MOST_QUIET = 0.5  # when somebody keeps undoing what byway does
_MOST_QUIET_USERS = 1.0  # when somebody makes and removes cgroups of his own all the time
_CONFIG_QUIET = 0.1  # an editor writes a file in several steps
_WATCHDOG = 5.0
_RETRY = 1.0
_GATE_PATIENCE = 10.0
_GATE_STEP = 0.05
_RECHECK = 0.15  # a service's process may be pulled back once by systemd-executor's last steps


class EventSource(Protocol):
    """Something to wait on."""

    def fileno(self) -> int:
        """Return the descriptor to wait on."""


class ExecSource(EventSource, Protocol):
    """Exec events; ``read`` returns pids, or None when some were lost."""

    def read(self) -> list[int] | None:
        """Return the pids of what has been executed."""


class ChangeSource(EventSource, Protocol):
    """Events that only say that something changed."""

    def drain(self) -> bool:
        """Read all; return whether there was a change that matters."""


@dataclass(frozen=True, slots=True)
class World:
    """What the daemon needs from outside, each as the smallest thing that does it."""

    system: System
    load: Callable[[], Desired]
    observe_process: Callable[[int, tuple[Executable, ...]], Process | None]
    exec_events: ExecSource | None
    network_events: tuple[ChangeSource, ...]
    user_events: ChangeSource
    config_events: ChangeSource
    watch: Callable[[Observed], None]
    publish: Callable[[JsonObject], None]
    notify: Callable[..., None]
    placement_note: str = ""
    outlet: Outlet | None = None


class Daemon:
    """The loop and what it remembers: the configuration in force and what was seen last."""

    def __init__(self, world: World) -> None:
        """Prepare; nothing happens before ``run``."""
        self._world = world
        self._desired = Desired.empty()
        self._observed: Observed | None = None
        self._outcome: Outcome | None = None
        self._loading = False  # the service manager waits for what was loaded to be in force
        self._status: JsonObject = {}
        self._phase = "activating"
        self._blind = False  # the system cannot be looked at
        self._executables: tuple[Executable, ...] = ()
        self._steering = Steering()
        self._problems: tuple[str, ...] = ()
        self._repairs = 0
        self._retry: asyncio.TimerHandle | None = None
        self._network = Coalescer(self._reconcile_network, _QUIET)
        self._users = Coalescer(self._reconcile_network, _QUIET, most=_MOST_QUIET_USERS)
        self._config = Coalescer(self.reload, _CONFIG_QUIET, leading=False)
        self._stopped = asyncio.Event()
        self._background = Background(world.system, self._finish_long)
        self._surface = Surface(world.outlet, self)
        self._happenings = Happenings(self._surface.publish)

    @property
    def phase(self) -> str:
        """What byway is doing, in systemd's words for a unit."""
        return "failed" if self._blind and self._phase == "active" else self._phase

    @property
    def status(self) -> JsonObject:
        """The status as it was published last."""
        return self._status

    @property
    def view(self) -> View:
        """What is to be and what was seen last."""
        observed = self._observed or Observed()
        return View(self._desired, observed, self._steering, self._executables)

    def look(self, desired: Desired) -> Observed:
        """Return the machine as it is now; raise OSError."""
        return self._world.system.observe(desired)

    def apply(self) -> None:
        """Load the configuration and begin to put everything right."""
        self._outcome = None
        self.reload()

    async def settle(self) -> Outcome | None:
        """Wait for what takes long; return what was done, None when it has to be tried again."""
        await self._background.wait()
        return self._outcome

    def observe_process(self, pid: int) -> Process | None:
        """Return a process as it is now, None when it is gone."""
        return self._world.observe_process(pid, self._executables)

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then take everything down. Raises ConfigError at start."""
        self._desired = self._world.load()
        loop = asyncio.get_running_loop()
        for number, react in (
            (signal.SIGHUP, self.reload),
            (signal.SIGUSR1, self.reconcile_all),
            (signal.SIGTERM, self._stopped.set),
            (signal.SIGINT, self._stopped.set),
        ):
            loop.add_signal_handler(number, react)
        # Subscribe first, look second: what happens in between is seen twice, not missed.
        self._subscribe(loop)
        self._surface.start()
        self.reconcile_all()
        await self._wait_for_gate()
        self._phase = "active"
        self._surface.publish_state()
        self._world.notify(ready=True, status=self._summary())
        self._happenings.ready(self._summary())
        watchdog = asyncio.create_task(self._keep_alive())
        await self._stopped.wait()
        self._phase = "deactivating"
        watchdog.cancel()
        self._unsubscribe(loop)
        await self._surface.stop()
        await self._background.wait()
        self.take_down()

    async def _wait_for_gate(self) -> None:
        """Wait, as what is started once byway is ready is to be right from its first packet."""
        deadline = time.monotonic() + _GATE_PATIENCE
        while (
            self._observed is not None
            and GATE_SERVICE in self._observed.starting_units
            and not self._stopped.is_set()
            and time.monotonic() < deadline
        ):
            await asyncio.sleep(_GATE_STEP)
            self.reconcile_all()

    def reload(self) -> None:
        """Read the configuration again; a bad one is reported, and the last good one stays."""
        if self._stopped.is_set():
            return
        self._world.notify(reloading=True)
        self._loading = True
        try:
            self._desired = self._world.load()
            self._world.notify(watchdog=True)
            self._problems = ()
            self._surface.note_loaded()
        except ConfigError as error:
            self._problems = tuple(str(problem) for problem in error.problems)
        except (BywayError, OSError) as error:
            self._problems = (f"cannot load the configuration: {error}",)
        self._happenings.loaded(self._problems)
        self.reconcile_all()
        self._end_loading()

    def _end_loading(self) -> None:
        if self._loading and not self._background.is_busy:
            self._loading = False
            self._world.notify(ready=True, status=self._summary())

    def reconcile_all(self) -> None:
        """Look at everything and put it right, unless byway stops: stopped stays stopped."""
        if self._stopped.is_set():  # a signal or a timer of the loop that came late
            return
        self._reconcile(None)
        if self._observed is not None:
            self._world.watch(self._observed)

    def take_down(self) -> None:
        """Remove everything byway made, but leave what it placed running where it is."""
        outcome = reconcile(self._world.system, Desired.empty(), self._happenings.applied)
        self._happenings.failed(outcome.failures)
        self._happenings.stopped()

    def _subscribe(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._world.exec_events:
            loop.add_reader(self._world.exec_events.fileno(), self._on_exec)
        for source in self._world.network_events:
            loop.add_reader(source.fileno(), self._on_change, source, self._network)
        users = self._world.user_events
        loop.add_reader(users.fileno(), self._on_change, users, self._users)
        loop.add_reader(self._world.config_events.fileno(), self._on_config)

    def _unsubscribe(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hear nothing more: what is taken down would be put up again at once."""
        self._network.cancel()
        self._users.cancel()
        self._config.cancel()
        exec_events = (self._world.exec_events,) if self._world.exec_events else ()
        changes = (*self._world.network_events, self._world.user_events, self._world.config_events)
        for source in (*exec_events, *changes):
            loop.remove_reader(source.fileno())

    def _on_exec(self) -> None:
        source = self._world.exec_events
        pids = source.read() if source else None
        if pids is None:
            log.warning("process events were lost: looking at every process")
            self.reconcile_all()
            return
        for pid in dict.fromkeys(pids):
            self._place(pid)

    def _place(self, pid: int, *, again: bool = False) -> None:
        if self._stopped.is_set():
            return
        process = self._world.observe_process(pid, self._executables)
        if process is None:
            return
        operation = plan_process(self._desired, self._steering, process, self._executables)
        if operation is None:
            return
        try:
            self._world.system.apply(operation)
        except OSError as error:
            log.warning("%s: %s", describe_operation(operation), error)
        else:
            self._happenings.applied(operation)
        if not again:
            loop = asyncio.get_running_loop()
            loop.call_later(_RECHECK, lambda: self._place(pid, again=True))

    @staticmethod
    def _on_change(source: ChangeSource, coalescer: Coalescer) -> None:
        if source.drain():
            coalescer.trigger()

    def _on_config(self) -> None:
        if self._world.config_events.drain():
            self._config.trigger()

    def _reconcile_network(self) -> None:
        repaired = self._reconcile(self._observed)
        # Somebody may undo every repair at once: slow down then, and never stop.
        self._repairs = self._repairs + 1 if repaired else 0
        self._network.quiet = min(_MOST_QUIET, _QUIET * max(1, self._repairs - 10))

    def _reconcile(self, previous: Observed | None) -> bool:
        """Reconcile the network (given ``previous``) or everything; return whether it repaired."""
        try:
            outcome = reconcile(
                # Who starts byway waits for all of it.
                self._background if self._phase == "active" else self._world.system,
                self._desired,
                self._note_applied,
                previous,
                is_refused=bool(self._problems),
            )
        except OSError as error:  # a dump that never stays still, a manager that is re-executed
            self._blind = True
            self._surface.publish_state()
            if self._retry is None:
                log.error("cannot look at the system, trying again: %s", error)
            self._look_again()
            return False
        self._finish(outcome, network_only=previous is not None)
        return bool(outcome.applied or outcome.waiting)

    def _finish_long(self, operation: Operation, failure: Failure | None) -> None:
        """Go on with what has waited for ``operation``, or was not to be looked at meanwhile."""
        if failure is None:
            self._note_applied(operation)
            if self._outcome:
                self._outcome.applied.append(operation)
        self.reconcile_all()
        self._end_loading()

    def _note_applied(self, operation: Operation) -> None:
        """Tell what was done, and the watchdog that it goes on: a list may take a while."""
        self._happenings.applied(operation)
        if self._phase == "active":
            self._world.notify(watchdog=True)

    def _look_again(self) -> None:
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(_RETRY, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.reconcile_all()

    def _finish(self, outcome: Outcome, *, network_only: bool = False) -> None:
        if self._outcome and self._outcome.waiting:  # what was begun then goes on
            outcome.applied[:0] = self._outcome.applied
        before, self._outcome = self._observed, outcome
        self._blind = False
        self._observed = outcome.observed
        if network_only and before is not None:
            self._observed = replace(outcome.observed, processes=before.processes)
        self._executables = wanted_executables(outcome.observed)
        self._steering = find_steering(self._desired, outcome.observed)
        self._happenings.failed(outcome.failures)
        failed = tuple(failure.operation for failure in outcome.failures)
        self._publish(self._observed, (*failed, *outcome.waiting))
        if GATE_SERVICE in outcome.observed.starting_units:
            self._look_again()  # nothing else tells when it has started

    def _publish(self, observed: Observed, remaining: tuple[Operation, ...]) -> None:
        status = build_status(self._desired, observed, remaining)
        self._happenings.warned(status["warnings"])
        status["config_problems"] = list(self._problems)
        status["failures"] = list(self._happenings.failures)
        status["counters"] = self._happenings.counters()
        status["placement"]["process_events"] = self._world.placement_note or "active"
        self._status = status
        self._world.publish(status)
        self._surface.publish_state()

    def _summary(self) -> str:
        if self._problems:
            return "configuration refused, the last good one stays: " + self._problems[0]
        links = ", ".join(profile.interface for profile in self._desired.profiles)
        apps = sum(len(profile.apps) for profile in self._desired.profiles)
        return f"{apps} app{'s' * (apps != 1)} by {links}"

    async def _keep_alive(self) -> None:
        while True:
            self._world.notify(watchdog=True)
            await asyncio.sleep(_WATCHDOG)
