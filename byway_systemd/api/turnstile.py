"""Slices of work, so that clients wait and the daemon's own work does not."""

from __future__ import annotations

import asyncio


class Turnstile:
    """Lets one client at a time into the loop.

    Between two of them the loop looks at its other sources, so that the start of a process or a
    change of the network waits for one slice of a client's, however many clients there are.
    """

    def __init__(self) -> None:
        """Nobody is inside."""
        self._lock = asyncio.Lock()

    async def take(self) -> None:
        """Wait for one's turn; what follows, up to the next ``await``, is the slice."""
        async with self._lock:
            await asyncio.sleep(0)
