"""The open sockets of a process that is listed, or no longer listed, while it runs.

Each is duplicated out of the process (pidfd_getfd(2)) and changed by ordinary socket calls:

- Its mark is set, which also drops the route it had cached (sock_set_mark() in net/core/sock.c).
- A TCP connection cannot change its address, so it is reset: connect(2) to AF_UNSPEC, which the app
  sees as ECONNRESET (a call that waits returns EPIPE, or the end of the stream with MPTCP). First
  reset, then marked, so that the RST leaves the way the connection went: with the mark it would
  leave by the direct link with the VPN's source, show that network who was talked to, and never
  reach the peer.
- A connected UDP socket is connected again, to the same peer: it gets the right source and, unless
  it was bound to one, another port. Kept, its addresses would be those of the flow it has, and a
  peer that goes on sending makes the kernel track that one anew as soon as it is forgotten.
- Any other goes on with the mark. The flows of both are forgotten, so that the next packet begins
  one that is marked, and gets the right source where the socket is bound to a wrong one.

Why not SOCK_DESTROY of sock_diag(7): it cannot set a mark, it would end UDP sockets and listeners
rather than lead them over, and it needs CONFIG_INET_DIAG_DESTROY and modules. It is gentler in one
way: data that has come but was not read yet is still read, where a reset here throws it away.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from byway_systemd.core.near import NearAddresses
from byway_systemd.system.conntrack import LocalEnd, forget_flows
from byway_systemd.system.processes import network_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PIDFD_GETFD = 438  # on every architecture but alpha
_SO_PEERNAME, _SO_NETNS_COOKIE = 28, 71  # include/uapi/asm-generic/socket.h
_MPTCP = 262  # IPPROTO_MPTCP
_CLOSE, _LISTEN = 7, 10  # TCP_CLOSE, TCP_LISTEN of include/net/tcp_states.h
_DATAGRAMS = frozenset((socket.IPPROTO_UDP, socket.IPPROTO_UDPLITE))
_ECHOES = frozenset((socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6))
_MAPPED = bytes(10) + b"\xff\xff"
_GONE = frozenset((errno.ESRCH, errno.ENOENT, errno.EBADF))
_DISSOLVE = struct.pack("=H14x", socket.AF_UNSPEC)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class CutOver:
    """How many sockets were marked, how many were reset (and marked as well), and what was refused.

    ``failed`` counts sockets, and processes that could not be looked into.
    """

    marked: int
    reset: int
    failed: int


def cut_over(
    pids: Iterable[int], mark: int, mask: int, near: Iterable[str], *, reset: bool
) -> CutOver:
    """Lead the open sockets of ``pids`` over to ``mark`` (0: none) under ``mask``.

    With ``reset``, TCP connections are reset, unless the remote address is near: loopback,
    link-local, multicast, one of the machine's own, or in the prefixes ``near`` (CIDR). Without it,
    far ones are left as they are. Sockets that have the mark already are left alone.

    Looks once: put the processes where new sockets get the mark before. Processes in another
    network namespace are passed over, and what vanishes meanwhile; connections that a listener has
    not accepted yet are nobody's. A UDP socket that cannot be connected again, as there is no route
    with the new mark, stays unconnected and counts as failed.

    Does not wait for the network, with one exception: if the app closes a socket with SO_LINGER in
    the moment it is held here, this end lingers in its stead.

    Needs CAP_SYS_PTRACE (pidfd_getfd), CAP_NET_ADMIN (SO_MARK, conntrack). Raise ValueError for a
    wrong prefix, KernelError when flows cannot be listed or deleted (all sockets are done by then).
    """
    own = network_of(os.getpid())
    work = _Work(mark, mask, NearAddresses(near), reset, own, _own_namespace_cookie())
    for pid in dict.fromkeys(pids):
        work.visit(pid)
    if work.ends:
        forget_flows(work.ends, mark, mask, work.near)
    return CutOver(work.marked, work.dissolved, work.failed)


@dataclass(slots=True)
class _Work:
    """One pass over the processes, and what it has come to."""

    mark: int
    mask: int
    near: NearAddresses
    reset: bool
    own_network: str
    own_cookie: bytes
    marked: int = 0
    dissolved: int = 0
    failed: int = 0
    ends: set[LocalEnd] = field(default_factory=set)
    _seen: set[str] = field(default_factory=set)

    def visit(self, pid: int) -> None:
        """Lead over the sockets of one process."""
        try:
            with _process(pid) as process:
                if network_of(pid) != self.own_network:
                    return
                for number in self._new_sockets(pid):
                    self._visit_socket(process, number)
        except OSError as error:
            self.failed += error.errno not in _GONE

    def _new_sockets(self, pid: int) -> Iterator[int]:
        """Yield the descriptors of sockets not seen yet, in this process or in one before."""
        base = f"/proc/{pid}/fd"
        for name in os.listdir(base):  # noqa: PTH208
            with suppress(FileNotFoundError):
                target = os.readlink(f"{base}/{name}")  # noqa: PTH115
                if target.startswith("socket:") and target not in self._seen:
                    self._seen.add(target)
                    yield int(name)

    def _visit_socket(self, process: int, number: int) -> None:
        try:
            with _duplicate(process, number) as duplicate:
                if duplicate.family in (socket.AF_INET, socket.AF_INET6) and (
                    _namespace_cookie(duplicate) == self.own_cookie
                ):
                    self._lead_over(duplicate)
        except OSError as error:
            # ENOTSOCK: the number is something else's by now.
            self.failed += error.errno not in _GONE and error.errno != errno.ENOTSOCK

    def _lead_over(self, duplicate: socket.socket) -> None:
        old = duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) & 0xFFFFFFFF
        if not (old ^ self.mark) & self.mask:
            return
        if self._is_far_connection(duplicate):
            if not self.reset:
                return
            ended = _dissolve(duplicate)
            self.dissolved += 1
            if not ended:
                return
        end = _local_end(duplicate)
        self._mark(duplicate, old & ~self.mask | self.mark)
        self.marked += 1
        if end:
            self.ends.add(end)

    def _mark(self, duplicate: socket.socket, mark: int) -> None:
        """Set the whole mark; for a connected UDP socket while it has no peer.

        So nothing leaves with the new mark and the old source: a send in between is refused.
        """
        peer = self._far_peer(duplicate)
        if peer:
            _connect(duplicate, _DISSOLVE)
        try:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        finally:
            if peer:
                _connect(duplicate, peer)

    def _far_peer(self, duplicate: socket.socket) -> bytes | None:
        """Return the name of a UDP socket's peer that is not near, None when there is none.

        Nor for a socket bound to a link: __udp_disconnect() would unbind it.
        """
        if duplicate.proto not in _DATAGRAMS or duplicate.getsockopt(
            socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16
        ):
            return None
        name = _peer_name(duplicate)
        return name if name and self._is_far(duplicate, name) else None

    def _is_far_connection(self, duplicate: socket.socket) -> bool:
        """Whether it is a TCP connection, or becomes one, with what is not near."""
        if duplicate.type is not socket.SOCK_STREAM or not _is_connection(duplicate):
            return False
        name = _peer_name(duplicate)
        return name is not None and self._is_far(duplicate, name)

    def _is_far(self, duplicate: socket.socket, peer: bytes) -> bool:
        # The address is at 4 of struct sockaddr_in, at 8 of struct sockaddr_in6.
        remote = peer[4:8] if duplicate.family is socket.AF_INET else _unmap(peer[8:24])
        # The same address at both ends: the machine talks to itself.
        return not self.near.holds(remote) and remote != _pack(duplicate.getsockname()[0])


def _is_connection(duplicate: socket.socket) -> bool:
    if duplicate.proto == _MPTCP:
        return not duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if duplicate.proto != socket.IPPROTO_TCP:
        return False
    # The first byte of struct tcp_info is the state.
    state = duplicate.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state not in (_CLOSE, _LISTEN)


def _peer_name(duplicate: socket.socket) -> bytes | None:
    """Return the socket address it is connected or connecting to, None when it is not.

    SO_PEERNAME, because getpeername(2) hides it until the connection stands.
    """
    # sizeof struct sockaddr_in and sockaddr_in6: asked for more than there is, it refuses.
    size = 16 if duplicate.family is socket.AF_INET else 28
    try:
        return duplicate.getsockopt(socket.SOL_SOCKET, _SO_PEERNAME, size)
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            return None
        raise


def _local_end(duplicate: socket.socket) -> LocalEnd | None:
    """Return the end whose flows the kernel tracks by its port; None when there is none."""
    if duplicate.type is not socket.SOCK_DGRAM or duplicate.proto not in _DATAGRAMS | _ECHOES:
        return None
    address, port = duplicate.getsockname()[:2]
    if not port:
        return None
    packed = _pack(address)
    return LocalEnd(duplicate.proto, port, packed if any(packed) else b"")


def _pack(address: str) -> bytes:
    if ":" not in address:
        return socket.inet_pton(socket.AF_INET, address)
    return _unmap(socket.inet_pton(socket.AF_INET6, address.partition("%")[0]))


def _unmap(packed: bytes) -> bytes:
    return packed.removeprefix(_MAPPED)


def _dissolve(duplicate: socket.socket) -> bool:
    """Reset a connection; return False when it could only be shut down; raise OSError.

    It is shut down where the kernel refuses a reset: EBUSY while a thread waits in it (some kernels
    of 2023, around 6.5), EOPNOTSUPP with TLS in the kernel. Its last packets go the old way, so it
    must not be marked.
    """
    try:
        _connect(duplicate, _DISSOLVE)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EOPNOTSUPP):
            raise
        duplicate.shutdown(socket.SHUT_RDWR)
        return False
    return True


def _connect(duplicate: socket.socket, name: bytes) -> None:
    """connect(2), which Python's socket does not offer for AF_UNSPEC."""
    if _libc.connect(duplicate.fileno(), name, len(name)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def _process(pid: int) -> Iterator[int]:
    """Hold a process, so that its number cannot become another's."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _duplicate(process: int, number: int) -> Iterator[socket.socket]:
    """Duplicate a descriptor out of a process, for a moment.

    Whether calls wait is a property the app's descriptor shares: so no timeout is ever set here.
    """
    descriptor = _libc.syscall(_PIDFD_GETFD, process, number, 0)
    if descriptor < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    try:
        duplicate = socket.socket(fileno=descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    with duplicate:
        yield duplicate


def _namespace_cookie(of: socket.socket) -> bytes:
    """Return what identifies the socket's network namespace, which need not be its process's.

    Linux before 5.14 does not tell: empty.
    """
    try:
        return of.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return b""
        raise


def _own_namespace_cookie() -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        return _namespace_cookie(own)
