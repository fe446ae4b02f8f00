"""The nftables table as a value: statements, rules, chains, sets and what is seen of them.

A rule is a tuple of statements that read like nft(8). The adapter turns statements into the
kernel's expressions; a rule's identity there is its comment, which ends in a digest of the
statements. A rule cannot be changed in place in the kernel, only replaced together with its
comment, so equal comments in equal order mean equal rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final

# More in one transaction take the kernel tens of milliseconds, and who listens a message for each.
MANY_ELEMENTS: Final = 1000


class Side(StrEnum):
    """Which address of a packet."""

    SOURCE = "saddr"
    DESTINATION = "daddr"


class Direction(StrEnum):
    """Which link of a packet: where it came in or where it goes out."""

    IN = "iif"
    OUT = "oif"


class SetKind(StrEnum):
    """What a set holds: cgroup ids (u64), or address prefixes or user ids (interval sets)."""

    CGROUP = "cgroupsv2"
    USER = "uid"
    IPV4 = "ipv4_addr"
    IPV6 = "ipv6_addr"


class ChainType(StrEnum):
    """The type of a base chain."""

    FILTER = "filter"
    ROUTE = "route"
    NAT = "nat"


class Hook(StrEnum):
    """The netfilter hook of a base chain."""

    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"
    POSTROUTING = "postrouting"


class Verdict(StrEnum):
    """How a rule ends."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class MatchMark:
    """``meta mark & mask == value`` (or ``!=``)."""

    mask: int
    value: int
    equal: bool = True

    def __str__(self) -> str:
        return f"meta mark & {self.mask:#010x} {_sign(self.equal)} {self.value:#010x}"


@dataclass(frozen=True, slots=True)
class MatchFlowMark:
    """``ct mark & mask == value`` (or ``!=``)."""

    mask: int
    value: int
    equal: bool = True

    def __str__(self) -> str:
        return f"ct mark & {self.mask:#010x} {_sign(self.equal)} {self.value:#010x}"


@dataclass(frozen=True, slots=True)
class MatchState:
    """``ct state STATE,...``: ``new``, ``established``, ``related``, ``untracked``, ``invalid``."""

    states: tuple[str, ...]

    def __str__(self) -> str:
        return f"ct state {','.join(self.states)}"


@dataclass(frozen=True, slots=True)
class MatchCgroup:
    """``socket cgroupv2 level LEVEL @SET``: the ancestor at that depth, by its 64-bit id."""

    level: int
    set_name: str

    def __str__(self) -> str:
        return f"socket cgroupv2 level {self.level} @{self.set_name}"


@dataclass(frozen=True, slots=True)
class MatchLink:
    """``iif INDEX`` or ``oif INDEX`` (or ``!=``), by index so that a rename does not matter."""

    direction: Direction
    index: int
    equal: bool = True

    def __str__(self) -> str:
        return f"{self.direction} {'' if self.equal else '!= '}{self.index}"


@dataclass(frozen=True, slots=True)
class MatchAddress:
    """``ip daddr @SET`` or ``ip6 saddr @SET`` (or ``!=``); the family follows ``kind``."""

    kind: SetKind
    side: Side
    set_name: str
    member: bool = True

    def __str__(self) -> str:
        header = "ip" if self.kind is SetKind.IPV4 else "ip6"
        return f"{header} {self.side} {'' if self.member else '!= '}@{self.set_name}"


@dataclass(frozen=True, slots=True)
class MatchUser:
    """``meta skuid @SET``: the user id of the socket that sends."""

    set_name: str

    def __str__(self) -> str:
        return f"meta skuid @{self.set_name}"


@dataclass(frozen=True, slots=True)
class MatchDestinationLocal:
    """``fib daddr type local`` (or ``!= local``): the packet is for this machine."""

    local: bool = True

    def __str__(self) -> str:
        return f"fib daddr type {'' if self.local else '!= '}local"


@dataclass(frozen=True, slots=True)
class MatchPort:
    """``meta l4proto PROTOCOL th dport PORT``: of TCP or UDP (IPPROTO_* numbers)."""

    protocol: int
    port: int

    def __str__(self) -> str:
        return f"meta l4proto {self.protocol} th dport {self.port}"


@dataclass(frozen=True, slots=True)
class MatchFlowDirection:
    """``ct direction original`` (or ``reply``): the packet goes as the flow's first one did."""

    original: bool = True

    def __str__(self) -> str:
        return f"ct direction {'original' if self.original else 'reply'}"


@dataclass(frozen=True, slots=True)
class MatchSourceOnLink:
    """``fib saddr . oif type local`` (or ``!= local``): the source is the out link's own."""

    local: bool = True

    def __str__(self) -> str:
        return f"fib saddr . oif type {'' if self.local else '!= '}local"


