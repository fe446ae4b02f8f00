"""A small world to send packets through: a client, and two ways out of it.

The client's link ``direct0`` leads to the namespace ``direct`` and ``vpn0`` to ``vpn``. Both hold
the same server addresses and answer with their own name and the source they saw, so that an
answer tells which way a packet took. ``main`` leads to ``vpn``; table 11590 leads to ``direct``.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = 11590
PORT = 7007
SERVERS = {4: "198.51.100.1", 6: "2001:db8:99::1"}
CLIENT_DIRECT = {4: "10.1.0.1", 6: "2001:db8:1::1"}
CLIENT_VPN = {4: "10.2.0.1", 6: "2001:db8:2::1"}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def ip(*words: object) -> None:
    """Run iproute2 with these words; what it prints to standard error fails the test."""
    command = ["ip", *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def find_cgroup2() -> Path:
    """Return where cgroup2 is mounted: the place differs between hosts."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _source, target, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(target)
    raise LookupError("no cgroup2 file system is mounted")


@dataclass(frozen=True)
class Namespace:
    """A network namespace made with ``ip netns``."""

    name: str

    def start(self, function: Callable[[], Any], cgroup: Path | None = None) -> Child:
        """Run ``function`` in a forked child inside the namespace (and cgroup)."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writer)
            return Child(pid, reader)
        outcome: tuple[bool, Any]
        try:
            os.close(reader)
            if cgroup is not None:
                (cgroup / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
            self._enter()
            outcome = True, function()
        except BaseException as error:
            outcome = False, error
        try:
            os.write(writer, pickle.dumps(outcome))
        finally:
            os._exit(0)

    def run(self, function: Callable[[], Any], cgroup: Path | None = None) -> Any:
        """Return what ``function`` returns in a child as above, or raise what it raises."""
        return self.start(function, cgroup).result()

    def _enter(self) -> None:
        with Path("/run/netns", self.name).open("rb") as namespace:
            if _LIBC.setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {self.name}")


@dataclass(frozen=True)
class Child:
    """A child that runs a function."""

    pid: int
    pipe: int

    def result(self) -> Any:
        """Wait for the function; return its value or raise its exception."""
        parts = []
        while part := os.read(self.pipe, 1 << 16):
            parts.append(part)
        os.close(self.pipe)
        os.waitpid(self.pid, 0)
        succeeded, value = pickle.loads(b"".join(parts))  # noqa: S301 (our own child wrote it)
        if not succeeded:
            raise value
        return value

    def stop(self) -> None:
        """Kill the child."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pipe)


@dataclass(frozen=True)
class World:
    """The three namespaces, the client's link indexes, and a cgroup four levels deep."""

    client: Namespace
    direct: Namespace
    vpn: Namespace
    direct_index: int
    vpn_index: int
    cgroups: tuple[Path, ...]

    def ids(self) -> tuple[str, ...]:
        """Return the ids of the cgroups from level 1 on."""
        return tuple(str(path.stat().st_ino) for path in self.cgroups)


def answer(name: str) -> None:
    """Serve for ever: answer each UDP datagram and each TCP line with NAME and the peer."""
    sockets = [
        _bound(version, kind)
        for version in FAMILIES
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
    ]
    while True:
        for ready in select.select(sockets, [], [])[0]:
            if ready.type is socket.SOCK_DGRAM:
                _, peer = ready.recvfrom(2048)
                ready.sendto(f"{name} {peer[0]}".encode(), peer)
            elif ready.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                sockets.append(ready.accept()[0])
            elif not _answer_line(name, ready):
                sockets.remove(ready)
                ready.close()


def _answer_line(name: str, connection: socket.socket) -> bool:
    """Answer a line; return False when the connection has ended or was reset."""
    try:
        if not connection.recv(2048):
            return False
        connection.send(f"{name} {connection.getpeername()[0]}".encode())
    except (ConnectionResetError, BrokenPipeError):
        return False
    return True


def _bound(version: int, kind: int) -> socket.socket:
    server = socket.socket(FAMILIES[version], kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Not any address: an unconnected UDP socket would answer from that of its own link.
    server.bind((SERVERS[version], PORT))
    if kind == socket.SOCK_STREAM:
        server.listen()
    return server


def ask(version: int, kind: str = "udp", *, source: str = "", mark: int = 0) -> str:
    """Send a line to the server and return its answer; empty when none comes in 0.3 s."""
    with connect(version, kind, source=source, mark=mark) as connection:
        return exchange(connection)


def connect(version: int, kind: str, *, source: str = "", mark: int = 0) -> socket.socket:
    """Return a socket connected to the server (for UDP: which only sends to it)."""
    types = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
    connection = socket.socket(FAMILIES[version], types[kind])
    connection.settimeout(0.3)
    if mark:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    if source:
        connection.bind((source, 0))
    try:
        connection.connect((SERVERS[version], PORT))
    except TimeoutError:
        pass
    except OSError:
        connection.close()
        raise
    return connection


def exchange(connection: socket.socket) -> str:
    """Send a line and return the answer, or nothing."""
    try:
        connection.send(b"?")
        return connection.recv(2048).decode()
    except (TimeoutError, PermissionError, BrokenPipeError):
        return ""


def wait_for_server(namespace: Namespace, version: int) -> None:
    """Return once the server answers."""
    deadline = time.monotonic() + 5

    def is_there() -> bool:
        try:
            return bool(ask(version))
        except ConnectionRefusedError:  # it is not bound yet
            return False

    while not namespace.run(is_there):
        assert time.monotonic() < deadline, "the server does not answer"
