"""Requests to the kernel over a raw netlink socket: framing, dumps, acknowledgements, errors.

Read by struct alone, so that the verbs which only read need not import pyroute2; messages that
change something are built with its codecs (``route_messages``, ``nft_codec``). Layout: netlink(7),
and https://docs.kernel.org/userspace-api/netlink/intro.html.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
NETLINK_GENERIC = 16
FLAG_REQUEST = 0x1
FLAG_ACK = 0x4
FLAG_APPEND = 0x800
FLAG_EXCLUSIVE = 0x200
FLAG_REPLACE = 0x100
FLAG_CREATE = 0x400
FLAG_APPEND = 0x800
FLAG_DUMP = 0x300

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_SNDBUFFORCE = 32
_ERROR = 2  # NLMSG_ERROR
_DONE = 3  # NLMSG_DONE
_FLAG_DUMP_INTERRUPTED = 0x10
_FLAG_ACK_TLVS = 0x200
_EXTENDED_ACK_MESSAGE = 1  # NLMSGERR_ATTR_MSG
_ATTRIBUTE_TYPE = 0x3FFF  # NLA_TYPE_MASK: less the nested and byte-order flags
_RECEIVE_BYTES = 1 << 17
_DUMP_ATTEMPTS = 8

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_INT = struct.Struct("=i")


class KernelError(OSError):
    """The kernel refused: ``errno`` and, as text, what was attempted and why not."""

    def __init__(self, number: int, attempt: str, explanation: str = "") -> None:
        """Describe the failure of ``attempt`` (an infinitive, as in ``add route ...``)."""
        # ERESTART has no text of its own: nftables returns it for a stale generation.
        reason = "the ruleset changed meanwhile" if number == errno.ERESTART else ""
        reason = reason or os.strerror(number)
        super().__init__(number, reason)
        self.attempt = attempt
        self.explanation = explanation

    def __str__(self) -> str:
        detail = f" ({self.explanation})" if self.explanation else ""
        return f"cannot {self.attempt}: {self.strerror}{detail}"


class Message(NamedTuple):
    """A request: type, flags, everything after the header, and what it attempts (for errors)."""

    type: int
    flags: int
    payload: bytes
    attempt: str


class Reply(NamedTuple):
    """A message from the kernel; the payload is everything after the 16-byte header."""

    type: int
    flags: int
    sequence: int
    payload: bytes


def parse_attributes(payload: bytes, offset: int = 0) -> dict[int, bytes]:
    """Return the attributes from ``offset`` on by type; the last of a repeated type wins."""
    found: dict[int, bytes] = {}
    end = len(payload) - 3
    unpack = _ATTRIBUTE.unpack_from
    while offset < end:
        length, kind = unpack(payload, offset)
        if length < 4:
            break
        found[kind & _ATTRIBUTE_TYPE] = payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def list_attributes(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes of ``payload`` in order, for lists where a type repeats."""
    offset, end = 0, len(payload) - 3
    while offset < end:
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < 4:
            break
        yield kind & _ATTRIBUTE_TYPE, payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def render_attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute with its header and padding."""
    return _ATTRIBUTE.pack(len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def parse_text(value: bytes) -> str:
    """Return a NUL-terminated attribute as text; bytes that are not UTF-8 stay as surrogates."""
    return value.rstrip(b"\0").decode(errors="surrogateescape")


def render_address(value: bytes) -> str:
    """Return 4 or 16 bytes as the text ``ipaddress`` gives them."""
    if len(value) == 4:
        return socket.inet_ntop(socket.AF_INET, value)
    text = socket.inet_ntop(socket.AF_INET6, value)
    # inet_ntop writes the last 32 bits of ::ffff:0:0/96 and ::/96 with dots; ipaddress does not.
    return str(IPv6Address(value)) if "." in text else text


class NetlinkSocket:
    """One netlink socket, bound in the network namespace of the calling thread."""

    def __init__(self, protocol: int) -> None:
        """Open the socket. Raise OSError when the kernel has no such protocol."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        self._sequence = 0
        for option in (_NETLINK_EXT_ACK, _NETLINK_CAP_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        """Return the socket itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket."""
        self.close()

    def dump(self, kind: int, payload: bytes, attempt: str) -> list[Reply]:
        """Return every object of a dump.

        A dump the kernel marks as interrupted (objects changed in between) is asked for again;
        KernelError EAGAIN if it never completes.
        """
        for _ in range(_DUMP_ATTEMPTS):
            self._send([Message(kind, FLAG_DUMP, payload, attempt)])
            replies: list[Reply] = []
            interrupted = False
            for reply in self._replies():
                interrupted |= bool(reply.flags & _FLAG_DUMP_INTERRUPTED)
                if reply.type == _DONE:
                    _raise_done(reply, attempt)
                    break
                _raise_error(reply, attempt)
                replies.append(reply)
            if not interrupted:
                return replies
        raise KernelError(errno.EAGAIN, attempt, "it kept changing")

    def get(self, message: Message) -> Reply:
        """Return the single answer to ``message``; KernelError when it is an error."""
        self._send([message])
        for reply in self._replies():
            _raise_error(reply, message.attempt)
            return reply
        raise KernelError(errno.EPROTO, message.attempt)

    def request(self, message: Message) -> None:
        """Send ``message`` and wait for its acknowledgement; KernelError when refused."""
        self._send([message._replace(flags=message.flags | FLAG_ACK)])
        for reply in self._replies():
            _raise_error(reply, message.attempt)
            if reply.type == _ERROR:
                return

    def transact(self, messages: Sequence[Message]) -> None:
        """Send ``messages``, a batch's begin and at least one change, as one datagram.

        For nftables batches: all of it or nothing happens, and all acknowledgements are queued
        by the time the send returns. Raise the first KernelError, naming the message it is about.
        """
        begin, change, *others = messages
        # Linux before 6.10 does not acknowledge a batch's begin, so the first change's is asked for
        # as well: https://git.kernel.org/torvalds/c/bf2ac490d28c
        first = self._send([begin, change._replace(flags=change.flags | FLAG_ACK), *others])
        acknowledged = False
        for reply in self._queued():
            index = reply.sequence - first
            if reply.type != _ERROR or not 0 <= index < len(messages):
                continue
            _raise_error(reply, messages[index].attempt)
            acknowledged = True
        if not acknowledged:
            raise KernelError(errno.EPROTO, messages[0].attempt, "no acknowledgement")

    def _send(self, messages: Sequence[Message]) -> int:
        """Send ``messages`` and return the sequence number of the first."""
        self._discard()
        first = self._sequence + 1
        parts: list[bytes] = []
        for message in messages:
            self._sequence += 1
            length = HEADER.size + len(message.payload)
            flags = message.flags | FLAG_REQUEST
            parts.append(HEADER.pack(length, message.type, flags, self._sequence, 0))
            parts.append(message.payload + b"\0" * (-length % 4))
        datagram = b"".join(parts)
        if len(datagram) > 1 << 16:
            # A datagram larger than the send buffer gets EMSGSIZE (netlink_sendmsg).
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, len(datagram) + 4096)
        try:
            self._socket.send(datagram)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, messages[0].attempt) from error
        return first

    def _discard(self) -> None:
        """Throw away what an earlier request left behind when it raised half-way."""
        for _ in self._queued():
            pass

    def _replies(self) -> Iterator[Reply]:
        """Yield messages as they arrive."""
        while True:
            yield from split_datagram(self._socket.recv(_RECEIVE_BYTES))

    def _queued(self) -> Iterator[Reply]:
        """Yield the messages that have arrived already."""
        while True:
            try:
                datagram = self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield from split_datagram(datagram)


