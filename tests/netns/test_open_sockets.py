"""Open sockets of running programs that follow to the direct link and back, with real packets."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from byway_systemd.system import open_sockets
from byway_systemd.system.open_sockets import CutOver, cut_over
from netns.running import DIRECT, MASK, App, lead_over, send_on, steer
from netns.world import (
    CLIENT_DIRECT,
    CLIENT_VPN,
    FAMILIES,
    PORT,
    SERVERS,
    World,
    connect,
    exchange,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = pytest.mark.parametrize("version", [4, 6])
_MPTCP = 262


def way_of(answer: str) -> str:
    return answer.partition(" ")[0]


def mark_of(of: socket.socket) -> int:
    return of.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)


def opened(version: int, protocol: int, mark: int = 0) -> socket.socket:
    made = socket.socket(FAMILIES[version], socket.SOCK_STREAM, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    made.connect((SERVERS[version], PORT))
    return made


def read_error(connection: socket.socket) -> int:
    """Return the error of a call that finds the connection reset already."""
    try:
        connection.recv(1)
    except OSError as error:
        return error.errno or 0
    return 0


@BOTH
def test_a_tcp_connection_is_reset_and_made_anew(world: World, version: int) -> None:
    def again(old: socket.socket) -> tuple[int, str, float]:
        began = time.monotonic()
        error = read_error(old)
        with connect(version, "tcp") as new:
            return error, exchange(new), time.monotonic() - began

    def begin() -> socket.socket:
        connection = connect(version, "tcp")
        assert way_of(exchange(connection)) == "vpn"
        return connection

    steer(world)
    app = App(world, begin, again)
    app.place(world.cgroups[0])
    assert lead_over(world, app.child.pid) == CutOver(1, 1, 0)
    error, answer, seconds = app.result()
    assert (error, answer) == (errno.ECONNRESET, f"direct {CLIENT_DIRECT[version]}")
    assert seconds < 1


@pytest.mark.parametrize("protocol", [socket.IPPROTO_TCP, _MPTCP])
@BOTH
def test_a_waiting_call_returns_at_once(world: World, version: int, protocol: int) -> None:
    def wait(connection: socket.socket) -> float:
        began = time.monotonic()
        connection.settimeout(None)
        with suppress(ConnectionResetError, BrokenPipeError):
            assert connection.recv(1) == b""  # what MPTCP gives
        return time.monotonic() - began

    app = App(world, lambda: opened(version, protocol), wait)
    app.go_on()
    time.sleep(0.2)
    assert lead_over(world, app.child.pid) == CutOver(1, 1, 0)
    assert app.child.result() < 1


@pytest.mark.parametrize("refusal", [errno.EBUSY, errno.EOPNOTSUPP])
def test_a_connection_that_cannot_be_reset_is_shut_down(world: World, refusal: int) -> None:
    class Refusing:
        syscall = open_sockets._libc.syscall  # noqa: SLF001

        @staticmethod
        def connect(*_: object) -> int:
            ctypes.set_errno(refusal)
            return -1

    def lead(pid: int) -> CutOver:
        open_sockets._libc = Refusing()  # type: ignore[assignment]  # noqa: SLF001
        return cut_over([pid], DIRECT, MASK, (), reset=True)

    app = App(world, lambda: opened(4, 0), lambda held: (held.recv(1), mark_of(held)))
    assert world.client.run(lambda: lead(app.child.pid)) == CutOver(0, 1, 0)
    assert app.result() == (b"", 0)


@BOTH
def test_a_connection_in_the_making_is_reset(world: World, version: int) -> None:
    silent = {4: "10.2.0.77", 6: "2001:db8:2::77"}[version]  # a neighbour that is not there

    def wait(made: socket.socket) -> float:
        began = time.monotonic()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            made.connect((silent, PORT))
        return time.monotonic() - began

    app = App(world, lambda: socket.socket(FAMILIES[version]), wait)
    app.go_on()
    time.sleep(0.2)
    assert lead_over(world, app.child.pid) == CutOver(1, 1, 0)
    assert app.child.result() < 1


@BOTH
@pytest.mark.parametrize("kind", ["connected", "unconnected", "bound"])
def test_a_udp_socket_goes_on_by_the_direct_link(world: World, version: int, kind: str) -> None:
    def say(on: socket.socket) -> str:
        if kind != "unconnected":
            return exchange(on)
        on.sendto(b"?", (SERVERS[version], PORT))
        return on.recv(2048).decode()

    def begin() -> socket.socket:
        made = socket.socket(FAMILIES[version], socket.SOCK_DGRAM)
        made.settimeout(0.5)
        if kind == "bound":
            made.bind((CLIENT_VPN[version], 0))
        if kind != "unconnected":
            made.connect((SERVERS[version], PORT))
        assert say(made) == f"vpn {CLIENT_VPN[version]}"
        return made

    steer(world)
    app = App(world, begin, lambda on: [say(on) for _ in range(3)])
    assert lead_over(world, app.child.pid) == CutOver(1, 0, 0)
    assert app.result() == [f"direct {CLIENT_DIRECT[version]}"] * 3


@contextmanager
def refused_in_between() -> Iterator[None]:
    """A send in the moment in which the socket has no peer is refused, as the module says."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EDESTADDRREQ:
            raise


