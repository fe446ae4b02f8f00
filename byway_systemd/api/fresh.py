"""Answers that take their time: looked for in a thread, once for all who ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_FRESH = 1.0  # seconds that an answer is good for


class Fresh:
    """What was looked for last, by name, for as long as it is good."""

    def __init__(self) -> None:
        """Nobody has asked."""
        self._locks: dict[str, asyncio.Lock] = {}
        self._kept: dict[str, tuple[float, object]] = {}

    async def get(self, name: str, look: Callable[[], T], seconds: float = _FRESH) -> T:
        """Return what ``look`` returns, or returned at most so many seconds ago; raise OSError."""
        loop = asyncio.get_running_loop()
        async with self._locks.setdefault(name, asyncio.Lock()):
            until, kept = self._kept.get(name, (0.0, None))
            if loop.time() >= until:
                kept = await asyncio.to_thread(look)
                self._kept[name] = (loop.time() + seconds, kept)
            return kept  # type: ignore[return-value]  # a name stands for one kind of answer