def split_datagram(datagram: bytes) -> Iterator[Reply]:
    """Yield the messages of a datagram."""
    offset, end = 0, len(datagram) - HEADER.size
    while offset <= end:
        length, kind, flags, sequence, _port = HEADER.unpack_from(datagram, offset)
        if length < HEADER.size:
            return
        yield Reply(kind, flags, sequence, datagram[offset + HEADER.size : offset + length])
        offset += (length + 3) & ~3


def _raise_error(reply: Reply, attempt: str) -> None:
    """Raise what an NLMSG_ERROR says, if it says anything."""
    if reply.type != _ERROR:
        return
    (negative,) = _INT.unpack_from(reply.payload)
    if not negative:
        return
    explanation = ""
    if reply.flags & _FLAG_ACK_TLVS:
        # struct nlmsgerr: the error, then the header of the request (NETLINK_CAP_ACK), then TLVs
        tlvs = parse_attributes(reply.payload, _INT.size + HEADER.size)
        explanation = parse_text(tlvs.get(_EXTENDED_ACK_MESSAGE, b""))
    raise KernelError(-negative, attempt, explanation)


def _raise_done(reply: Reply, attempt: str) -> None:
    """Raise the error a dump ended with, if it did."""
    if len(reply.payload) >= _INT.size:
        (negative,) = _INT.unpack_from(reply.payload)
        if negative < 0:
            raise KernelError(-negative, attempt)
