"""Other software's nftables chains, as far as they decide what leaves; by struct.

Numbers: ``include/uapi/linux/netfilter/nf_tables.h``. iptables-nft writes some of its matches and
targets as those of x_tables (``nf_tables_compat.h``): of these, marks and address types are known.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from byway_systemd.core.foreign_filters import (
    Condition,
    Ending,
    Field,
    FilterChain,
    FilterRule,
)
from byway_systemd.system.netlink import (
    NETLINK_NETFILTER,
    NetlinkSocket,
    list_attributes,
    parse_attributes,
    parse_text,
    render_attribute,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GET_CHAIN, _GET_RULE, _GET_ELEMENTS = (_SUBSYSTEM | number for number in (4, 7, 13))
_GENERIC_BYTES = 4  # struct nfgenmsg
_FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}  # NFPROTO_*
_HOOKS = {3: "output", 4: "postrouting"}  # NF_INET_*
_OWN = ("inet", "byway")
_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY = 1, 3, 4, 5
_RULE_CHAIN, _RULE_EXPRESSIONS = 2, 4
_HOOK_NUMBER = 1
_NAME, _DATA = 1, 2  # NFTA_EXPR_*
_VALUE, _VERDICT = 1, 2  # NFTA_DATA_*
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2
_ENDINGS = {
    0: Ending.DROP,
    1: Ending.ACCEPT,
    -3: Ending.JUMP,
    -4: Ending.GOTO,
    -5: Ending.RETURN,
}  # NF_*, NFT_*
_META = {3: Field.MARK, 5: Field.LINK, 7: Field.LINK_NAME, 15: Field.FAMILY}  # NFT_META_*
_CT = {0: Field.STATE, 3: Field.FLOW_MARK}  # NFT_CT_*
_ADDRESS_TYPE, _OF_DESTINATION = 3, 2  # NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR
# Expressions that do something, and ask nothing of a packet.
_SIDE_EFFECTS = frozenset(["counter", "log", "notrack", "objref", "last"])
_XT_DROPS = frozenset(["DROP", "REJECT"])
_XT_MARK = struct.Struct("=IIB")  # struct xt_mark_mtinfo1: mark, mask, invert
_XT_ADDRESS_TYPE = struct.Struct("=HHII")  # struct xt_addrtype_info, and _v1 without the last
_OTHER = Condition(Field.OTHER)
_Values = tuple[bytes, ...]


def observe_foreign_chains() -> tuple[FilterChain, ...]:
    """Return the chains of others' tables that see what leaves; raise KernelError without root."""
    with NetlinkSocket(NETLINK_NETFILTER) as netlink:
        chains = _observe_chains(netlink)
        rules: dict[tuple[str, str, str], list[FilterRule]] = {}
        for reply in netlink.dump(_GET_RULE, bytes(_GENERIC_BYTES), "list nft rules"):
            found = parse_attributes(reply.payload, _GENERIC_BYTES)
            family = _FAMILIES.get(reply.payload[0], "")
            table, chain = (parse_text(found[key]) for key in (_TABLE, _RULE_CHAIN))
            if (family, table, chain) in chains:
                number = reply.payload[0]

                def look_up(name: str, number: int = number, table: str = table) -> _Values:
                    return _read_set(netlink, number, table, name)

                rule = parse_foreign_rule(found.get(_RULE_EXPRESSIONS, b""), look_up)
                rules.setdefault((family, table, chain), []).append(rule)
    return tuple(
        replace(chain, rules=tuple(rules.get(key, ()))) for key, chain in sorted(chains.items())
    )


def _observe_chains(netlink: NetlinkSocket) -> dict[tuple[str, str, str], FilterChain]:
    chains = {}
    for reply in netlink.dump(_GET_CHAIN, bytes(_GENERIC_BYTES), "list nft chains"):
        family = _FAMILIES.get(reply.payload[0], "")
        found = parse_attributes(reply.payload, _GENERIC_BYTES)
        table, name = parse_text(found[_TABLE]), parse_text(found[_CHAIN_NAME])
        if not family or (family, table) == _OWN:
            continue
        hook = parse_attributes(found.get(_CHAIN_HOOK, b""))
        number = _signed(hook[_HOOK_NUMBER]) if _HOOK_NUMBER in hook else -1
        drops = _CHAIN_POLICY in found and _signed(found[_CHAIN_POLICY]) == 0
        at = _HOOKS.get(number, "")
        chains[family, table, name] = FilterChain(family, table, name, at, drops=bool(at) and drops)
    return chains


def _read_set(netlink: NetlinkSocket, family: int, table: str, name: str) -> _Values:
    """Return the keys of a set; intervals by both ends, which is no matter for links."""
    request = bytes([family, 0, 0, 0]) + _text(_TABLE, table) + _text(2, name)
    keys: list[bytes] = []
    for reply in netlink.dump(_GET_ELEMENTS, request, f"list set {name} of {table}"):
        elements = parse_attributes(reply.payload, _GENERIC_BYTES).get(3, b"")
        for _, element in list_attributes(elements):
            key = parse_attributes(element).get(1, b"")
            keys.append(parse_attributes(key).get(_VALUE, b""))
    return tuple(key for key in keys if key)


@dataclass
class _Reading:
    """A rule as far as it is read: what its registers hold, and what it asks."""

    look_up: Callable[[str], _Values]
    registers: dict[int, Condition] = field(default_factory=dict)
    conditions: list[Condition] = field(default_factory=list)
    ending: Ending = Ending.GOES_ON
    target: str = ""


