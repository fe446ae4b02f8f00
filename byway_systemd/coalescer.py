"""Many triggers, few reactions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Coalescer:
    """Calls ``react`` for a burst of triggers: at once (``leading``), then after a quiet time.

    ``quiet`` is in seconds, and may be changed. It grows up to ``most`` with every call that comes
    less than ``most`` after the one before.
    """

    def __init__(
        self,
        react: Callable[[], None],
        quiet: float,
        *,
        leading: bool = True,
        most: float = 0.0,
    ) -> None:
        self.quiet = quiet
        self._react = react
        self._leading = leading
        self._most = most
        self._rest = quiet
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._again = False

    def trigger(self) -> None:
        """Note that something happened."""
        if self._timer is not None:
            self._again = True
        elif self._leading:
            self._call()
        else:
            self._again = True
            self._wait(self.quiet)

    def cancel(self) -> None:
        """Forget what is pending."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _call(self) -> None:
        self._again = False
        self._react()
        now = asyncio.get_running_loop().time()
        grown = min(self._most, self._rest * 1.5) if now - self._last < self._most else 0.0
        self._rest = max(self.quiet, grown)
        self._last = now
        self._wait(self._rest)

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._again:
            self._call()
