"""The kernel's nftables expressions, as pyroute2 encodes them; all work on one register."""

from __future__ import annotations

import struct
from typing import Any

Expression = dict[str, Any]

REGISTER = 1  # NFT_REG_1, 16 bytes
_EQUAL, _NOT_EQUAL = 0, 1  # NFT_CMP_EQ, NFT_CMP_NEQ


def load_key(kind: str, key: int) -> Expression:
    """Return ``meta`` or ``ct`` KEY into the register."""
    prefix = f"NFTA_{kind.upper()}"
    return expression(kind, [[f"{prefix}_DREG", REGISTER], [f"{prefix}_KEY", key]])


def bitwise(mask: int, flip: int = 0) -> Expression:
    return expression(
        "bitwise",
        [
            ["NFTA_BITWISE_SREG", REGISTER],
            ["NFTA_BITWISE_DREG", REGISTER],
            ["NFTA_BITWISE_LEN", 4],
            ["NFTA_BITWISE_MASK", value_of(host_order(mask))],
            ["NFTA_BITWISE_XOR", value_of(host_order(flip))],
        ],
    )


def compare_with(value: bytes, *, equal: bool) -> Expression:
    return expression(
        "cmp",
        [
            ["NFTA_CMP_SREG", REGISTER],
            ["NFTA_CMP_OP", _EQUAL if equal else _NOT_EQUAL],
            ["NFTA_CMP_DATA", value_of(value)],
        ],
    )


def look_up_in(set_name: str, *, member: bool) -> Expression:
    attributes: list[list[Any]] = [
        ["NFTA_LOOKUP_SET", set_name],
        ["NFTA_LOOKUP_SREG", REGISTER],
    ]
    if not member:
        attributes.append(["NFTA_LOOKUP_FLAGS", ("NFT_LOOKUP_F_INV",)])
    return expression("lookup", attributes)


def expression(name: str, attributes: list[list[Any]]) -> Expression:
    return {"attrs": [["NFTA_EXPR_NAME", name], ["NFTA_EXPR_DATA", {"attrs": attributes}]]}


def value_of(value: bytes) -> dict[str, Any]:
    return {"attrs": [["NFTA_DATA_VALUE", value]]}


def host_order(number: int) -> bytes:
    """Return a u32 as registers hold marks, states, links and types: in host byte order."""
    return struct.pack("=I", number)
