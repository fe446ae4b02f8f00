"""Wake-ups from the kernel: links, addresses, routes, rules and nftables changed.

Only the types of messages are read: what changed is observed anew, never taken from the event.
"""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from byway_systemd.system.netlink import split_datagram

if TYPE_CHECKING:
    from collections.abc import Iterator

_SO_RCVBUFFORCE = 33
_SOL_NETLINK, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP = 270, 1, 2  # include/uapi/linux/netlink.h
_RECEIVE_BUFFER_BYTES = 8 << 20
_DATAGRAM_BYTES = 1 << 16
_NFTABLES_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES


class EventKind(StrEnum):
    """What an event is about."""

    LINK = "link"
    ADDRESS = "address"
    ROUTE = "route"
    RULE = "rule"
    NFT = "nft"


@dataclass(frozen=True, slots=True)
class EventGroups:
    """A netlink protocol and a mask of its multicast groups (group N is bit N - 1)."""

    protocol: int
    mask: int


# RTNLGRP_{LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE} of
# include/uapi/linux/rtnetlink.h
ROUTING_EVENTS = EventGroups(0, sum(1 << (group - 1) for group in (1, 5, 7, 8, 9, 11, 19)))
NFTABLES_EVENTS = EventGroups(12, 1 << (7 - 1))  # NFNLGRP_NFTABLES

# RTM_NEW*, RTM_DEL* and RTM_GET* of one object share the type divided by four (rtnetlink.h).
_ROUTING_KINDS = {
    4: EventKind.LINK,
    5: EventKind.ADDRESS,
    6: EventKind.ROUTE,
    8: EventKind.RULE,
}


class Drained(NamedTuple):
    """What ``drain`` found: whether events were lost, and the kinds of those that were not."""

    lost: bool
    kinds: frozenset[EventKind]


def open_event_socket(groups: EventGroups) -> socket.socket:
    """Return a non-blocking socket that receives ``groups``. Raise OSError.

    It belongs to the network namespace of the calling thread. Without CAP_NET_ADMIN the receive
    buffer stays at the system's limit, so that events are lost (and reported as lost) earlier.
    """
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    events = socket.socket(socket.AF_NETLINK, kind, groups.protocol)
    try:
        try:
            events.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
        except PermissionError:
            events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        events.bind((0, groups.mask))
    except OSError:
        events.close()
        raise
    return events


@contextmanager
def left(events: socket.socket, groups: EventGroups) -> Iterator[None]:
    """Be out of ``groups`` until the end of the block; what happens meanwhile is not told."""
    numbers = [number for number in range(1, 33) if groups.mask & 1 << (number - 1)]
    for number in numbers:
        events.setsockopt(_SOL_NETLINK, _DROP_MEMBERSHIP, number)
    try:
        yield
    finally:
        for number in numbers:
            events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, number)


def receive_all(events: socket.socket) -> Iterator[bytes | None]:
    """Yield the datagrams that are queued, and None where the kernel dropped some.

    That is ENOBUFS (netlink(7)), after which everything must be observed.
    """
    while True:
        try:
            yield events.recv(_DATAGRAM_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            yield None


def drain(events: socket.socket) -> Drained:
    """Read all that is queued on ``events`` and return what it was about."""
    kinds: set[EventKind] = set()
    lost = False
    for datagram in receive_all(events):
        if datagram is None:
            lost = True
            continue
        kinds.update(kind for reply in split_datagram(datagram) if (kind := _kind(reply.type)))
    return Drained(lost, frozenset(kinds))


def _kind(message_type: int) -> EventKind | None:
    """Return what a message of this type is about."""
    if message_type >> 8 == _NFTABLES_SUBSYSTEM:
        return EventKind.NFT
    return _ROUTING_KINDS.get(message_type >> 2)
