"""How long the gate's handler may leave an exec unanswered: the judgement of its supervisor."""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from byway_systemd.system.exec_gate import Progress
    from byway_systemd.system.fanotify import ExecPermission

# Seconds between two looks, and how many without progress are enough: it makes 0.40 s for an exec
# that is alone, 0.32 to 0.48 s among others. Counted, so that a clock that jumps when the machine
# was suspended is no delay. A look at a handler that could not run is none, up to a limit.
_STEP = 0.08
_MOST_STEPS = 5
_MOST_LOOKS = 40
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Activity:
    """A process's threads' states (a letter each, proc_pid_stat(5)), and the CPU time of all."""

    states: str
    seconds: float


def activity_of(pid: int) -> Activity:
    """Return what a child that is not waited for yet is doing."""
    states, seconds = "", 0.0
    for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
        try:
            with open(f"/proc/{pid}/task/{task}/stat", "rb") as file:  # noqa: PTH123
                fields = file.read().rpartition(b")")[2].split()
        except OSError:  # the thread has ended
            continue
        states += fields[0].decode()
        seconds += (int(fields[11]) + int(fields[12])) / _TICKS
    return Activity(states, seconds)


def seems_hung(before: Activity, now: Activity) -> bool:
    """Whether a handler that has answered nothing between two looks hangs, for all one can see.

    Not while the kernel keeps it waiting, which killing it would not end; nor while it is ready to
    run and does not get to, as when two hundred programs start at once.
    """
    if "D" in now.states:
        return False
    return "R" not in now.states or now.seconds - before.seconds >= _STEP / 2


class Patience:
    """Looks at one handler for as long as something is held."""

    def __init__(self, permission: ExecPermission, progress: Progress, handler: int) -> None:
        """Nothing is held yet; ``handler`` is a pid."""
        self.next_look = float("inf")
        self._progress = progress
        self._handler = handler
        self._held = select.poll()
        self._held.register(permission.fileno(), select.POLLIN)
        self._answered = self._steps = self._looks = 0
        self._activity = Activity("", 0.0)

    def begin(self, now: float) -> None:
        """Note that an exec is held, perhaps one more."""
        if self.next_look == float("inf"):
            self.next_look = now + _STEP
            self._restart()

    def is_over(self, now: float) -> bool:
        """Look, when it is time to; whether it was the last time."""
        if now < self.next_look:
            return False
        self.next_look = now + _STEP
        if not (self._progress.busy or self._held.poll(0)):
            self.next_look = float("inf")
            return False
        if self._progress.answered != self._answered:
            self._restart()
            return False
        before, self._activity = self._activity, activity_of(self._handler)
        self._looks += 1
        self._steps += seems_hung(before, self._activity)
        return self._steps >= _MOST_STEPS or self._looks >= _MOST_LOOKS

    def _restart(self) -> None:
        self._answered = self._progress.answered
        self._activity = activity_of(self._handler)
        self._steps = self._looks = 0
