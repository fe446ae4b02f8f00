"""What takes long is done beside the loop: nothing waits for it that need not."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from byway_systemd.core.operations import AddRoute, AddRule, PlaceProcess, StartUnit, takes_long
from byway_systemd.reconcile import Failure, WaitsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.operations import Operation
    from byway_systemd.reconcile import System

log = logging.getLogger("byway")

# What stands without the table, and is put back while that is written.
_INDEPENDENT = (AddRoute, AddRule, PlaceProcess, StartUnit)


class Background:
    """A system that applies what takes long in a thread, one operation at a time.

    ``finished`` is called in the loop, with the operation and why it failed, if it did. It should
    reconcile: what comes behind the operation has waited for it.
    """

    def __init__(
        self, system: System, finished: Callable[[Operation, Failure | None], None]
    ) -> None:
        """Nothing is under way."""
        self._system = system
        self._finished = finished
        self._failure: Failure | None = None
        self._held: set[Operation] = set()
        self._holds = False  # what is applied now stands in one plan with what is under way
        self._task: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an operation is under way."""
        return self._task is not None

    def observe(self, desired: Desired, previous: Observed | None = None) -> Observed:
        """Return the world as it is."""
        self._holds = False
        return self._system.observe(desired, previous)

    def apply(self, operation: Operation) -> None:
        """Make a change. Raise OSError, and WaitsError when it cannot be made now.

        While an operation is under way, only what somebody has undone since is put back.
        """
        if self.is_busy:
            if self._holds and isinstance(operation, _INDEPENDENT):
                self._held.add(operation)
            if not isinstance(operation, _INDEPENDENT) or operation in self._held:
                raise WaitsError
        elif takes_long(operation):
            if self._failure and operation == self._failure.operation:
                raise OSError(self._failure.reason)
            self._start(operation)
            raise WaitsError
        self._system.apply(operation)

    async def wait(self) -> None:
        """Wait until nothing is under way."""
        while self._task is not None:
            await asyncio.wait((self._task,))

    def _start(self, operation: Operation) -> None:
        self._held.clear()
        self._holds = True
        # It begins once the loop has done what it is at: a thread would slow that down.
        self._task = asyncio.get_running_loop().create_task(self._work(operation))

    async def _work(self, operation: Operation) -> None:
        try:
            await asyncio.to_thread(self._system.apply, operation)
        except OSError as error:
            self._failure = Failure(operation, str(error))
        except Exception as error:
            log.exception("this is a bug in byway")
            self._failure = Failure(operation, repr(error))
        self._task = None
        # What has failed is not tried again right away.
        try:
            self._finished(operation, self._failure)
        finally:
            self._failure = None
