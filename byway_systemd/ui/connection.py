"""One browser's connection of HTTP/1.1 (RFC 9112): nothing of it is waited for without an end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import h11

from byway_systemd.ui.files import SECURITY
from byway_systemd.ui.message import Answer, RefusedError, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from byway_systemd.ui.message import Limits

_CHUNK = 64 * 1024
# RFC 9110, 5.3: nobody can know which of two is meant.
_ONCE = ("content-length", "transfer-encoding", "host", "origin", "cookie", "if-match")


class GoneError(Exception):
    """The client has gone, or is not waited for any more."""


class Connection:
    """Requests come in by ``next_request``; each is answered by ``send`` or ``send_parts``."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: Limits
    ) -> None:
        """Take over a connection."""
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)

    async def next_request(self) -> Request | None:
        """Return the next request, None when there will be none; raise RefusedError, GoneError."""
        if self._http.our_state is h11.DONE:
            if self._http.their_state is not h11.DONE:
                return None
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:
            return None
        try:
            head = await self._read_head()
            return await self._read_request(head) if head else None
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint if error.error_status_hint in (413, 431) else 400
            raise RefusedError(
                status, f"not HTTP/1.1: {error}", "send it as RFC 9112 has it"
            ) from None

    async def send(self, answer: Answer, *, head_only: bool = False) -> None:
        """Send an answer whole."""
        length = {} if answer.status == 304 else {"Content-Length": str(len(answer.body))}
        await self._send_head(answer.status, {**answer.headers, **length})
        if answer.body and not head_only:
            await self._write(h11.Data(data=answer.body))
        await self._write(h11.EndOfMessage())
        if self._http.their_state not in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED):
            await self._linger()

    async def send_parts(
        self, status: int, headers: Mapping[str, str], parts: AsyncIterator[bytes], *, endless: bool
    ) -> None:
        """Send an answer as its parts come; one that is ``endless`` ends when the client goes."""
        await self._send_head(status, headers, close=endless)
        gone = asyncio.ensure_future(self._reader.read(1)) if endless else None
        try:
            while part := await _next_part(parts, gone):
                await self._write(h11.Data(data=part))
        finally:
            if gone:
                gone.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await gone
        await self._write(h11.EndOfMessage())

    @property
    def can_answer(self) -> bool:
        """Whether no answer has begun yet."""
        return self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE)

    async def _read_head(self) -> h11.Request | None:
        """Return the next head: patient before its first byte, and not after it."""
        if not self._http.trailing_data[0]:
            async with asyncio.timeout(self._limits.between):
                await self._receive()
        try:
            async with asyncio.timeout(self._limits.head):
                event = await self._next_event()
        except TimeoutError:
            raise RefusedError(408, "the head did not come in time", "send it faster") from None
        return event if isinstance(event, h11.Request) else None

    async def _read_request(self, head: h11.Request) -> Request:
        names = [name.decode("ascii") for name, _ in head.headers]
        if twice := next((name for name in _ONCE if names.count(name) > 1), ""):
            raise RefusedError(400, f"more than one {twice}", "send one")
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        try:
            target = head.target.decode("ascii")
        except UnicodeDecodeError:
            raise RefusedError(400, "the target is not ASCII", "percent-encode it") from None
        return Request(head.method.decode("ascii"), target, headers, await self._read_body(headers))

    async def _read_body(self, headers: Mapping[str, str]) -> bytes:
        most = self._limits.body_bytes
        declared = headers.get("content-length", "0")
        body = bytearray()
        too_large = RefusedError(413, f"the body is larger than {most} bytes", "send less")
        if len(declared) > 9 or int(declared) > most:
            raise too_large
        try:
            async with asyncio.timeout(self._limits.body):
                while isinstance(event := await self._next_event(), h11.Data):
                    body += event.data
                    if len(body) > most:
                        raise too_large
        except TimeoutError:
            raise RefusedError(408, "the body did not come in time", "send it faster") from None
        if not isinstance(event, h11.EndOfMessage):
            raise GoneError
        return bytes(body)

    async def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value] # NEED_DATA is excluded above
            if self._http.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            await self._receive()

    async def _receive(self) -> None:
        self._http.receive_data(await self._reader.read(_CHUNK))

    async def _send_head(
        self, status: int, headers: Mapping[str, str], *, close: bool = False
    ) -> None:
        if not self.can_answer:
            raise GoneError
        sent = {"Cache-Control": "no-store", **SECURITY, **headers}
        unread = self._http.their_state not in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
        if close or unread:
            sent["Connection"] = "close"
        reason = HTTPStatus(status).phrase
        head = h11.Response(status_code=status, headers=list(sent.items()), reason=reason)
        await self._write(head)

    async def _write(self, event: h11.Event) -> None:
        """Send one event; a client that does not read is not waited for."""
        try:
            data = self._http.send(event)
        except h11.LocalProtocolError:
            raise GoneError from None
        if data:
            self._writer.write(data)
            async with asyncio.timeout(self._limits.send):
                await self._writer.drain()

    async def _linger(self) -> None:
        """Let a client that still sends read why it is refused, before the connection is closed."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        left = self._limits.body_bytes
        async with asyncio.timeout(self._limits.linger):
            while left > 0 and (data := await self._reader.read(_CHUNK)):
                left -= len(data)


async def _next_part(parts: AsyncIterator[bytes], gone: asyncio.Future[bytes] | None) -> bytes:
    """Return the next part, nothing at the end; raise GoneError when the client goes first."""
    step = asyncio.ensure_future(anext(parts, b""))
    try:
        await asyncio.wait([step, gone] if gone else [step], return_when=asyncio.FIRST_COMPLETED)
        if not step.done():
            raise GoneError
        return step.result()
    finally:
        if not step.done():
            step.cancel()
            with suppress(asyncio.CancelledError, OSError, RefusedError):
                await step
