"""The daemon's side of the API: what costs nothing until somebody connects."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from byway_systemd.api.changes import Changes
from byway_systemd.api.events import Hub
from byway_systemd.api.limits import Limits
from byway_systemd.api.reads import build_state

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from byway_systemd.api.configuration import Configuration
    from byway_systemd.api.peer import Authority, Peer
    from byway_systemd.api.server import Server
    from byway_systemd.api.service import Engine, Outside
    from byway_systemd.core.describe import JsonObject


_REST = 1.0  # seconds, when there is no descriptor for another connection


@dataclass(frozen=True, slots=True)
class Outlet:
    """What the API needs from outside: where clients come in, and who they are."""

    listeners: tuple[socket.socket, ...]
    identify: Callable[[socket.socket], Peer]
    authority: Authority
    configuration: Configuration
    outside: Outside
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
        self._hub: Hub | None = None
        self._state: JsonObject = {}
        self._later: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listen."""
        if self._outlet:
            self._changes = Changes(self._engine, self._outlet.configuration, self.publish_state)
            self._hub = Hub(self._outlet.limits)
            for listener in self._outlet.listeners:
                self._listen(self._outlet, self._changes, listener)

    async def stop(self) -> None:
        """Let nobody in any more, and end all connections within a second."""
        if self._later:
            self._later.cancel()
        if self._outlet:
            loop = asyncio.get_running_loop()
            for listener in self._outlet.listeners:
                loop.remove_reader(listener.fileno())
        if self._server and self._hub:
            self.publish_state()
            self._hub.close()
            await self._server.close()
        if self._changes:
            self._changes.abandon()

    def publish(self, kind: str, value: JsonObject) -> None:
        """Tell those who listen what happened."""
        if self._hub:
            self._hub.publish(kind, value)

    def publish_state(self) -> None:
        """Tell those who listen what byway is doing, when that has changed."""
        if self._hub and self._outlet and self._changes:
            state = build_state(self._engine, self._changes, self._outlet.version)
            if _still(state) != _still(self._state):
                before, self._state = self._state, state
                modes = [_modes(one) for one in (before, state)]
                if before and modes[0] != modes[1]:
                    self._hub.publish("mode", modes[1])
                self._hub.publish("state", state)

    def note_loaded(self) -> None:
        """Note that the configuration was loaded."""
        if self._changes:
            self._changes.note_loaded()

    def _accept(self, outlet: Outlet, changes: Changes, listener: socket.socket) -> None:
        if self._server is None:
            self._server = self._make_server(outlet, changes)
        if not self._server.accept(listener):
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener.fileno())
            self._later = loop.call_later(_REST, self._listen, outlet, changes, listener)

    def _listen(self, outlet: Outlet, changes: Changes, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(listener.fileno(), self._accept, outlet, changes, listener)

    def _make_server(self, outlet: Outlet, changes: Changes) -> Server:
        from byway_systemd.api.fresh import Fresh  # noqa: PLC0415
        from byway_systemd.api.server import Server  # noqa: PLC0415 - with h11, 12 ms
        from byway_systemd.api.service import Rendered, Service  # noqa: PLC0415

        hub = self._hub or Hub(outlet.limits)
        service = Service(
            self._engine,
            outlet.configuration,
            changes,
            hub,
            Rendered(),
            Fresh(),
            outlet.outside,
            outlet.authority,
            outlet.version,
        )
        return Server(service, outlet.identify, outlet.limits)


def _still(state: JsonObject) -> JsonObject:
    """Return a state without what changes by itself: the seconds that are left to confirm."""
    return state | {"unconfirmed": state.get("unconfirmed") is not None}


def _modes(state: JsonObject) -> JsonObject:
    """Return the mode that is asked for and the one that is in force."""
    return {name: state["traffic"].get(name) for name in ("mode", "applied_mode")} if state else {}
