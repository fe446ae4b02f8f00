"""Rules as iptables-nft writes them: what the kernel shows of them, and what byway reads."""

from __future__ import annotations

import struct

import pytest

from byway_systemd.core.foreign_filters import Condition, Ending, Field, FilterRule
from byway_systemd.system.foreign_chains import parse_foreign_rule
from byway_systemd.system.netlink import render_attribute

# iptables 1.8.9, as the kernel lists it: -I OUTPUT ! -o wg0 -m mark ! --mark 0xca6c
# -m addrtype ! --dst-type LOCAL -j REJECT, which is the kill switch of wg-quick(8).
WG_QUICK = bytes.fromhex(
    "24000100090001006d6574610000000014000200080002000000000708000100000000012c00010008000100636d7000"
    "20000200080001000000000108000200000000010c000300080001007767300024000100090001006d65746100000000"
    "14000200080002000000000308000100000000012c00010008000100636d700020000200080001000000000108000200"
    "000000010c000300080001006cca0000380001000a0001006d61746368000000280002000d0001006164647274797065"
    "0000000008000200000000010c00030000000400020000002c0001000c000100636f756e746572001c0002000c000100"
    "00000000000000000c0002000000000000000000340001000b0001007461726765740000240002000b00010052454a45"
    "4354000008000200000000000c0003000300000000000000"
)
LOCAL, UNICAST = 1 << 2, 1 << 1
DROP = struct.pack(">i", 0)


def attribute(kind: int, text: str) -> bytes:
    return render_attribute(kind, text.encode() + b"\0")


def expression(name: str, *data: bytes) -> bytes:
    return render_attribute(1, attribute(1, name) + render_attribute(2, b"".join(data)))


def match(name: str, revision: int, info: bytes) -> bytes:
    number = render_attribute(2, struct.pack(">I", revision))
    return expression("match", attribute(1, name), number, render_attribute(3, info))


def drop() -> bytes:
    verdict = render_attribute(2, render_attribute(1, DROP))
    register = render_attribute(1, bytes(4))
    return expression("immediate", register, render_attribute(2, verdict))


def read(*expressions: bytes) -> FilterRule:
    return parse_foreign_rule(b"".join(expressions), lambda _: ())


def test_the_kill_switch_of_wg_quick() -> None:
    assert read(WG_QUICK) == FilterRule(
        (
            Condition(Field.LINK_NAME, (b"wg0\0",), equal=False),
            Condition(Field.MARK, (struct.pack("=I", 0xCA6C),), equal=False),
        ),
        Ending.DROP,
    )


@pytest.mark.parametrize("inverted", [False, True])
def test_mark_of_older_ones(inverted: bool) -> None:
    info = struct.pack("=IIB3x", 0x01000000, 0x3F000000, inverted)
    mark, mask = struct.pack("=I", 0x01000000), struct.pack("=I", 0x3F000000)
    wanted = Condition(Field.MARK, (mark,), not inverted, mask)
    assert read(match("mark", 1, info), drop()) == FilterRule((wanted,), Ending.DROP)


@pytest.mark.parametrize(
    ("revision", "info", "takes"),
    [
        (1, struct.pack("=HHI", 0, LOCAL, 2), True),
        (1, struct.pack("=HHI", 0, LOCAL, 0), False),
        (1, struct.pack("=HHI", 0, UNICAST, 0), True),
        (1, struct.pack("=HHI", LOCAL, 0, 0), False),
        (0, struct.pack("=HHII", 0, LOCAL, 0, 1), True),
        (0, struct.pack("=HHII", 0, LOCAL, 0, 0), False),
    ],
)
def test_address_types(revision: int, info: bytes, takes: bool) -> None:
    conditions = read(match("addrtype", revision, info), drop()).conditions
    assert conditions == (() if takes else (Condition(Field.OTHER),))


@pytest.mark.parametrize("name", ["conntrack", "tcp", "owner", "limit"])
def test_what_picks_out_some_packets(name: str) -> None:
    rule = read(match(name, 1, bytes(8)), drop())
    assert rule == FilterRule((Condition(Field.OTHER),), Ending.DROP)


def test_comments_and_counters_ask_nothing() -> None:
    assert read(match("comment", 0, b"x"), expression("counter"), expression("log"), drop()) == (
        FilterRule((), Ending.DROP)
    )


def test_what_is_not_known_picks_out_some() -> None:
    assert read(expression("something"), drop()).conditions == (Condition(Field.OTHER),)
