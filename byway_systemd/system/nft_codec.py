"""Tables, chains, sets and rules as nftables messages, through pyroute2's codecs, extended.

Numbers: ``include/uapi/linux/netfilter/nf_tables.h``. Imported only where something is changed:
readers need not pay for pyroute2.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, assert_never

from byway_systemd.core.nftables import (
    Counter,
    Direction,
    Hook,
    Masquerade,
    MatchAddress,
    MatchCgroup,
    MatchDestinationLocal,
    MatchFlowDirection,
    MatchFlowMark,
    MatchLink,
    MatchMark,
    MatchPort,
    MatchSourceOnLink,
    MatchState,
    MatchUser,
    RedirectTo,
    SetFlowMark,
    SetKind,
    SetMark,
    Side,
    Verdict,
)
from byway_systemd.system.message_classes import (
    nft_chain_msg,
    nft_regs,
    nft_rule_msg,
    nft_set_msg,
)
from byway_systemd.system.netlink import HEADER
from byway_systemd.system.nft_elements import KEY_BYTES, KEY_TYPES
from byway_systemd.system.nft_expressions import (
    REGISTER,
    Expression,
    bitwise,
    compare_with,
    expression,
    host_order,
    load_key,
    look_up_in,
    value_of,
)

if TYPE_CHECKING:
    from byway_systemd.core.nftables import Chain, NftRule, NftSet, Statement

NFPROTO_INET: Final = 1
HOOK_NUMBERS: Final = {  # NF_INET_*
    Hook.PREROUTING: 0,
    Hook.INPUT: 1,
    Hook.FORWARD: 2,
    Hook.OUTPUT: 3,
    Hook.POSTROUTING: 4,
}
_NF_ACCEPT = 1
_VERDICT_REGISTER = 0  # NFT_REG_VERDICT
_VERDICTS = {Verdict.ACCEPT: _NF_ACCEPT, Verdict.DROP: 0, Verdict.RETURN: -5}  # NF_*, NFT_RETURN
# NF_CT_STATE_* of include/uapi/linux/netfilter/nf_conntrack_common.h
_STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
_META_MARK, _CT_MARK, _CT_STATE = ("meta", 3), ("ct", 3), ("ct", 0)  # NFT_META_*, NFT_CT_*
_CT_DIRECTION = ("ct", 1)
_META_PROTOCOL, _META_USER = ("meta", 15), ("meta", 10)  # NFT_META_NFPROTO, NFT_META_SKUID
_LINKS = {Direction.IN: ("meta", 4), Direction.OUT: ("meta", 5)}  # NFT_META_IIF, NFT_META_OIF
_HOST_TO_NETWORK = 1  # NFT_BYTEORDER_HTON
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2  # NFT_PAYLOAD_{NETWORK, TRANSPORT}_HEADER
_NAT_DESTINATION = 1  # NFT_NAT_DNAT
_META_TRANSPORT = ("meta", 16)  # NFT_META_L4PROTO
_SOCKET_CGROUPV2 = 3  # NFT_SOCKET_CGROUPV2
_FIB_ADDRESS_TYPE = 3  # NFT_FIB_RESULT_ADDRTYPE
_FIB_SOURCE_AND_OUT, _FIB_DESTINATION = 1 | 16, 2  # NFTA_FIB_F_{SADDR, OIF}, NFTA_FIB_F_DADDR
_ALL_BITS = 0xFFFFFFFF
# nfproto, then the offset of the source and of the destination in the network header
_HEADERS = {SetKind.IPV4: (2, 12, 16), SetKind.IPV6: (10, 8, 24)}
_RTN_LOCAL = 2
_RULE_COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT of libnftnl/udata.h
_COMMENT_BYTES = 128  # NFTNL_UDATA_COMMENT_MAXLEN: nft(8) refuses longer ones
_SET_KEY_BYTE_ORDER = 0  # NFTNL_UDATA_SET_KEYBYTEORDER
_HOST_ENDIAN, _BIG_ENDIAN = 1, 2  # enum byteorder of nft(8)


class _SocketExpression(nft_regs):  # type: ignore[misc]  # pyroute2 is untyped
    """``socket`` with NFT_SOCKET_CGROUPV2 and NFTA_SOCKET_LEVEL.

    pyroute2 0.9.7 has neither, and leaves out attributes it does not know without a word:
    https://github.com/svinota/pyroute2/blob/0.9.7/pyroute2/netlink/nfnetlink/nftsocket.py
    """

    # The name mangled by nlmsg_base: without it a subclass inherits the parent's compiled table.
    _nlmsg_base__compiled_nla = False
    nla_map = (
        ("NFTA_SOCKET_UNSPEC", "none"),
        ("NFTA_SOCKET_KEY", "be32"),
        ("NFTA_SOCKET_DREG", "regs"),
        ("NFTA_SOCKET_LEVEL", "be32"),
    )


class _FibExpression(nft_regs):  # type: ignore[misc]  # as above
    """``fib`` with a number for the result and a bit mask for the flags (swapped in 0.9.7)."""

    _nlmsg_base__compiled_nla = False
    nla_map = (
        ("NFTA_FIB_UNSPEC", "none"),
        ("NFTA_FIB_DREG", "regs"),
        ("NFTA_FIB_RESULT", "be32"),
        ("NFTA_FIB_FLAGS", "be32"),
    )


class _RuleMessage(nft_rule_msg):  # type: ignore[misc]  # as above
    """NFT_MSG_NEWRULE with the expressions above and the comment as nft(8) encodes it."""

    _nlmsg_base__compiled_nla = False
    nla_map = tuple(
        (name, "cdata" if name == "NFTA_RULE_USERDATA" else codec)
        for name, codec in nft_rule_msg.nla_map
    )

    class nft_expr(nft_rule_msg.nft_expr):  # type: ignore[misc]  # noqa: N801 (found by name)
        """An expression; its codec is found as ``nft_NAME``."""

        _nlmsg_base__compiled_nla = False
        nft_socket = _SocketExpression
        nft_fib = _FibExpression


def encode_chain(table: str, chain: Chain) -> bytes:
    """Return the payload of NFT_MSG_NEWCHAIN: a base chain with policy accept."""
    hook = {
        "attrs": [
            ["NFTA_HOOK_HOOKNUM", HOOK_NUMBERS[chain.hook]],
            ["NFTA_HOOK_PRIORITY", chain.priority],
        ]
    }
    return _encode(
        nft_chain_msg(),
        [
            ["NFTA_CHAIN_TABLE", table],
            ["NFTA_CHAIN_NAME", chain.name],
            ["NFTA_CHAIN_HOOK", hook],
            ["NFTA_CHAIN_POLICY", _NF_ACCEPT],
            ["NFTA_CHAIN_TYPE", str(chain.type)],
        ],
    )


def encode_set(table: str, nft_set: NftSet, identifier: int) -> bytes:
    """Return the payload of NFT_MSG_NEWSET; ``identifier`` is unique in the batch."""
    is_cgroup = nft_set.kind is SetKind.CGROUP
    is_number = nft_set.kind in (SetKind.CGROUP, SetKind.USER)
    # Without the byte order nft(8) lists ids swapped.
    order = struct.pack("=BBI", _SET_KEY_BYTE_ORDER, 4, _HOST_ENDIAN if is_number else _BIG_ENDIAN)
    return _encode(
        nft_set_msg(),
        [
            ["NFTA_SET_TABLE", table],
            ["NFTA_SET_NAME", nft_set.name],
            ["NFTA_SET_FLAGS", () if is_cgroup else ("NFT_SET_INTERVAL",)],
            ["NFTA_SET_KEY_TYPE", KEY_TYPES[nft_set.kind]],
            ["NFTA_SET_KEY_LEN", KEY_BYTES[nft_set.kind]],
            ["NFTA_SET_ID", identifier],
            ["NFTA_SET_USERDATA", order],
        ],
    )


# pyroute2 takes 0.3 ms a rule, and of a table that is replaced most rules are as before.
@lru_cache(maxsize=1024)
def encode_rule(table: str, chain: str, rule: NftRule) -> bytes:
    """Return the payload of NFT_MSG_NEWRULE. Raise ValueError for a comment over 127 bytes."""
    comment = rule.comment.encode() + b"\0"
    if len(comment) > _COMMENT_BYTES:
        raise ValueError(f"comment longer than {_COMMENT_BYTES - 1} bytes: {rule.comment!r}")
    expressions = [
        expression for statement in rule.statements for expression in _compile(statement)
    ]
    return _encode(
        _RuleMessage(),
        [
            ["NFTA_RULE_TABLE", table],
            ["NFTA_RULE_CHAIN", chain],
            ["NFTA_RULE_EXPRESSIONS", expressions],
            ["NFTA_RULE_USERDATA", bytes((_RULE_COMMENT, len(comment))) + comment],
        ],
    )


def _encode(message: Any, attributes: list[list[Any]]) -> bytes:
    """Return everything after the netlink header: struct nfgenmsg and the attributes."""
    message["nfgen_family"] = NFPROTO_INET
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data)[HEADER.size :]


def _compile(statement: Statement) -> list[Expression]:  # noqa: C901, PLR0911, PLR0912 (one case a type)
    """Return the kernel's expressions for ``statement``."""
    match statement:
        case MatchMark():
            return _match_bits(_META_MARK, statement)
        case MatchFlowMark():
            return _match_bits(_CT_MARK, statement)
        case MatchState():
            return _match_state(statement)
        case MatchCgroup():
            return _match_cgroup(statement)
        case MatchLink():
            return _match_link(statement)
        case MatchAddress():
            return _match_address(statement)
        case MatchUser():
            return _match_user(statement)
        case MatchPort():
            return _match_port(statement)
        case MatchFlowDirection():
            side = bytes([not statement.original])
            return [load_key(*_CT_DIRECTION), compare_with(side, equal=True)]
        case MatchDestinationLocal():
            return _match_type(_FIB_DESTINATION, local=statement.local)
        case MatchSourceOnLink():
            return _match_type(_FIB_SOURCE_AND_OUT, local=statement.local)
        case SetMark():
            return _set_bits(_META_MARK, statement)
        case SetFlowMark():
            return _set_bits(_CT_MARK, statement)
        case Masquerade():
            return [expression("masq", [])]
        case RedirectTo():
            return _redirect(statement)
        case Counter():
            return [expression("counter", [])]
        case Verdict():
            return [_verdict(statement)]
        case _:
            assert_never(statement)


