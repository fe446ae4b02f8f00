"""Observe, plan, apply: the one loop behind every verb, the daemon and the timer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from byway_systemd.core.operations import ReloadManager, RemoveUnitFile, WriteUnitFile
from byway_systemd.core.plan import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.operations import Operation

_MOST_ROUNDS = 4


class System(Protocol):
    """The world outside: what it looks like, and one change to it."""

    def observe(self, desired: Desired, previous: Observed | None = None) -> Observed:
        """Return the world as it is, as far as ``desired`` concerns it.

        With ``previous`` only the network is looked at; the rest is taken from there, and the
        processes are left out.
        """

    def apply(self, operation: Operation) -> None:
        """Make one change; raise OSError or BywayError when it cannot be made.

        WaitsError when it is under way, or waits for one that is: then it is looked at later.
        """


class WaitsError(Exception):
    """The operation cannot be applied yet."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An operation that could not be applied, and why."""

    operation: Operation
    reason: str


@dataclass(slots=True)
class Outcome:
    """What a reconcile did, what failed, what waits, and what it saw last."""

    observed: Observed
    applied: list[Operation] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    waiting: list[Operation] = field(default_factory=list)


def reconcile(
    system: System,
    desired: Desired,
    report: Callable[[Operation], None] | None = None,
    previous: Observed | None = None,
    *,
    is_refused: bool = False,
) -> Outcome:
    """Apply the plan until it is empty, for a few rounds: the world may move meanwhile.

    ``is_refused`` says that the configuration's files are not what ``desired`` was made of.

    An operation that fails does not stop the others: each makes things better by itself. What
    failed is tried again by the next reconcile.
    """
    outcome = Outcome(system.observe(desired, previous))
    for _ in range(_MOST_ROUNDS):
        operations = plan(desired, outcome.observed)
        was_reloaded = any(isinstance(o, ReloadManager) for o in outcome.applied)
        if previous is not None or is_refused or was_reloaded:
            operations = _without_vain_reload(operations)
        if not operations:
            outcome.failures.clear()
            break
        _apply_all(system, operations, outcome, report)
        outcome.observed = system.observe(desired, previous)
        if outcome.waiting:
            break
        if outcome.failures and plan(desired, outcome.observed) == operations:
            break
    return outcome


def _without_vain_reload(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """Leave out a reload that is for the generator only.

    The configuration's files may be newer than what was loaded of them, or wrong: then no reload
    makes the generator write what is wanted here, and each keeps the manager from all else.
    """
    if any(isinstance(o, WriteUnitFile | RemoveUnitFile) for o in operations):
        return operations
    return tuple(o for o in operations if not isinstance(o, ReloadManager))


def _apply_all(
    system: System,
    operations: tuple[Operation, ...],
    outcome: Outcome,
    report: Callable[[Operation], None] | None = None,
) -> None:
    """Apply operations in order; note in ``outcome`` which were, and which failed or wait now."""
    outcome.failures, outcome.waiting = [], []
    for operation in operations:
        try:
            system.apply(operation)
        except WaitsError:
            outcome.waiting.append(operation)
            continue
        except OSError as error:
            outcome.failures.append(Failure(operation, str(error)))
            continue
        outcome.applied.append(operation)
        if report:
            report(operation)