def parse_foreign_rule(expressions: bytes, look_up: Callable[[str], _Values]) -> FilterRule:
    """Return what a rule asks of a packet and does with it; ``look_up`` returns a set's keys."""
    reading = _Reading(look_up)
    for name, data in _list_expressions(expressions):
        if read := _READERS.get(name):
            read(reading, data)
        elif name not in _SIDE_EFFECTS:
            reading.conditions.append(_OTHER)
    return FilterRule(tuple(reading.conditions), reading.ending, reading.target)


def _list_expressions(expressions: bytes) -> Iterator[tuple[str, dict[int, bytes]]]:
    for _, one in list_attributes(expressions):
        found = parse_attributes(one)
        yield parse_text(found.get(_NAME, b"")), parse_attributes(found.get(_DATA, b""))


def _read_meta(reading: _Reading, data: dict[int, bytes]) -> None:
    if 1 in data:  # NFTA_META_DREG; else it sets something
        known = _META.get(_number(data, 2), Field.OTHER)
        reading.registers[_number(data, 1)] = Condition(known)


def _read_ct(reading: _Reading, data: dict[int, bytes]) -> None:
    if 1 in data:
        reading.registers[_number(data, 1)] = Condition(_CT.get(_number(data, 2), Field.OTHER))


def _read_fib(reading: _Reading, data: dict[int, bytes]) -> None:
    is_kind = _number(data, 2) == _ADDRESS_TYPE and _number(data, 3) == _OF_DESTINATION
    known = Field.ADDRESS_KIND if is_kind else Field.OTHER
    reading.registers[_number(data, 1)] = Condition(known)


def _read_payload(reading: _Reading, data: dict[int, bytes]) -> None:
    reading.registers[_number(data, 1)] = _OTHER


def _read_bitwise(reading: _Reading, data: dict[int, bytes]) -> None:
    before = reading.registers.get(_number(data, 1), _OTHER)
    mask, flip = (parse_attributes(data.get(key, b"")).get(_VALUE, b"") for key in (4, 5))
    plain = not any(flip) and not before.mask and before.field is not Field.OTHER
    reading.registers[_number(data, 2)] = replace(before, mask=mask) if plain and mask else _OTHER


def _read_compare(reading: _Reading, data: dict[int, bytes]) -> None:
    loaded = reading.registers.get(_number(data, 1), _OTHER)
    value = parse_attributes(data.get(3, b"")).get(_VALUE, b"")
    operator = _number(data, 2)
    known = operator in (0, 1) and loaded.field is not Field.OTHER  # NFT_CMP_EQ, NFT_CMP_NEQ
    made = replace(loaded, values=(value,), equal=operator == 0)
    reading.conditions.append(made if known else _OTHER)


def _read_lookup(reading: _Reading, data: dict[int, bytes]) -> None:
    loaded = reading.registers.get(_number(data, 2), _OTHER)
    if loaded.field is Field.OTHER or 3 in data:  # a map
        reading.conditions.append(_OTHER)
        return
    keys = reading.look_up(parse_text(data.get(1, b"")))
    equal = not _number(data, 5) & 1  # NFT_LOOKUP_F_INV
    reading.conditions.append(replace(loaded, values=keys, equal=equal))


def _read_immediate(reading: _Reading, data: dict[int, bytes]) -> None:
    verdict = parse_attributes(parse_attributes(data.get(2, b"")).get(_VERDICT, b""))
    if _VERDICT_CODE in verdict:
        reading.ending = _ENDINGS.get(_signed(verdict[_VERDICT_CODE]), Ending.GOES_ON)
        reading.target = parse_text(verdict.get(_VERDICT_CHAIN, b""))


def _read_reject(reading: _Reading, _data: dict[int, bytes]) -> None:
    reading.ending = Ending.DROP


def _read_xt_match(reading: _Reading, data: dict[int, bytes]) -> None:
    name, info = parse_text(data.get(1, b"")), data.get(3, b"")
    if name == "mark" and len(info) >= _XT_MARK.size:
        mark, mask, inverted = _XT_MARK.unpack_from(info)
        values = (struct.pack("=I", mark),)
        made = Condition(Field.MARK, values, not inverted, struct.pack("=I", mask))
        reading.conditions.append(made)
    elif name == "addrtype" and len(info) >= 8:
        reading.conditions += [] if _takes_unicast(info, _number(data, 2)) else [_OTHER]
    elif name != "comment":
        reading.conditions.append(_OTHER)


def _takes_unicast(info: bytes, revision: int) -> bool:
    """Whether an address type match takes what goes from here to another machine."""
    source, destination, first, second = _XT_ADDRESS_TYPE.unpack_from(info.ljust(12, b"\0"))
    inverted = bool(first & 2) if revision else bool(second)  # a flag, or a field of its own
    return not source and (bool(destination & 1 << 1) is not inverted)  # RTN_UNICAST


def _read_xt_target(reading: _Reading, data: dict[int, bytes]) -> None:
    if parse_text(data.get(1, b"")) in _XT_DROPS:
        reading.ending = Ending.DROP


_READERS: dict[str, Callable[[_Reading, dict[int, bytes]], None]] = {
    "meta": _read_meta,
    "ct": _read_ct,
    "fib": _read_fib,
    "payload": _read_payload,
    "bitwise": _read_bitwise,
    "cmp": _read_compare,
    "lookup": _read_lookup,
    "immediate": _read_immediate,
    "reject": _read_reject,
    "match": _read_xt_match,
    "target": _read_xt_target,
}


def _number(data: dict[int, bytes], key: int) -> int:
    return int.from_bytes(data.get(key, b""), "big")


def _signed(value: bytes) -> int:
    return int.from_bytes(value, "big", signed=True)


def _text(kind: int, text: str) -> bytes:
    return render_attribute(kind, text.encode(errors="surrogateescape") + b"\0")