def _match_bits(place: tuple[str, int], match: MatchMark | MatchFlowMark) -> list[Expression]:
    """Load the mark, keep the bits of the mask, compare."""
    compare = compare_with(host_order(match.value), equal=match.equal)
    return [load_key(*place), bitwise(match.mask), compare]


def _set_bits(place: tuple[str, int], change: SetMark | SetFlowMark) -> list[Expression]:
    """Load the mark, replace the bits of the mask, store it: ``(mark & ~mask) ^ value``."""
    kind, key = place
    keep = ~(change.mask | change.value) & _ALL_BITS
    prefix = f"NFTA_{kind.upper()}"
    store = expression(kind, [[f"{prefix}_KEY", key], [f"{prefix}_SREG", REGISTER]])
    return [load_key(*place), bitwise(keep, change.value), store]


def _match_link(match: MatchLink) -> list[Expression]:
    compare = compare_with(host_order(match.index), equal=match.equal)
    return [load_key(*_LINKS[match.direction]), compare]


def _match_user(match: MatchUser) -> list[Expression]:
    known = look_up_in(match.set_name, member=True)
    return [load_key(*_META_USER), _BIG_ENDIAN_USER, known]


def _match_state(match: MatchState) -> list[Expression]:
    """Load the state's bit; any of the wanted ones leaves it other than 0."""
    bits = 0
    for state in match.states:
        bits |= _STATES[state]
    return [load_key(*_CT_STATE), bitwise(bits), compare_with(host_order(0), equal=False)]


