"""Events as they happen, as server-sent events (HTML, 9.2)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from byway_systemd.api.message import Response
from byway_systemd.api.problem import ProblemError
from byway_systemd.api.reads import build_state

if TYPE_CHECKING:
    from byway_systemd.api.limits import Limits
    from byway_systemd.api.message import Request
    from byway_systemd.api.peer import Peer
    from byway_systemd.api.service import Service

EVENT_TYPE = "text/event-stream"
_COMMENT = b": byway is here\n\n"


class Subscription:
    """One client's stream: what it has not been sent yet. One that is too far behind ends."""

    def __init__(self, hub: Hub, peer: Peer, limits: Limits, first: bytes) -> None:
        """Begin with ``first``."""
        self.peer = peer
        self._hub = hub
        self._limits = limits
        self._waiting: deque[bytes] = deque([first])
        self._woken = asyncio.Event()
        self._woken.set()
        self._ended = False

    def put(self, event: bytes) -> None:
        """Add an event."""
        if len(self._waiting) >= self._limits.backlog:
            self.end()
        elif not self._ended:
            self._waiting.append(event)
            self._woken.set()

    def end(self) -> None:
        """End after what is waiting."""
        self._ended = True
        self._woken.set()

    async def next(self) -> bytes:
        """Return what there is to send, a comment when nothing happens, nothing at the end."""
        try:
            async with asyncio.timeout(self._limits.keep_alive):
                await self._woken.wait()
        except TimeoutError:
            return _COMMENT
        if not self._ended:
            self._woken.clear()
        parts = b"".join(self._waiting)
        self._waiting.clear()
        return parts

    def close(self) -> None:
        """Nobody reads any more."""
        self._hub.leave(self)


class Hub:
    """Knows who listens, and tells them."""

    def __init__(self, limits: Limits) -> None:
        """Nobody listens yet."""
        self._limits = limits
        self._listening: set[Subscription] = set()
        self._number = 0

    def publish(self, kind: str, value: Any) -> None:
        """Tell everybody who listens: an event's kind, and a JSON value."""
        if self._listening:
            self._number += 1
            event = _render(kind, value, self._number)
            for subscription in tuple(self._listening):
                subscription.put(event)

    def join(self, peer: Peer, state: Any) -> Subscription:
        """Return a new stream that begins with ``state``; raise ProblemError when it is full."""
        uids = Counter(subscription.peer.uid for subscription in self._listening)
        most = self._limits.streams
        if uids.total() >= most or (peer.uid and uids[peer.uid] >= most // 2):
            problem = ProblemError(503, "too many event streams", "close some, or try again")
            problem.headers["Retry-After"] = "5"
            raise problem
        first = _render("state", state, self._number)
        subscription = Subscription(self, peer, self._limits, first)
        self._listening.add(subscription)
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Forget a stream."""
        self._listening.discard(subscription)

    def close(self) -> None:
        """End every stream."""
        for subscription in tuple(self._listening):
            subscription.end()


async def get_events(service: Service, request: Request) -> Response:
    """Stream what happens, from now on."""
    if request.method == "HEAD":
        return Response(200, kind=EVENT_TYPE)
    stream = service.hub.join(
        request.peer, build_state(service.engine, service.changes, service.version)
    )
    return Response(200, kind=EVENT_TYPE, stream=stream)


def _render(kind: str, value: Any, number: int) -> bytes:
    # json.dumps() writes no line breaks, which would end the field.
    text = json.dumps(value, ensure_ascii=False)
    return f"id: {number}\nevent: {kind}\ndata: {text}\n\n".encode(errors="replace")
