"""Names of hosts through systemd-resolved's varlink interface, kept fresh by a thread of its own.

The thread asks, with a time-out, and writes what it learns below /var/lib/byway; everybody reads it
there, so that nothing waits for DNS and a restart while DNS is down has the last good answers.
https://systemd.io/WRITING_RESOLVER_CLIENTS, ``varlink-io.systemd.Resolve.c``
"""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from byway_systemd.core.hosts import (
    ADDRESS_TYPES,
    UNKNOWN,
    Answer,
    Host,
    join_answers,
    list_addresses,
    parse_record,
    take_answer,
)
from byway_systemd.system.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger("byway")

SOCKET = "/run/systemd/resolve/io.systemd.Resolve"
_STORE = "var/lib/byway/hosts.json"
_PATIENCE = 10.0  # seconds for one question
_LARGEST_REPLY = 1 << 20
_INTERFACE = "io.systemd.Resolve"
_NONE = (f"{_INTERFACE}.NoSuchResourceRecord",)
_NXDOMAIN = 3
_NO_METHOD = ("org.varlink.service.MethodNotFound", "org.varlink.service.MethodNotImplemented")
_INTERNET = 1  # DNS_CLASS_IN


def ask_resolved(name: str, path: str = SOCKET) -> Answer | None:
    """Return the addresses of ``name``; none when it has none, None when nobody could tell."""
    answers: list[Answer] = []
    for kind in ADDRESS_TYPES:
        parameters = {"name": name, "class": _INTERNET, "type": kind}
        reply = _call(path, "ResolveRecord", parameters)
        if reply is None:
            return None
        if reply.get("error") in _NO_METHOD:  # systemd before 257
            return _ask_without_time(name, path)
        if "error" in reply:
            if not _says_none(reply):
                return None
            continue
        found = (base64.b64decode(r["raw"]) for r in reply["parameters"]["rrs"])
        answers += (answer for raw in found if (answer := parse_record(raw)))
    return join_answers(tuple(answers))


def _ask_without_time(name: str, path: str) -> Answer | None:
    reply = _call(path, "ResolveHostname", {"name": name})
    if reply is None or "error" in reply:
        return Answer(()) if reply and _says_none(reply) else None
    packed = (bytes(one["address"]) for one in reply["parameters"]["addresses"])
    families = {4: socket.AF_INET, 16: socket.AF_INET6}
    texts = (socket.inet_ntop(families[len(p)], p) for p in packed if len(p) in families)
    return Answer(tuple(texts), UNKNOWN)


def _says_none(reply: dict[str, Any]) -> bool:
    """Whether an error means that there is no such name or record, and not that nobody knows."""
    rcode = (reply.get("parameters") or {}).get("rcode")
    return reply["error"] in _NONE or rcode == _NXDOMAIN


def _call(path: str, method: str, parameters: dict[str, object]) -> dict[str, Any] | None:
    """Return the reply to a varlink call (a JSON object and a NUL byte), None without one."""
    request = json.dumps({"method": f"{_INTERFACE}.{method}", "parameters": parameters})
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(path)
            connection.sendall(request.encode() + b"\0")
            received = bytearray()
            while not received.endswith(b"\0") and len(received) < _LARGEST_REPLY:
                part = connection.recv(65536)
                if not part:
                    return None
                received += part
        reply = json.loads(received.rstrip(b"\0"))
    except (OSError, ValueError):
        return None
    return reply if isinstance(reply, dict) else None


def read_hosts(root: Path) -> tuple[Host, ...]:
    """Return what is known; nothing when there is no file, or one that is damaged."""
    try:
        found = json.loads((root / _STORE).read_text())
        return tuple(
            Host(str(name), tuple(str(ip_network(prefix)) for prefix in prefixes), float(due))
            for name, (prefixes, due) in found.items()
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return ()


def observe_addresses(root: Path, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return (name, prefix) of the last good answers."""
    return list_addresses(read_hosts(root), names) if names else ()


class Resolver:
    """Keeps the addresses of names fresh; readable (an event source) when some have changed."""

    def __init__(
        self,
        root: Path,
        ask: Callable[[str], Answer | None] = ask_resolved,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is asked before ``want``. ``clock`` is in seconds, and outlives a restart."""
        self._root, self._ask, self._clock = root, ask, clock
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._changed = threading.Condition()
        self._names: tuple[str, ...] = ()
        self._closed = False
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._descriptor

    def drain(self) -> bool:
        """Take note; return whether addresses have changed."""
        with suppress(BlockingIOError):
            return os.eventfd_read(self._descriptor) > 0
        return False

    def want(self, names: tuple[str, ...]) -> None:
        """Keep these names fresh, and no others."""
        with self._changed:
            self._names = names
            self._changed.notify()
        if names and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="resolver", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ask no more; returns when the question that is asked has its answer."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        os.close(self._descriptor)

    def _run(self) -> None:
        while not self._closed:
            with self._changed:
                names = self._names
            due = self.look(names)
            with self._changed:
                if names == self._names and not self._closed:
                    self._changed.wait(max(1.0, due - self._clock()) if names else None)

    def look(self, names: tuple[str, ...]) -> float:
        """Ask for what is due; return when the next name is (in the clock's seconds)."""
        known = {host.name: host for host in read_hosts(self._root)}
        now = self._clock()
        hosts = [known.get(name, Host(name)) for name in names]
        fresh = [h if now < h.due <= now + 7200 else self._refresh(h) for h in hosts]
        if {host.name: host for host in fresh} != known:
            self._store(fresh)
        if list_addresses(tuple(fresh), names) != list_addresses(tuple(known.values()), names):
            os.eventfd_write(self._descriptor, 1)
        return min((host.due for host in fresh), default=now)

    def _refresh(self, host: Host) -> Host:
        try:
            answer = self._ask(host.name)
        except (ValueError, KeyError, TypeError):  # a reply that is none
            answer = None
        if answer is None:
            log.warning("cannot resolve %s: what was known of it stays", host.name)
        return take_answer(host, answer, self._clock())

    def _store(self, hosts: list[Host]) -> None:
        text = json.dumps({host.name: [host.prefixes, host.due] for host in hosts}, indent=1)
        try:
            write_atomically(self._root / _STORE, text + "\n")
        except OSError as error:
            log.warning("cannot keep the addresses of hosts: %s", error)