@BOTH
def test_a_udp_socket_whose_peer_goes_on_sending(world: World, version: int) -> None:
    address = (SERVERS[version], 7013)

    def begin() -> socket.socket:
        made = socket.socket(FAMILIES[version], socket.SOCK_DGRAM)
        made.settimeout(0.1)
        made.connect(address)
        while True:
            with suppress(ConnectionRefusedError, TimeoutError):  # the server does not run yet
                made.send(b"begin")
                made.recv(9)
                return made

    def read(on: socket.socket) -> None:
        for _ in range(300):
            with suppress(TimeoutError):  # as a program does, it then asks again
                on.recv(9)
            with refused_in_between():
                on.send(b"more")

    steer(world)
    servers = [
        where.start(lambda: send_on(version, address)) for where in (world.vpn, world.direct)
    ]
    app = App(world, begin, read)
    app.go_on()
    time.sleep(0.1)
    assert lead_over(world, app.child.pid) == CutOver(1, 0, 0)
    assert app.child.result() is None
    ways = [server.result() for server in servers]
    assert ways == [{CLIENT_VPN[version]}, {CLIENT_DIRECT[version]}]


def test_an_ipv6_socket_with_an_ipv4_peer(world: World) -> None:
    mapped = (f"::ffff:{SERVERS[4]}", PORT)

    def begin() -> tuple[socket.socket, socket.socket]:
        stream = socket.socket(socket.AF_INET6)
        datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        for made in (stream, datagrams):
            made.settimeout(0.5)
            made.connect(mapped)
            assert way_of(exchange(made)) == "vpn"
        return stream, datagrams

    steer(world)
    app = App(world, begin, lambda held: (read_error(held[0]), exchange(held[1])))
    assert lead_over(world, app.child.pid) == CutOver(2, 1, 0)
    assert app.result() == (errno.ECONNRESET, f"direct {CLIENT_DIRECT[4]}")


@BOTH
@pytest.mark.parametrize("connected", [True, False])
def test_the_way_back(world: World, version: int, connected: bool) -> None:
    def begin() -> tuple[socket.socket, socket.socket]:
        stream = opened(version, 0, DIRECT)
        datagrams = socket.socket(FAMILIES[version], socket.SOCK_DGRAM)
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, DIRECT | 0x41)
        if connected:
            datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, DIRECT)
            datagrams.connect((SERVERS[version], PORT))
            assert way_of(exchange(datagrams)) == "direct"
            datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, DIRECT | 0x41)
        stream.settimeout(0.5)
        datagrams.settimeout(0.5)
        assert way_of(exchange(stream)) == "direct"
        return stream, datagrams

    def again(held: tuple[socket.socket, socket.socket]) -> tuple[int, list[str], int]:
        stream, datagrams = held
        answers = []
        for _ in range(2):
            datagrams.sendto(b"?", (SERVERS[version], PORT))
            answers.append(datagrams.recv(2048).decode())
        return read_error(stream), answers, mark_of(datagrams)

    steer(world)
    app = App(world, begin, again)
    assert lead_over(world, app.child.pid, mark=0) == CutOver(2, 1, 0)
    expected = [f"vpn {CLIENT_VPN[version]}"] * 2
    assert app.result() == (errno.ECONNRESET, expected, 0x41)


@BOTH
def test_a_connection_stays_when_it_is_near_or_not_to_be_reset(world: World, version: int) -> None:
    def go_on(connection: socket.socket) -> tuple[str, int]:
        return way_of(exchange(connection)), mark_of(connection)

    def begin() -> socket.socket:
        connection = connect(version, "tcp")
        exchange(connection)
        return connection

    steer(world)
    app = App(world, begin, go_on)
    assert lead_over(world, app.child.pid, reset=False) == CutOver(0, 0, 0)
    assert app.result() == ("vpn", 0)
    # No table: the near server here is one beyond the VPN link, which byway's own would not allow.
    app = App(world, begin, mark_of)
    length = 32 if version == 4 else 128
    near = [f"{SERVERS[version]}/{length}"]
    assert lead_over(world, app.child.pid, near=near) == CutOver(1, 0, 0)
    assert app.result() == DIRECT


