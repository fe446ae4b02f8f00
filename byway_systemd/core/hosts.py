"""Addresses of hosts: what an answer says, how long it counts, and what is kept of it."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import ip_address

ADDRESS_TYPES = {1: 4, 28: 16}  # A and AAAA (RFC 1035, RFC 3596): the bytes of their data
MOST_ADDRESSES = 64  # of one name
SHORTEST, LONGEST = 30, 3600  # seconds between two looks at a name
UNKNOWN = 60  # where an answer does not tell how long it counts
_FIXED = struct.Struct(">HHIH")  # type, class, TTL, length of the data


@dataclass(frozen=True, slots=True)
class Answer:
    """The addresses of a name, in text, and for how many seconds they count."""

    addresses: tuple[str, ...]
    seconds: int = UNKNOWN


@dataclass(frozen=True, slots=True)
class Host:
    """A name with the prefixes of its last good answer and when (seconds) to ask again."""

    name: str
    prefixes: tuple[str, ...] = ()
    due: float = 0


def parse_record(raw: bytes) -> Answer | None:
    """Return what a resource record in wire format says (RFC 1035, section 3.2.1).

    None for one that is no address, or is damaged.
    """
    offset = 0
    while offset < len(raw) and raw[offset]:
        if raw[offset] > 63:  # compressed: there is nothing it could refer to
            return None
        offset += raw[offset] + 1
    offset += 1
    if offset + _FIXED.size > len(raw):
        return None
    kind, _, seconds, length = _FIXED.unpack_from(raw, offset)
    content = raw[offset + _FIXED.size :]
    if ADDRESS_TYPES.get(kind) != length or len(content) != length:
        return None
    return Answer((str(ip_address(content)),), seconds)


def join_answers(answers: tuple[Answer, ...]) -> Answer:
    """Return all addresses of several answers, for as long as all of them count."""
    addresses = dict.fromkeys(address for answer in answers for address in answer.addresses)
    return Answer(tuple(addresses), min((a.seconds for a in answers), default=UNKNOWN))


def take_answer(host: Host, answer: Answer | None, now: float) -> Host:
    """Return ``host`` after it was asked for; ``answer`` is None when nobody could tell.

    Then it keeps what it had. Addresses that never leave by any link are left out.
    """
    if answer is None:
        return replace(host, due=now + SHORTEST)
    found = (_prefix(address) for address in answer.addresses)
    prefixes = sorted({prefix for prefix in found if prefix})[:MOST_ADDRESSES]
    return Host(host.name, tuple(prefixes), now + min(max(answer.seconds, SHORTEST), LONGEST))


def _prefix(text: str) -> str:
    address = ip_address(text)
    if address.is_loopback or address.is_multicast or address.is_unspecified:
        return ""
    return "" if address.is_link_local else f"{address}/{address.max_prefixlen}"


def list_addresses(hosts: tuple[Host, ...], names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return (name, prefix) of those of ``hosts`` that are asked for."""
    return tuple((h.name, prefix) for h in hosts if h.name in names for prefix in h.prefixes)
