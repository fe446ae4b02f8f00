"""The page's server: lets connections in, ends when nobody needs it, or when it is told to."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from byway_systemd.ui.admission import ADDRESS, Admission
from byway_systemd.ui.connection import Connection, GoneError
from byway_systemd.ui.forwarding import forward, is_api
from byway_systemd.ui.message import READS, Limits, RefusedError
from byway_systemd.ui.peer import owner_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from byway_systemd.ui.message import Answer, Request

_ENDS = (ConnectionError, GoneError, OSError, TimeoutError)


class PageServer:
    """Serves one person's browser; ``idle`` seconds without any request end it."""

    def __init__(
        self, daemon: Path, page: Mapping[str, Answer], idle: float, limits: Limits | None = None
    ) -> None:
        """Pass what is not of the ``page`` on to the daemon's socket."""
        self._daemon = daemon
        self._page = page
        self._idle = idle
        self._limits = limits or Limits()
        self._admission = Admission(0)
        self._open: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._last = time.monotonic()
        self._stop = asyncio.Event()

    async def run(self, port: int, announce: Callable[[str], None]) -> None:
        """Serve until a signal or idleness ends it; raise OSError when the port is taken.

        ``announce`` is given the URL, once it can be opened.
        """
        server = await asyncio.start_server(self._let_in, ADDRESS, port, limit=2**16)
        self._admission = Admission(server.sockets[0].getsockname()[1])
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        announce(self._admission.url)
        self._last = time.monotonic()
        while not self._stop.is_set() and (left := self._time_left()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._stop.wait()
        server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _time_left(self) -> float:
        return self._idle if self._busy else self._last + self._idle - time.monotonic()

    def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, self._limits)
        try:
            self._require_own_user(writer)
            if len(self._open) > self._limits.connections:
                raise RefusedError(503, "too many connections", "close some, or try again")
            while await self._serve_one(connection):
                pass
        except RefusedError as refused:
            with suppress(*_ENDS):
                await connection.send(refused.answer)
        except _ENDS:
            return
        finally:
            writer.close()
            try:
                async with asyncio.timeout(self._limits.linger):
                    await writer.wait_closed()
            except _ENDS:  # it does not read what is left
                writer.transport.abort()

    def _require_own_user(self, writer: asyncio.StreamWriter) -> None:
        """Raise RefusedError when the client is another user's: what it asks would be ours."""
        client, server = (writer.get_extra_info(name) for name in ("peername", "sockname"))
        if not client or owner_of(client, server) not in (os.getuid(), 0):
            raise RefusedError(403, "this page is another user's", "open one by byway ui")

    async def _serve_one(self, connection: Connection) -> bool:
        """Answer one request; return whether there may be another one."""
        request = None
        try:
            request = await connection.next_request()
            if request is None:
                return False
            self._busy += 1
            try:
                await self._answer(connection, request)
            finally:
                self._busy -= 1
                self._last = time.monotonic()
        except RefusedError as refused:
            if not connection.can_answer:
                return False
            is_read = request is not None and request.is_to_be_read
            await connection.send(refused.text if is_read else refused.answer)
        return True

    async def _answer(self, connection: Connection, request: Request) -> None:
        head_only = request.method == "HEAD"
        if (answer := self._admission.admit(request)) is not None:
            await connection.send(answer, head_only=head_only)
        elif is_api(request.path):
            async with forward(self._daemon, request, self._limits.answer) as forwarded:
                await connection.send_parts(
                    forwarded.status,
                    forwarded.headers,
                    forwarded.parts,
                    endless=forwarded.endless and not head_only,
                )
        elif (file := self._page.get(request.path)) and request.method in READS:
            await connection.send(file, head_only=head_only)
        else:
            raise RefusedError(404, f"there is no {request.path}", "see /openapi.json")
