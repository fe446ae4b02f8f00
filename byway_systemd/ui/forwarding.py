"""Passing requests on to byway's socket: the daemon sees the person's own uid, and decides."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h11

from byway_systemd.ui.message import RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from byway_systemd.ui.message import Request

EVENT_TYPE = "text/event-stream"
_CHUNK = 64 * 1024
_EXACT = ("/state", "/bypass", "/events", "/openapi.json")
_BELOW = ("/api/", "/bypass/")
# What else a browser sends is its own affair, the cookie above all.
_TO_DAEMON = ("accept", "content-type", "if-match", "if-none-match")
_TO_BROWSER = ("allow", "content-length", "content-type", "etag", "retry-after")
_GONE = "see systemctl status byway, journalctl -u byway"


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The daemon's answer: its body comes in ``parts``, for ever when it is ``endless``."""

    status: int
    headers: dict[str, str]
    parts: AsyncIterator[bytes]
    endless: bool


def is_api(path: str) -> bool:
    """Return whether ``path`` is the daemon's to answer."""
    return path in _EXACT or path.startswith(_BELOW)


@asynccontextmanager
async def forward(socket: Path, request: Request, patience: float) -> AsyncIterator[Forwarded]:
    """Ask the daemon; its answer is good until the end of the block.

    Raises RefusedError with 502 when it does not answer, with 504 when not within ``patience``
    seconds: it sends neither itself, so the page knows.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError as error:
        raise RefusedError(
            502, f"byway does not run: {error.strerror}", "start it: systemctl start byway"
        ) from None
    try:
        exchange = _Exchange(reader, writer)
        async with asyncio.timeout(patience):
            await exchange.ask(request)
            head = await exchange.read_head()
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        kept = {name: value for name, value in headers.items() if name in _TO_BROWSER}
        endless = headers.get("content-type") == EVENT_TYPE
        parts = exchange.read_parts(None if endless else patience)
        yield Forwarded(head.status_code, kept, parts, endless)
    except TimeoutError:
        raise RefusedError(504, "byway does not answer in time", _GONE) from None
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class _Exchange:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    async def ask(self, request: Request) -> None:
        headers = [(name, request.headers[name]) for name in _TO_DAEMON if name in request.headers]
        headers += [("host", "localhost"), ("connection", "close")]
        headers += [("content-length", str(len(request.body)))]
        sent = self._http.send(
            h11.Request(method=request.method, target=request.target, headers=headers)
        )
        self._writer.write(sent or b"")
        self._writer.write(self._http.send(h11.Data(data=request.body)) or b"")
        self._writer.write(self._http.send(h11.EndOfMessage()) or b"")
        with suppress(OSError):  # it may have answered all the same
            await self._writer.drain()

    async def read_head(self) -> h11.Response:
        while not isinstance(event := await self._next_event(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise RefusedError(502, "byway has ended the connection", _GONE)
        return event

    async def read_parts(self, patience: float | None) -> AsyncIterator[bytes]:
        """Yield the body; one that stops short just ends, as nobody could be told any more."""
        with suppress(RefusedError):
            while True:
                async with asyncio.timeout(patience):
                    event = await self._next_event()
                if not isinstance(event, h11.Data):
                    return
                yield bytes(event.data)

    async def _next_event(self) -> object:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_CHUNK))
        except (h11.RemoteProtocolError, OSError):
            raise RefusedError(502, "byway has ended the connection", _GONE) from None
        return event
