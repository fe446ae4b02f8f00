"""Other software's nftables chains: whether they would drop what leaves by a direct link.

A chain is judged by what becomes of one kind of packet: the first of a new flow to somewhere far,
with byway's mark on it. What a rule asks of addresses, ports, users and the like picks out some
packets only, so such a rule neither lets all of them pass nor drops all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from struct import Struct
from typing import TYPE_CHECKING

from byway_systemd.core.network import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

STATE_NEW = 8  # NF_CT_STATE_BIT(IP_CT_NEW), as nftables counts them
_UNICAST = 1  # RTN_UNICAST
_NAME_BYTES = 16  # IFNAMSIZ
_WORD = Struct("=I")  # a register of the kernel's, in its own byte order
_DEEPEST = 16  # NFT_JUMP_STACK_SIZE


class Field(StrEnum):
    """What of a packet a rule looks at; OTHER is what picks out some packets only."""

    LINK = "oif"
    LINK_NAME = "oifname"
    MARK = "mark"
    FLOW_MARK = "ct mark"
    STATE = "ct state"
    FAMILY = "family"
    ADDRESS_KIND = "type of daddr"
    OTHER = "other"


class Ending(StrEnum):
    """What a rule does with what fits it."""

    ACCEPT = "accept"
    DROP = "drop"
    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"
    GOES_ON = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a rule: whether ``field & mask`` is (or is not) one of ``values``.

    Bytes are as the kernel compares them. An empty mask is none; a value that is shorter than the
    field is compared with its beginning.
    """

    field: Field
    values: tuple[bytes, ...] = ()
    equal: bool = True
    mask: bytes = b""


@dataclass(frozen=True, slots=True)
class FilterRule:
    """A rule: its conditions, its ending, and the chain that it jumps to."""

    conditions: tuple[Condition, ...]
    ending: Ending
    target: str = ""


@dataclass(frozen=True, slots=True)
class FilterChain:
    """A chain of other software. ``hook`` is empty for one that is only jumped to.

    ``family`` is that of its table: ``inet``, ``ip`` or ``ip6``.
    """

    family: str
    table: str
    name: str
    hook: str = ""
    drops: bool = False
    rules: tuple[FilterRule, ...] = ()


@dataclass(frozen=True, slots=True)
class DirectPacket:
    """The first packet of a flow that leaves by a direct link."""

    link: int
    link_name: str
    mark: int
    family: Family

    def fields(self) -> dict[Field, bytes]:
        """Return what rules compare with, in the kernel's byte order of each."""
        mark = _WORD.pack(self.mark)
        return {
            Field.LINK: _WORD.pack(self.link),
            Field.LINK_NAME: self.link_name.encode().ljust(_NAME_BYTES, b"\0"),
            Field.MARK: mark,
            Field.FLOW_MARK: mark,
            Field.STATE: _WORD.pack(STATE_NEW),
            Field.FAMILY: bytes([self.family]),
            Field.ADDRESS_KIND: _WORD.pack(_UNICAST),
        }


def find_dropping(chains: tuple[FilterChain, ...], packet: DirectPacket) -> list[tuple[str, str]]:
    """Return (chain, why) of each chain of a hook that drops ``packet``."""
    version = {Family.IPV4: "ip", Family.IPV6: "ip6"}[packet.family]
    found = []
    for chain in chains:
        if not chain.hook or chain.family not in ("inet", version):
            continue
        others = {
            other.name: other
            for other in chains
            if (other.family, other.table) == (chain.family, chain.table)
        }
        ending, why = _follow(chain, others, packet.fields(), 0)
        if ending is Ending.GOES_ON and chain.drops:
            ending, why = Ending.DROP, "policy drop"
        if ending is Ending.DROP:
            found.append((f"{chain.family} {chain.table} {chain.name}", why))
    return found


def _follow(
    chain: FilterChain, others: Mapping[str, FilterChain], fields: dict[Field, bytes], depth: int
) -> tuple[Ending, str]:
    """Return how the packet leaves a chain, and by which rule; GOES_ON at its end."""
    for number, rule in enumerate(chain.rules, 1):
        if not all(_fits(condition, fields) for condition in rule.conditions):
            continue
        match rule.ending:
            case Ending.ACCEPT | Ending.DROP:
                return rule.ending, f"rule {number} of {chain.name}"
            case Ending.RETURN:
                return Ending.GOES_ON, ""
            case Ending.JUMP | Ending.GOTO if rule.target in others and depth < _DEEPEST:
                ending, why = _follow(others[rule.target], others, fields, depth + 1)
                if ending is not Ending.GOES_ON or rule.ending is Ending.GOTO:
                    return ending, why
            case _:
                pass
    return Ending.GOES_ON, ""


def _fits(condition: Condition, fields: dict[Field, bytes]) -> bool:
    value = fields.get(condition.field)
    if value is None:
        return False
    if condition.mask:
        value = bytes(a & b for a, b in zip(value, condition.mask, strict=False))
    return any(value.startswith(one) for one in condition.values) is condition.equal
