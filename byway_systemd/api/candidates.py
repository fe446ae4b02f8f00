"""What a traffic section could list, as it runs now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from byway_systemd.api.message import Response, encode
from byway_systemd.core.candidates import build_candidates

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.api.message import Request
    from byway_systemd.api.service import Engine, Service
    from byway_systemd.core.candidates import RunningUnit, RunningUser

    Running = tuple[tuple[RunningUnit, ...], tuple[RunningUser, ...]]

_FRESH = 1.0  # seconds that an answer is good for


class Candidates:
    """Looks for units and users that run, which takes its time: in a thread, for all who ask."""

    def __init__(self, observe: Callable[[], Running]) -> None:
        """Nobody has asked."""
        self._observe = observe
        self._lock = asyncio.Lock()
        self._kept = b""
        self._until = 0.0

    async def get(self, engine: Engine) -> bytes:
        """Return the candidates as JSON, at most a second old; raise OSError."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            if loop.time() >= self._until:
                units, users = await asyncio.to_thread(self._observe)
                self._kept = encode(build_candidates(engine.view.observed, units, users))
                self._until = loop.time() + _FRESH
            return self._kept


async def get_candidates(service: Service, _request: Request) -> Response:
    """Return subnets, units, users and links that a traffic section could name."""
    return Response(200, await service.candidates.get(service.engine))
