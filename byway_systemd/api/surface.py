"""The daemon's side of the API: what costs nothing until somebody connects."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from byway_systemd.api.changes import Changes
from byway_systemd.api.limits import Limits

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from byway_systemd.api.configuration import Configuration
    from byway_systemd.api.peer import Authority, Peer
    from byway_systemd.api.server import Server
    from byway_systemd.api.service import Engine


@dataclass(frozen=True, slots=True)
class Outlet:
    """What the API needs from outside: where clients come in, and who they are."""

    listeners: tuple[socket.socket, ...]
    identify: Callable[[socket.socket], Peer]
    authority: Authority
    configuration: Configuration
    version: str = ""
    limits: Limits = field(default_factory=Limits)


class Surface:
    """Listens, and brings up the server when the first client comes."""

    def __init__(self, outlet: Outlet | None, engine: Engine) -> None:
        """Without an ``outlet`` there is no API."""
        self._outlet = outlet
        self._engine = engine
        self._server: Server | None = None
        self._changes: Changes | None = None

    def start(self) -> None:
        """Listen."""
        if self._outlet:
            self._changes = Changes(self._engine, self._outlet.configuration)
            loop = asyncio.get_running_loop()
            for listener in self._outlet.listeners:
                descriptor = listener.fileno()
                loop.add_reader(descriptor, self._accept, self._outlet, self._changes, listener)

    async def stop(self) -> None:
        """Let nobody in any more, and end all connections within a second."""
        if self._outlet:
            loop = asyncio.get_running_loop()
            for listener in self._outlet.listeners:
                loop.remove_reader(listener.fileno())
        if self._server:
            await self._server.close()
        if self._changes:
            self._changes.abandon()

    def note_loaded(self) -> None:
        """Note that the configuration was loaded."""
        if self._changes:
            self._changes.note_loaded()

    def _accept(self, outlet: Outlet, changes: Changes, listener: socket.socket) -> None:
        if self._server is None:
            self._server = self._make_server(outlet, changes)
        self._server.accept(listener)

    def _make_server(self, outlet: Outlet, changes: Changes) -> Server:
        from byway_systemd.api.server import Server  # noqa: PLC0415 - with h11, 12 ms
        from byway_systemd.api.service import Service  # noqa: PLC0415

        service = Service(
            self._engine, outlet.configuration, changes, outlet.authority, outlet.version
        )
        return Server(service, outlet.identify, outlet.limits)
