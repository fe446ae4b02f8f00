"""Flows the kernel tracks: forget those of sockets that leave by another way now (ctnetlink).

A flow's source was rewritten, or not, when its first packet left; forgotten, the next packet begins
a new flow, which the rules mark and masquerade anew. Layout: struct nfgenmsg and the attributes of
include/uapi/linux/netfilter/nfnetlink_conntrack.h. Read by struct: pyroute2's NFCTSocket takes ten
times as long for a dump, and its filters ask for equality where this asks for a difference.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, NamedTuple

from byway_systemd.system.netlink import (
    NETLINK_NETFILTER,
    KernelError,
    Message,
    NetlinkSocket,
    parse_attributes,
    render_attribute,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from byway_systemd.core.near import NearAddresses

_GET, _DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
_ORIGINAL, _MARK, _ID, _ZONE = 1, 8, 12, 18  # CTA_*
_NESTED = 0x8000
_ADDRESSES, _PROTOCOL = 1, 2  # CTA_TUPLE_*
_SOURCES, _DESTINATIONS = (1, 3), (2, 4)  # CTA_IP_V4_*, CTA_IP_V6_*
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3  # CTA_PROTO_*
_ECHO_IDS = (4, 7)  # CTA_PROTO_ICMP_ID, CTA_PROTO_ICMPV6_ID
_FAMILY = struct.Struct("=BBH")  # struct nfgenmsg
_PORT = struct.Struct("!H")
_WORD = struct.Struct("!I")


class LocalEnd(NamedTuple):
    """A socket's own end: protocol number, port (for ICMP the echo's id), packed address.

    The address is empty for a socket bound to any.
    """

    protocol: int
    port: int
    address: bytes = b""


class _Tuple(NamedTuple):
    """The addresses and ports of a flow's first packet."""

    protocol: int
    source: bytes
    source_port: int
    destination: bytes
    destination_port: int


def forget_flows(ends: Iterable[LocalEnd], mark: int, mask: int, near: NearAddresses) -> int:
    """Forget the flows of ``ends`` whose masked mark is not ``mark``; return how many.

    Flows with what is near stay, whichever side began; so do those somebody else forgot meanwhile.
    Raise KernelError when the kernel cannot list or delete flows.
    """
    wanted = frozenset(ends)
    attempt = "list the tracked flows"
    count = 0
    with NetlinkSocket(NETLINK_NETFILTER) as netlink:
        replies = netlink.dump(_GET, _FAMILY.pack(0, 0, 0), attempt)
        for payload in _select((reply.payload for reply in replies), wanted, mark, mask, near):
            try:
                netlink.request(Message(_DELETE, 0, payload, "forget a tracked flow"))
                count += 1
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
    return count


def list_destinations(ports: Iterable[tuple[int, int]]) -> list[tuple[bytes, int]]:
    """Return where flows go that began here at one of ``ports`` (protocol number, port).

    Raise KernelError when the kernel cannot list flows.
    """
    wanted = frozenset(ports)
    if not wanted:
        return []
    with NetlinkSocket(NETLINK_NETFILTER) as netlink:
        replies = netlink.dump(_GET, _FAMILY.pack(0, 0, 0), "list the tracked flows")
    originals = (
        _parse_tuple(parse_attributes(reply.payload, _FAMILY.size)[_ORIGINAL]) for reply in replies
    )
    return [
        (original.destination, original.destination_port)
        for original in originals
        if original and (original.protocol, original.source_port) in wanted
    ]


def _select(
    payloads: Iterable[bytes],
    wanted: frozenset[LocalEnd],
    mark: int,
    mask: int,
    near: NearAddresses,
) -> Iterator[bytes]:
    """Yield what names each flow to forget to the kernel."""
    for payload in payloads:
        attributes = parse_attributes(payload, _FAMILY.size)
        # Absent is 0.
        if not (_WORD.unpack(attributes.get(_MARK, bytes(4)))[0] ^ mark) & mask:
            continue
        original = _parse_tuple(attributes[_ORIGINAL])
        if original is None:
            continue
        remote = _find_remote(original, wanted)
        if remote is None or near.holds(remote):
            continue
        # The id, so that a new flow with the same addresses and ports is not taken for the old one.
        yield payload[: _FAMILY.size] + b"".join(
            render_attribute(kind | (_NESTED if kind == _ORIGINAL else 0), attributes[kind])
            for kind in (_ORIGINAL, _ID, _ZONE)
            if kind in attributes
        )


def _find_remote(original: _Tuple, wanted: frozenset[LocalEnd]) -> bytes | None:
    """Return the other side's address when one of ``wanted`` is an end of the flow.

    Either end: a peer that goes on sending may be the first to be seen again, and what the socket
    sends then would count as answers to it, which are never rewritten.
    """
    protocol, source, source_port, destination, destination_port = original
    if (protocol, source_port, source) in wanted or (protocol, source_port, b"") in wanted:
        return destination
    if (protocol, destination_port, destination) in wanted:
        return source
    if (protocol, destination_port, b"") in wanted:
        return source
    return None


def _parse_tuple(value: bytes) -> _Tuple | None:
    """Return the parts; None for a protocol without ports or echo ids."""
    parts = parse_attributes(value)
    addresses = parse_attributes(parts[_ADDRESSES])
    protocol = parse_attributes(parts[_PROTOCOL])
    v4, v6 = (kind in addresses for kind in _SOURCES)
    if not (v4 or v6) or _NUMBER not in protocol:
        return None
    source_port = protocol.get(_SOURCE_PORT) or next(
        (protocol[kind] for kind in _ECHO_IDS if kind in protocol), None
    )
    if source_port is None:
        return None
    index = 0 if v4 else 1
    return _Tuple(
        protocol[_NUMBER][0],
        addresses[_SOURCES[index]],
        _PORT.unpack(source_port)[0],
        addresses[_DESTINATIONS[index]],
        _PORT.unpack(protocol.get(_DESTINATION_PORT, bytes(2)))[0],
    )