def _match_cgroup(match: MatchCgroup) -> list[Expression]:
    """Load the id of the socket's ancestor at the level, look it up."""
    load = expression(
        "socket",
        [
            ["NFTA_SOCKET_KEY", _SOCKET_CGROUPV2],
            ["NFTA_SOCKET_DREG", REGISTER],
            ["NFTA_SOCKET_LEVEL", match.level],
        ],
    )
    return [load, look_up_in(match.set_name, member=True)]


def _match_address(match: MatchAddress) -> list[Expression]:
    """Check the packet's family, load the address from its header, look it up."""
    protocol, source, destination = _HEADERS[match.kind]
    load = expression(
        "payload",
        [
            ["NFTA_PAYLOAD_DREG", REGISTER],
            ["NFTA_PAYLOAD_BASE", _NETWORK_HEADER],
            ["NFTA_PAYLOAD_OFFSET", source if match.side is Side.SOURCE else destination],
            ["NFTA_PAYLOAD_LEN", KEY_BYTES[match.kind]],
        ],
    )
    look_up = look_up_in(match.set_name, member=match.member)
    return [load_key(*_META_PROTOCOL), compare_with(bytes([protocol]), equal=True), load, look_up]


def _match_port(match: MatchPort) -> list[Expression]:
    """Check the transport protocol, load the destination port from its header, compare."""
    load = expression(
        "payload",
        [
            ["NFTA_PAYLOAD_DREG", REGISTER],
            ["NFTA_PAYLOAD_BASE", _TRANSPORT_HEADER],
            ["NFTA_PAYLOAD_OFFSET", 2],
            ["NFTA_PAYLOAD_LEN", 2],
        ],
    )
    protocol = compare_with(bytes([match.protocol]), equal=True)
    return [
        load_key(*_META_TRANSPORT),
        protocol,
        load,
        compare_with(match.port.to_bytes(2), equal=True),
    ]


