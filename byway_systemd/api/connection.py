"""One connection of HTTP/1.1 (RFC 9112): requests in, answers out, nothing without a time-out."""

from __future__ import annotations

import asyncio
import socket
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

import h11

from byway_systemd.api.limits import MOST_BODY
from byway_systemd.api.message import Request, Response, answer_problem, split_target
from byway_systemd.api.problem import ProblemError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from byway_systemd.api.limits import Limits
    from byway_systemd.api.message import Stream
    from byway_systemd.api.peer import Peer
    from byway_systemd.api.turnstile import Turnstile

_CHUNK = 64 * 1024
# RFC 9110, 5.3: a recipient cannot know which of two to believe.
_ONCE = (b"content-length", b"transfer-encoding", b"host", b"content-type", b"if-match")


class ClosedError(Exception):
    """The client has gone, or is not waited for any more."""


class Answering:
    """What a connection needs to answer: ``prepare`` looks at a request before its body is read.

    It returns how many bytes that may have, and raises ProblemError; ``respond`` answers.
    """

    def __init__(
        self,
        prepare: Callable[[Request], Awaitable[int]],
        respond: Callable[[Request], Awaitable[Response]],
    ) -> None:
        self.prepare = prepare
        self.respond = respond


class Connection:
    """A client's connection; ``busy`` while a request of it is being answered."""

    def __init__(
        self, sock: socket.socket, peer: Peer, limits: Limits, answering: Answering, turn: Turnstile
    ) -> None:
        """Take over a connected socket that does not block."""
        self.busy = False
        self._socket = sock
        self._peer = peer
        self._limits = limits
        self._answering = answering
        self._turn = turn
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)

    async def serve(self) -> None:
        """Answer requests until the client or a limit ends it."""
        try:
            while await self._serve_one():
                self._http.start_next_cycle()
        except (ClosedError, OSError, TimeoutError):
            return

    async def _serve_one(self) -> bool:
        """Answer one request; return whether there may be another one."""
        try:
            head = await self._read_head()
            if head is None:
                return False
            self.busy = True
            response = await self._answer(head)
        except h11.RemoteProtocolError as error:
            # 501, h11's hint for a transfer coding it does not know, is a client's mistake here.
            status = error.error_status_hint
            status = status if status in (413, 414, 431) else 400
            response = answer_problem(
                ProblemError(status, f"not HTTP/1.1: {error}", "send a request as RFC 9112 has it")
            )
        except ProblemError as problem:
            response = answer_problem(problem)
        await self._send(response)
        self.busy = False
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _read_head(self) -> h11.Request | None:
        """Return the next request's head, None when there will be none.

        Raises TimeoutError when nothing comes.

        The patience is that for an idle connection until the first byte, and short after it.
        """
        if not self._http.trailing_data[0]:
            async with asyncio.timeout(self._limits.idle):
                await self._receive()
        try:
            async with asyncio.timeout(self._limits.head):
                event = await self._next_event()
        except TimeoutError:
            raise ProblemError(408, "the head did not come in time", "send it faster") from None
        return event if isinstance(event, h11.Request) else None

    async def _answer(self, head: h11.Request) -> Response:
        _refuse_ambiguity(head)
        path, parameters = split_target(head.target)
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        method = head.method.decode("ascii")
        request = Request(method, path, self._peer, parameters, headers)
        most = await self._answering.prepare(request)
        body = await self._read_body(headers, most)
        await self._turn.take()
        return await self._answering.respond(
            Request(method, path, self._peer, parameters, headers, body)
        )

    async def _read_body(self, headers: dict[str, str], most: int) -> bytes:
        declared = headers.get("content-length", "0")
        if len(declared) > 9 or int(declared) > most:
            raise _too_large(most)
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body):
                while not isinstance(event := await self._next_event(), h11.EndOfMessage):
                    if not isinstance(event, h11.Data):
                        raise ClosedError
                    body += event.data
                    if len(body) > most:
                        raise _too_large(most)
        except TimeoutError:
            raise ProblemError(408, "the body did not come in time", "send it faster") from None
        return bytes(body)

    async def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        """Return what the client has sent, in slices that leave the daemon's own work its turn."""
        while True:
            await self._turn.take()
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value] # NEED_DATA is excluded above
            if self._http.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            await self._receive()

    async def _receive(self) -> None:
        self._http.receive_data(await asyncio.get_running_loop().sock_recv(self._socket, _CHUNK))

    async def _send(self, response: Response) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            raise ClosedError
        unread = self._http.their_state not in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
        headers = {
            "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
            "Cache-Control": "no-store",
            "Content-Type": response.kind,
            **response.headers,
        }
        if response.status == 204:
            del headers["Content-Type"]
        if response.stream is None and response.status != 304:
            headers["Content-Length"] = str(len(response.body))
        if unread or response.stream is not None:
            headers["Connection"] = "close"
        await self._write(
            h11.Response(
                status_code=response.status,
                headers=list(headers.items()),
                reason=HTTPStatus(response.status).phrase,
            )
        )
        if response.stream is not None:
            await self._send_stream(response.stream)
        elif response.body:
            await self._write(h11.Data(data=response.body))
        await self._write(h11.EndOfMessage())
        if unread:
            await self._linger()

    async def _send_stream(self, stream: Stream) -> None:
        """Send a stream; the client ends it by closing, or by sending anything at all."""
        loop = asyncio.get_running_loop()
        gone = loop.create_task(loop.sock_recv(self._socket, _CHUNK))
        try:
            while True:
                step = loop.create_task(stream.next())
                await asyncio.wait((step, gone), return_when=asyncio.FIRST_COMPLETED)
                if not step.done():
                    step.cancel()
                    raise ClosedError
                part = step.result()
                if not part or gone.done():
                    return
                await self._write(h11.Data(data=part))
        finally:
            gone.cancel()
            stream.close()
            await asyncio.gather(gone, return_exceptions=True)

    async def _write(self, event: h11.Event) -> None:
        """Send one event; a client that does not read is not waited for."""
        try:
            data = self._http.send(event)
        except h11.LocalProtocolError:
            raise ClosedError from None
        if data:
            async with asyncio.timeout(self._limits.send):
                await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def _linger(self) -> None:
        """Let a client that still sends read why it is refused, before the socket is closed."""
        self._socket.shutdown(socket.SHUT_WR)
        left = MOST_BODY
        async with asyncio.timeout(self._limits.linger):
            while left > 0:
                data = await asyncio.get_running_loop().sock_recv(self._socket, _CHUNK)
                if not data:
                    return
                left -= len(data)


def _refuse_ambiguity(head: h11.Request) -> None:
    """Refuse what another reader might take for another request."""
    if head.http_version not in (b"1.1", b"1.0"):
        version = head.http_version.decode("ascii")
        raise ProblemError(400, f"not HTTP/1.1 but {version}", "use HTTP/1.1", key="version")
    names = [name for name, _ in head.headers]
    twice = [name.decode("ascii") for name in _ONCE if names.count(name) > 1]
    if b"content-length" in names and b"transfer-encoding" in names:
        twice.append("content-length")
    if twice:
        raise ProblemError(400, f"more than one says {twice[0]}", "send one", key=twice[0])


def _too_large(most: int) -> ProblemError:
    return ProblemError(413, f"the body is larger than {most} bytes", "send less", key="body")