@BOTH
def test_the_machine_itself_stays(world: World, version: int) -> None:
    def begin() -> list[socket.socket]:
        held = []
        for address in ("127.0.0.1" if version == 4 else "::1", CLIENT_VPN[version]):
            with socket.create_server((address, 0), family=FAMILIES[version]) as listener:
                client = socket.create_connection(listener.getsockname()[:2])
                held += [client, listener.accept()[0]]
        return held

    def go_on(held: list[socket.socket]) -> tuple[list[bytes], set[int]]:
        answers = []
        for client, server in (held[:2], held[2:]):
            client.send(b"one")
            answers.append(server.recv(9))
            server.send(b"two")
            answers.append(client.recv(9))
        return answers, {mark_of(one) for one in held}

    steer(world)
    app = App(world, begin, go_on)
    assert lead_over(world, app.child.pid) == CutOver(4, 0, 0)
    assert app.result() == ([b"one", b"two"] * 2, {DIRECT})


@BOTH
def test_a_neighbour_stays(world: World, version: int) -> None:
    neighbour = (f"{CLIENT_DIRECT[version][:-1]}2", 7011)

    def serve() -> str:
        with socket.create_server(neighbour, family=FAMILIES[version]) as listener:
            return listener.accept()[0].recv(9).decode()

    def reach() -> socket.socket:
        for _ in range(50):
            try:
                return socket.create_connection(neighbour)
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise AssertionError("the neighbour does not come up")

    steer(world)
    server = world.direct.start(serve)
    app = App(world, reach, lambda connection: connection.send(b"alive"))
    prefixes = ["10.1.0.0/24", "2001:db8:1::/64"]
    assert lead_over(world, app.child.pid, near=prefixes) == CutOver(1, 0, 0)
    assert (app.result(), server.result()) == (5, "alive")


@BOTH
def test_what_a_listener_accepts_next_has_its_mark(world: World, version: int) -> None:
    def accept(listener: socket.socket) -> tuple[int, bytes]:
        connection = listener.accept()[0]
        connection.settimeout(1)
        line = connection.recv(9)
        connection.send(line.upper())
        return mark_of(connection), line

    def call() -> bytes:
        # The server's own address: to it, the client's main table leads by the VPN.
        address = (CLIENT_DIRECT[version], 7012)
        with socket.create_connection(address, 2, (SERVERS[version], 0)) as caller:
            caller.send(b"hello")
            return caller.recv(9)

    def listen() -> socket.socket:
        return socket.create_server((CLIENT_DIRECT[version], 7012), family=FAMILIES[version])

    steer(world)
    app = App(world, listen, accept)
    assert lead_over(world, app.child.pid) == CutOver(1, 0, 0)
    app.go_on()
    assert world.direct.run(call) == b"HELLO"
    assert app.child.result() == (DIRECT, b"hello")


def test_other_descriptors_processes_and_namespaces(world: World) -> None:
    def begin() -> list[Any]:
        kinds = [(socket.AF_UNIX, 1, 0), (socket.AF_NETLINK, 3, 0), (socket.AF_PACKET, 3, 0)]
        held: list[Any] = [socket.socket(*kind) for kind in kinds]
        held += [os.pipe(), socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)]
        held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x41)
        held.append(socket.socket(type=socket.SOCK_DGRAM))
        if child := os.fork():
            held.append(child)
        else:
            time.sleep(60)
            os._exit(0)
        return held

    def after(held: list[Any]) -> tuple[int, int, float | None]:
        os.kill(held[-1], 9)
        return mark_of(held[4]), mark_of(held[5]), held[5].gettimeout()

    app = App(world, begin, after)
    elsewhere = world.direct.start(lambda: [socket.socket(), time.sleep(60)])
    gone = world.client.start(lambda: None)
    gone.result()
    with open(f"/proc/{app.child.pid}/task/{app.child.pid}/children") as file:  # noqa: PTH123
        (shared,) = (int(pid) for pid in file.read().split())
    pids = (app.child.pid, shared, app.child.pid, elsewhere.pid, gone.pid)
    assert lead_over(world, *pids) == CutOver(2, 0, 0)
    assert lead_over(world, *pids) == CutOver(0, 0, 0)
    elsewhere.stop()
    assert app.result() == (DIRECT | 0x41, DIRECT, None)


def test_many_sockets_of_a_process_that_goes_on_making_them(world: World) -> None:
    def begin() -> ExitStack:
        held = ExitStack()
        for _ in range(500):
            held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        return held

    def churn(_: ExitStack) -> None:
        while True:
            socket.socket(type=socket.SOCK_DGRAM).close()

    def lead() -> tuple[CutOver, list[str], list[str]]:
        before = os.listdir("/proc/self/fd")  # noqa: PTH208
        done = cut_over([app.child.pid], DIRECT, MASK, (), reset=True)
        return done, before, os.listdir("/proc/self/fd")  # noqa: PTH208

    app = App(world, begin, churn)
    app.go_on()
    done, before, after = world.client.run(lead)
    app.child.stop()
    assert done.marked >= 500
    assert (done.reset, done.failed) == (0, 0)
    assert before == after
