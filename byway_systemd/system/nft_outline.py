"""What the kernel shows of an nftables table, as values; by struct, without pyroute2.

Numbers: ``include/uapi/linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from byway_systemd.core.nftables import ChainOutline, Hook, SetKind
from byway_systemd.system.netlink import list_attributes, parse_attributes, parse_text
from byway_systemd.system.nft_elements import KEY_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

GENERIC_BYTES = 4  # struct nfgenmsg: family, version, resource
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_TYPE = 1, 3, 4, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_USERDATA = 2, 4, 7
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2
_SET_NAME, _SET_FLAGS, _SET_KEY_TYPE = 2, 3, 4
_SET_INTERVAL = 4
_LIST_ELEMENTS = 3  # NFTA_SET_ELEM_LIST_ELEMENTS
_COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT
_SIGNED = struct.Struct(">i")
_HOOKS = tuple(Hook)  # in the order of NF_INET_*
_KINDS = {number: kind for kind, number in KEY_TYPES.items()}


class SeenRule(NamedTuple):
    """A rule: its chain, its comment, and its counter's packets and bytes (None without one)."""

    chain: str
    comment: str
    counter: tuple[int, int] | None


class SeenSet(NamedTuple):
    """A set: its name, and its kind (None for one byway would not make)."""

    name: str
    kind: SetKind | None


def parse_chain(payload: bytes, table: str, rules: Sequence[SeenRule]) -> ChainOutline | None:
    """Return the chain with its rules' comments, or None when it belongs to another table."""
    found = parse_attributes(payload, GENERIC_BYTES)
    if parse_text(found.get(_CHAIN_TABLE, b"")) != table:
        return None
    name = parse_text(found[_CHAIN_NAME])
    hook = parse_attributes(found.get(_CHAIN_HOOK, b""))
    number = _signed(hook[_HOOK_NUMBER]) if _HOOK_NUMBER in hook else -1
    return ChainOutline(
        name=name,
        type=parse_text(found.get(_CHAIN_TYPE, b"")),
        hook=str(_HOOKS[number]) if 0 <= number < len(_HOOKS) else "",
        priority=_signed(hook[_HOOK_PRIORITY]) if _HOOK_PRIORITY in hook else 0,
        rules=tuple(rule.comment for rule in rules if rule.chain == name),
    )


def parse_rule(payload: bytes) -> SeenRule:
    """Return what an NFT_MSG_NEWRULE message shows."""
    found = parse_attributes(payload, GENERIC_BYTES)
    return SeenRule(
        parse_text(found[_RULE_CHAIN]),
        _comment(found.get(_RULE_USERDATA, b"")),
        _counter(found.get(_RULE_EXPRESSIONS, b"")),
    )


def parse_set(payload: bytes) -> SeenSet:
    """Return what an NFT_MSG_NEWSET message shows."""
    found = parse_attributes(payload, GENERIC_BYTES)
    kind = _KINDS.get(int.from_bytes(found.get(_SET_KEY_TYPE, b""), "big"))
    flags = int.from_bytes(found.get(_SET_FLAGS, b""), "big")
    expected = 0 if kind is SetKind.CGROUP else _SET_INTERVAL
    return SeenSet(parse_text(found[_SET_NAME]), kind if flags == expected else None)


def parse_element_list(payload: bytes) -> bytes:
    """Return the element list of an NFT_MSG_NEWSETELEM message."""
    return parse_attributes(payload, GENERIC_BYTES).get(_LIST_ELEMENTS, b"")


def _comment(userdata: bytes) -> str:
    """Return the comment among the user data (type, length, value), or nothing."""
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset : offset + 2]
        if kind == _COMMENT:
            return parse_text(userdata[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""


def _counter(expressions: bytes) -> tuple[int, int] | None:
    """Return packets and bytes of the first counter among ``expressions``."""
    for _, expression in list_attributes(expressions):
        found = parse_attributes(expression)
        if parse_text(found.get(_EXPRESSION_NAME, b"")) == "counter":
            counts = parse_attributes(found.get(_EXPRESSION_DATA, b""))
            packets, size = (counts.get(k, b"") for k in (_COUNTER_PACKETS, _COUNTER_BYTES))
            return int.from_bytes(packets, "big"), int.from_bytes(size, "big")
    return None


def _signed(value: bytes) -> int:
    return int(_SIGNED.unpack(value)[0])