def _redirect(redirect: RedirectTo) -> list[Expression]:
    """Check the packet's family, load the address, rewrite the destination."""
    address = ip_address(redirect.address)
    family = 2 if address.version == 4 else 10  # NFPROTO_IPV4, NFPROTO_IPV6
    load = expression(
        "immediate",
        [["NFTA_IMMEDIATE_DREG", REGISTER], ["NFTA_IMMEDIATE_DATA", value_of(address.packed)]],
    )
    rewrite = expression(
        "nat",
        [
            ["NFTA_NAT_TYPE", _NAT_DESTINATION],
            ["NFTA_NAT_FAMILY", family],
            ["NFTA_NAT_REG_ADDR_MIN", REGISTER],
        ],
    )
    return [load_key(*_META_PROTOCOL), compare_with(bytes([family]), equal=True), load, rewrite]


def _match_type(flags: int, *, local: bool) -> list[Expression]:
    """Load the type of the address that ``flags`` choose, compare."""
    load = expression(
        "fib",
        [
            ["NFTA_FIB_DREG", REGISTER],
            ["NFTA_FIB_RESULT", _FIB_ADDRESS_TYPE],
            ["NFTA_FIB_FLAGS", flags],
        ],
    )
    return [load, compare_with(host_order(_RTN_LOCAL), equal=local)]


def _verdict(verdict: Verdict) -> Expression:
    code = {"attrs": [["NFTA_VERDICT_CODE", _VERDICTS[verdict]]]}
    return expression(
        "immediate",
        [
            ["NFTA_IMMEDIATE_DREG", _VERDICT_REGISTER],
            ["NFTA_IMMEDIATE_DATA", {"attrs": [["NFTA_DATA_VERDICT", code]]}],
        ],
    )


# An interval set is searched by memcmp(3).
_BIG_ENDIAN_USER = expression(
    "byteorder",
    [
        ["NFTA_BYTEORDER_SREG", REGISTER],
        ["NFTA_BYTEORDER_DREG", REGISTER],
        ["NFTA_BYTEORDER_OP", _HOST_TO_NETWORK],
        ["NFTA_BYTEORDER_LEN", 4],
        ["NFTA_BYTEORDER_SIZE", 4],
    ],
)