@dataclass(frozen=True, slots=True)
class SetMark:
    """``meta mark set meta mark & ~mask | value``: foreign bits stay."""

    mask: int
    value: int

    def __str__(self) -> str:
        return f"meta mark set meta mark & {~self.mask & 0xFFFFFFFF:#010x} | {self.value:#010x}"


@dataclass(frozen=True, slots=True)
class SetFlowMark:
    """``ct mark set ct mark & ~mask | value``: foreign bits stay."""

    mask: int
    value: int

    def __str__(self) -> str:
        return f"ct mark set ct mark & {~self.mask & 0xFFFFFFFF:#010x} | {self.value:#010x}"


@dataclass(frozen=True, slots=True)
class Masquerade:
    """``masquerade``: rewrite the source to the out link's own address."""

    def __str__(self) -> str:
        return "masquerade"


@dataclass(frozen=True, slots=True)
class RedirectTo:
    """``dnat ip to ADDRESS`` or ``dnat ip6 to ADDRESS``: another destination, the same port."""

    address: str

    def __str__(self) -> str:
        return f"dnat {'ip6' if ':' in self.address else 'ip'} to {self.address}"


@dataclass(frozen=True, slots=True)
class Counter:
    """``counter``: count packets and bytes."""

    def __str__(self) -> str:
        return "counter"


Statement = (
    MatchMark
    | MatchFlowMark
    | MatchState
    | MatchCgroup
    | MatchLink
    | MatchAddress
    | MatchUser
    | MatchDestinationLocal
    | MatchPort
    | MatchFlowDirection
    | MatchSourceOnLink
    | SetMark
    | SetFlowMark
    | Masquerade
    | RedirectTo
    | Counter
    | Verdict
)


@dataclass(frozen=True, slots=True)
class NftRule:
    """One rule: its purpose in a few words and its statements."""

    purpose: str
    statements: tuple[Statement, ...]

    def __str__(self) -> str:
        return " ".join(str(statement) for statement in self.statements)

    @property
    def comment(self) -> str:
        """The rule's identity: purpose and a digest of the statements (at most 127 bytes)."""
        digest = blake2b(str(self).encode(), digest_size=6).hexdigest()
        purpose = self.purpose.encode()[:100].decode(errors="ignore")
        return f"{purpose} [{digest}]"


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain with policy accept."""

    name: str
    type: ChainType
    hook: Hook
    priority: int
    rules: tuple[NftRule, ...]


@dataclass(frozen=True, slots=True)
class NftSet:
    """A named set.

    Elements: cgroup ids as decimal text, canonical non-overlapping prefixes, or ranges of user ids
    (``5-9``, ``5-5``) that neither overlap nor touch.
    """

    name: str
    kind: SetKind
    elements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NftTable:
    """The whole table ``inet NAME``."""

    name: str
    chains: tuple[Chain, ...]
    sets: tuple[NftSet, ...]

    def outline(self) -> TableOutline:
        """Return what the kernel would show of this table."""
        chains = (
            ChainOutline(
                chain.name,
                chain.type,
                chain.hook,
                chain.priority,
                tuple(rule.comment for rule in chain.rules),
            )
            for chain in self.chains
        )
        sets = (NftSet(s.name, s.kind, tuple(sorted(s.elements))) for s in self.sets)
        return TableOutline(
            tuple(sorted(chains, key=lambda chain: chain.name)),
            tuple(sorted(sets, key=lambda nft_set: nft_set.name)),
        )


@dataclass(frozen=True, slots=True)
class ChainOutline:
    """A chain as observed: a rule is its comment (empty when it has none: it is not ours)."""

    name: str
    type: str
    hook: str
    priority: int
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableOutline:
    """A table as observed, chains and sets sorted by name, set elements sorted as text."""

    chains: tuple[ChainOutline, ...]
    sets: tuple[NftSet, ...]


def render_table(table: NftTable) -> str:
    """Return the table as nft(8) would list it, for people."""
    lines = [f"table inet {table.name} {{"]
    for nft_set in table.sets:
        elements = ", ".join(nft_set.elements) or "empty"
        lines.append(f"\tset {nft_set.name} {{ type {nft_set.kind}; {elements} }}")
    for chain in table.chains:
        lines.append(f"\tchain {chain.name} {{")
        lines.append(
            f"\t\ttype {chain.type} hook {chain.hook} priority {chain.priority}; policy accept;"
        )
        lines.extend(f'\t\t{rule} comment "{rule.purpose}"' for rule in chain.rules)
        lines.append("\t}")
    return "\n".join([*lines, "}"]) + "\n"


def _sign(equal: bool) -> str:  # noqa: FBT001
    return "==" if equal else "!="
