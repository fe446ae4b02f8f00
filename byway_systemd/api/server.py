"""The server: who is let in, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from byway_systemd.api.connection import Answering, Connection
from byway_systemd.api.message import Response, answer_problem
from byway_systemd.api.problem import ProblemError, problem_of
from byway_systemd.api.routes import allowed_methods, find_route
from byway_systemd.api.turnstile import Turnstile
from byway_systemd.core.errors import BywayError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from byway_systemd.api.limits import Limits
    from byway_systemd.api.message import Request
    from byway_systemd.api.peer import Peer
    from byway_systemd.api.service import Service

log = logging.getLogger("byway")

_AT_ONCE = 8  # connections let in before the loop looks at its other sources again


class Server:
    """Serves the routes to whoever connects, within limits."""

    def __init__(
        self, service: Service, identify: Callable[[socket.socket], Peer], limits: Limits
    ) -> None:
        """Nothing is served before ``accept``."""
        self._service = service
        self._identify = identify
        self._limits = limits
        self._turn = Turnstile()
        self._answering = Answering(self._prepare, self._respond)
        self._open: dict[asyncio.Task[None], tuple[Connection, Peer]] = {}

    def accept(self, listener: socket.socket) -> bool:
        """Let in those who wait at ``listener``; who is over a limit is told so.

        Return whether that is possible: without a descriptor left it is not, for now.
        """
        for _ in range(_AT_ONCE):
            try:
                sock, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:
                log.error("cannot accept a connection: %s", error)
                return False
            self._let_in(sock)
        return True

    def _let_in(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003 - its only argument
        try:
            peer = self._identify(sock)
        except OSError:  # it has gone already
            sock.close()
            return
        if self._is_full(peer):
            _turn_away(sock)
            peer.close()
            return
        connection = Connection(sock, peer, self._limits, self._answering, self._turn)
        task = asyncio.get_running_loop().create_task(self._serve(connection, sock, peer))
        self._open[task] = (connection, peer)
        task.add_done_callback(self._open.pop)

    def _is_full(self, peer: Peer) -> bool:
        limits, uids = self._limits, Counter(peer.uid for _, peer in self._open.values())
        if peer.uid == 0:
            return uids.total() >= limits.connections
        if uids[peer.uid] >= limits.connections // 2:
            return True
        return uids.total() - uids[0] >= limits.connections - limits.reserved or (
            uids.total() >= limits.connections
        )

    async def _serve(self, connection: Connection, sock: socket.socket, peer: Peer) -> None:
        try:
            await connection.serve()
        except Exception:
            log.exception("this is a bug in byway")
        finally:
            sock.close()
            peer.close()

    async def _prepare(self, request: Request) -> int:
        if request.method == "OPTIONS" and allowed_methods(request.path):
            return 0
        route = find_route(request)
        if route.writes:
            await self._service.authority.require(request.peer)
        return route.most_body

    async def _respond(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(204, headers={"Allow": allowed_methods(request.path)})
        route = find_route(request)
        try:
            rest = route.rest_of(request.path)
            return await route.handler(self._service, replace(request, rest=rest))
        except (BywayError, OSError) as error:
            raise problem_of(error) from None
        except ProblemError:
            raise
        except Exception:
            log.exception("this is a bug in byway: %s %s", request.method, route.path)
            raise ProblemError(
                500, "this is a bug in byway", "journalctl -u byway says more"
            ) from None

    async def close(self) -> None:
        """End every connection: at once where nothing is being answered, soon elsewhere."""
        for task, (connection, _) in list(self._open.items()):
            if not connection.busy:
                task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=self._limits.stop)
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)


def _turn_away(sock: socket.socket) -> None:
    """Say that there is no room; the socket's own buffer takes that, or nothing does."""
    problem = ProblemError(503, "too many connections", "close some, or try again")
    body = answer_problem(problem).body
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    )
    with suppress(OSError):
        sock.send(head.encode() + body)
    sock.close()
