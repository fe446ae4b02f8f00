"""The service manager over its private socket, through pystemd (org.freedesktop.systemd1(5)).

The only module that imports pystemd. It speaks bytes and its own exceptions; here they become text
and OSError. The private socket works without a message bus, and before there is one.
"""

from __future__ import annotations

import errno
import signal
import time
from contextlib import suppress
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from pystemd.dbusexc import DBusBaseError, DBusInterruptedError
from pystemd.dbuslib import DBusAddress, apply_signature
from pystemd.systemd1.manager import Manager as ManagerObject
from pystemd.systemd1.unit_signatures import KNOWN_UNIT_SIGNATURES

from byway_systemd.core.apps import refuse_control_characters
from byway_systemd.core.steering import is_below
from byway_systemd.core.users import is_holder_unit
from byway_systemd.system.cgroups import Marker, cgroup_of, write_marker, write_pid
from byway_systemd.system.processes import descendants, start_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Missing from pystemd 0.15.3's table: https://github.com/systemd/pystemd
KNOWN_UNIT_SIGNATURES[b"PIDs"] = b"au"

SYSTEM_SOCKET = b"unix:path=/run/systemd/private"
_DESTINATION = b"org.freedesktop.systemd1"
_PATH = b"/org/freedesktop/systemd1"
_INTERFACE = b"org.freedesktop.systemd1.Manager"
_SERVICE = b"org.freedesktop.systemd1.Service"
_BROKEN = (errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE, errno.ESTALE, errno.EBADF)
_LONGEST_RUN = 60_000_000  # microseconds
_MOVE_PATIENCE = 2.0  # seconds: the manager may be busy with a reload


