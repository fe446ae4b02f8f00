"""What the routes work with: the daemon, the configuration, and who may change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from byway_systemd.api.message import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.api.changes import Changes
    from byway_systemd.api.configuration import Configuration
    from byway_systemd.api.events import Hub
    from byway_systemd.api.fresh import Fresh
    from byway_systemd.api.peer import Authority
    from byway_systemd.core.canary_report import Sighting, Trial
    from byway_systemd.core.candidates import RunningUnit, RunningUser
    from byway_systemd.core.counters import Carried
    from byway_systemd.core.describe import JsonObject
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Executable, Observed, Process
    from byway_systemd.core.programs import Installed, RunningProgram
    from byway_systemd.core.steering import Steering
    from byway_systemd.reconcile import Outcome

    Running = tuple[tuple[RunningUnit, ...], tuple[RunningUser, ...]]


class Engine(Protocol):
    """The daemon, as the API uses it. What looks or changes takes milliseconds; settle waits."""

    @property
    def phase(self) -> str:
        """``activating``, ``active``, ``deactivating`` or ``failed``, as systemd names them."""

    @property
    def status(self) -> JsonObject:
        """The status as it was published last; a new value every time that it changes."""

    @property
    def view(self) -> View:
        """What is to be and what was seen last."""

    def look(self, desired: Desired) -> Observed:
        """Return the machine as it is now, as far as ``desired`` concerns it; raise OSError."""

    def apply(self) -> None:
        """Load the configuration and begin to put everything right.

        A configuration that is refused is in the status then, and the last good one stays.
        """

    async def settle(self) -> Outcome | None:
        """Wait for what takes long of that; return what was done, None if it is tried again."""

    def observe_process(self, pid: int) -> Process | None:
        """Return a process as it is now, None when it is gone."""


@dataclass(frozen=True, slots=True)
class View:
    """What is to be, what was seen last, and what follows from the two."""

    desired: Desired
    observed: Observed
    steering: Steering
    executables: tuple[Executable, ...]


class Rendered:
    """The last answers, for as long as what they were made of is the same.

    A status of thousands of processes is rendered once, not for everybody who asks.
    """

    def __init__(self) -> None:
        """Nothing has been rendered."""
        self._kept: dict[str, tuple[object, str, bytes]] = {}

    def get(self, name: str, engine: Engine, make: Callable[[], Any]) -> bytes:
        """Return the value that ``make`` returns, as JSON; it depends on the engine alone."""
        kept = self._kept.get(name)
        if kept and kept[0] is engine.status and kept[1] == engine.phase:
            return kept[2]
        body = encode(make())
        self._kept[name] = (engine.status, engine.phase, body)
        return body


@dataclass(frozen=True, slots=True)
class Outside:
    """What routes look at themselves, the daemon having no need of it. Each takes its time."""

    observe_running: Callable[[], Running]
    send_canaries: Callable[[Trial], tuple[Sighting, ...]]
    has_unit: Callable[[str], bool]
    observe_programs: Callable[[], tuple[RunningProgram, ...]]
    observe_installed: Callable[[], Installed]
    observe_carried: Callable[[tuple[str, ...], tuple[Executable, ...]], Carried]
    read_icon: Callable[[tuple[str, ...]], tuple[str, bytes] | None]


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that a route may need."""

    engine: Engine
    configuration: Configuration
    changes: Changes
    hub: Hub
    rendered: Rendered
    fresh: Fresh
    outside: Outside
    authority: Authority
    version: str