class Manager:
    """A connection to the system's service manager, made when first needed."""

    def __init__(self, address: bytes = SYSTEM_SOCKET) -> None:
        """Remember where the manager listens."""
        self._address = address
        self._bus: Any = None

    def close(self) -> None:
        """Close the connection."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def reload(self) -> None:
        """Read all unit files again and run the generators; returns when done."""
        self._call(b"Reload", b"", [])

    def reload_user_manager(self, uid: int) -> None:
        """Have PID 1 send SIGHUP, at which it reloads (systemd(1)): it is not waited for."""
        arguments = [f"user@{uid}.service".encode(), b"main", int(signal.SIGHUP)]
        self._call(b"KillUnit", b"ssi", arguments)

    def start(self, unit: str) -> None:
        """Start a unit, and wait until its cgroup or state is there (at most 2 s).

        What is started to do something is waited for until that is done. A holder is refused while
        its user's manager is to be stopped: its Requisite= would take the place of that.
        """
        holds = is_holder_unit(unit)
        self._call(b"StartUnit", b"ss", [unit.encode(), b"fail" if holds else b"replace"])
        started = ("active", "failed", *(() if holds else ("activating",)))
        self._wait(lambda: self.states([unit]).get(unit) in started, f"{unit} did not start")

    def stop(self, unit: str) -> None:
        """Ask for a unit to be stopped."""
        self._call(b"StopUnit", b"ss", [unit.encode(), b"replace"])

    def states(self, units: Iterable[str]) -> dict[str, str]:
        """Return the ActiveState of ``units``: ``active``, ``activating``, ``failed`` ..."""
        names = [unit.encode() for unit in units]
        rows = self._call(b"ListUnitsByNames", b"as", [names])
        return {row[0].decode(): _state(row) for row in rows}

    def states_like(self, *patterns: str) -> dict[str, str]:
        """Return the ActiveState of the units there are; one to be stopped is ``deactivating``."""
        arguments = [[], [pattern.encode() for pattern in patterns]]
        rows = self._call(b"ListUnitsByPatterns", b"asas", arguments)
        return {
            row[0].decode(): "deactivating" if row[8] == b"stop" else _state(row) for row in rows
        }

    def slice_of(self, service: str) -> str:
        """Return the slice a service names now; it may run in another one until it restarts."""
        return self._service_property(service, b"Slice")

    def status_text(self, service: str) -> str:
        """Return what a service told of its state last (STATUS= of sd_notify(3))."""
        return self._service_property(service, b"StatusText")

    def _service_property(self, service: str, name: bytes) -> str:
        path = self._call(b"GetUnit", b"s", [service.encode()])
        read = partial(self._text_property, path, _SERVICE, name)
        text: bytes = self._translate(read, f"{name.decode()} of {service}")
        return text.decode(errors="replace")

    def place(self, pid: int, start: int, name: str, slice_: str, marker: Marker) -> str:
        """Move a process and its descendants into a new scope of ``slice_``; return the scope.

        The scope is made for the process alone, as systemd refuses the whole request when any of
        several processes has died meanwhile; the descendants follow one at a time. Raises
        ProcessLookupError when the process is gone, or is another one now.
        """
        _require(pid, start)
        scope = f"byway-{_unit_part(name)}-{pid}-{start}.scope"
        properties = {
            b"Description": f"{name} by the direct link".encode(),
            b"Slice": slice_.encode(),
            b"PIDs": [pid],
            b"Delegate": True,
            b"CollectMode": b"inactive-or-failed",
        }
        self._start_transient(scope, properties)
        self._wait(
            lambda: f"/{scope}" in cgroup_of(pid) or not cgroup_of(pid),
            f"process {pid} was not moved to {scope}",
        )
        cgroup = cgroup_of(pid)
        _require(pid, start)
        with suppress(OSError):  # the last process may have ended, and the cgroup with it
            write_marker(cgroup, marker)
        self._attach_descendants(pid, scope, cgroup)
        return scope

    def give_back(self, pid: int, start: int, origin: str) -> None:
        """Move a process back to the cgroup it came from, or beside it when that is gone.

        The cgroup is another unit's that is not delegated, so systemd cannot do it: a direct write
        puts the process back exactly where that unit expects it.
        """
        _require(pid, start)
        try:
            write_pid(origin, pid)
        except OSError:
            # Of the system's slices alone: a user's manager may have one of any name below it.
            parts = origin.split("/")[1:]
            slices = tuple(takewhile(lambda part: part.endswith(".slice"), parts))
            properties = {
                b"Description": b"Returned by byway",
                b"Slice": (slices[-1] if slices else "system.slice").encode(),
                b"PIDs": [pid],
                b"CollectMode": b"inactive-or-failed",
            }
            self._start_transient(f"returned-{pid}-{start}.scope", properties)

    def enter(self, pid: int, name: str, slice_: str) -> None:
        """Put a process (byway's own, before it becomes a command) into a scope of ``slice_``."""
        properties = {
            b"Description": f"{name} by the direct link".encode(),
            b"Slice": slice_.encode(),
            b"PIDs": [pid],
            b"CollectMode": b"inactive-or-failed",
        }
        scope = f"byway-run-{_unit_part(name)}-{pid}-{start_time(pid)}.scope"
        self._start_transient(scope, properties)
        self._wait(lambda: f"/{scope}" in cgroup_of(pid), f"{scope} did not start")

    def run(self, unit: str, command: tuple[str, ...], slice_: str, pipes: tuple[int, int]) -> None:
        """Start a service that runs ``command``, with ``pipes`` as its standard input and output.

        It is ended after a minute, and forgotten when it has ended.
        """
        properties = {
            b"Description": unit.encode(),
            b"Slice": slice_.encode(),
            b"Type": b"exec",
            b"ExecStart": [(command[0].encode(), [word.encode() for word in command], False)],
            b"StandardInputFileDescriptor": pipes[0],
            b"StandardOutputFileDescriptor": pipes[1],
            b"StandardError": b"null",
            b"RuntimeMaxUSec": _LONGEST_RUN,
            b"CollectMode": b"inactive-or-failed",
        }
        self._start_transient(unit, properties)

    def _attach_descendants(self, pid: int, scope: str, cgroup: str) -> None:
        for _ in range(8):  # they may fork meanwhile: until none is outside
            outside = [
                child
                for child in descendants(pid)
                if (now := cgroup_of(child)) and not is_below(now, cgroup)
            ]
            if not outside:
                return
            for child in outside:
                with suppress(OSError):
                    arguments = [scope.encode(), b"", [child]]
                    self._call(b"AttachProcessesToUnit", b"ssau", arguments)

    def _start_transient(self, name: str, properties: Mapping[bytes, object]) -> None:
        # D-Bus text may hold newlines, and systemd writes some of it into unit files as it is.
        for value in properties.values():
            if isinstance(value, bytes):
                refuse_control_characters(value.decode())

        def call() -> None:
            manager = ManagerObject(bus=self._connect())
            with suppress(DBusInterruptedError):  # it was asked for; whoever needs it waits for it
                manager.StartTransientUnit(_INTERFACE, name.encode(), b"fail", properties)

        self._translate(call, f"StartTransientUnit {name}")

    def _call(self, method: bytes, signature: bytes, arguments: list[Any]) -> Any:
        def call() -> Any:
            encoded = apply_signature(signature, arguments) if signature else []
            bus = self._connect()
            return bus.call_method(_DESTINATION, _PATH, _INTERFACE, method, encoded).body

        return self._translate(call, f"{method.decode()} {_first(arguments)}".strip())

    def _text_property(self, path: bytes, interface: bytes, name: bytes) -> Any:
        return self._connect().get_property(_DESTINATION, path, interface, name, b"s")

    def _translate(self, call: Any, what: str) -> Any:
        """Run ``call``, once more if the manager was re-executed or a signal came; raise OSError.

        A signal that is handled interrupts a call whose answer is lost then.
        """
        for attempt in (1, 2):
            try:
                return call()
            except DBusBaseError as error:
                # pystemd 0.15.3 loses the number of the one that is an InterruptedError, too.
                number = abs(error.errno or errno.EINTR)
                if number in (*_BROKEN, errno.EINTR) and attempt == 1:
                    self.close()
                    continue
                self.close()
                raise OSError(number, f"systemd refused {what}: {_reason(error)}") from error
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def _connect(self) -> Any:
        if self._bus is None:
            bus = DBusAddress(self._address, peer_to_peer=True)
            bus.open()
            self._bus = bus
        return self._bus

    def _wait(self, arrived: Any, message: str) -> None:
        deadline = time.monotonic() + _MOVE_PATIENCE
        delay = 0.0005
        while not arrived():
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, message)
            time.sleep(delay)
            delay = min(delay * 1.5, 0.02)


def _require(pid: int, start: int) -> None:
    try:
        same = start_time(pid) == start
    except OSError:
        same = False
    if not same:
        raise ProcessLookupError(errno.ESRCH, f"process {pid} has ended")


def _state(row: Any) -> str:
    """Return the state in a row of ListUnits: name, text, load, state, ... job type, job path.

    One to be started is ``activating``.
    """
    return "activating" if row[8] == b"start" else str(row[3].decode())


def _unit_part(name: str) -> str:
    kept = (c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name[:64])
    return "".join(kept) or "app"


def _first(arguments: list[Any]) -> str:
    first = arguments[0] if arguments else b""
    return first.decode() if isinstance(first, bytes) else ""


def _reason(error: DBusBaseError) -> str:
    message = error.args[-1] if error.args else ""
    return message.decode() if isinstance(message, bytes) else str(message)
