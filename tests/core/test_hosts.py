"""Answers of DNS: what is an address, how long it counts, what is kept."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway_systemd.core.hosts import (
    LONGEST,
    MOST_ADDRESSES,
    SHORTEST,
    UNKNOWN,
    Answer,
    Host,
    join_answers,
    list_addresses,
    parse_record,
    take_answer,
)


def record(address: str, seconds: int = 300, name: bytes = b"\5relay\7example\0") -> bytes:
    packed = ip_address(address).packed
    kind = 1 if len(packed) == 4 else 28
    return name + struct.pack(">HHIH", kind, 1, seconds, len(packed)) + packed


def test_reads_addresses_and_their_time() -> None:
    assert parse_record(record("192.0.2.7", 77)) == Answer(("192.0.2.7",), 77)
    assert parse_record(record("2001:db8::7", 5, b"\0")) == Answer(("2001:db8::7",), 5)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0",
        b"\5rel",
        record("192.0.2.7")[:-1],
        record("192.0.2.7") + b"x",
        b"\xc0\x0c" + record("192.0.2.7", name=b""),
        b"\0" + struct.pack(">HHIH", 5, 1, 60, 2) + b"\1a",  # CNAME
        b"\0" + struct.pack(">HHIH", 1, 1, 60, 16) + bytes(16),
    ],
)
def test_what_is_no_address_is_none(raw: bytes) -> None:
    assert parse_record(raw) is None


@given(st.binary(max_size=64))
def test_no_record_is_too_odd(raw: bytes) -> None:
    parse_record(raw)


def test_answers_count_as_long_as_all_of_them() -> None:
    joined = join_answers((Answer(("192.0.2.1",), 90), Answer(("192.0.2.1", "::9"), 40)))
    assert joined == Answer(("192.0.2.1", "::9"), 40)
    assert join_answers(()) == Answer((), UNKNOWN)


@pytest.mark.parametrize(
    ("seconds", "due"), [(0, SHORTEST), (90, 90), (10**9, LONGEST), (-5, SHORTEST)]
)
def test_asks_again_in_good_time(seconds: int, due: int) -> None:
    assert take_answer(Host("a"), Answer((), seconds), 1000).due == 1000 + due


def test_keeps_the_last_good_answer() -> None:
    good = take_answer(Host("a"), Answer(("192.0.2.1",), 60), 0)
    assert take_answer(good, None, 500) == Host("a", ("192.0.2.1/32",), 500 + SHORTEST)
    assert take_answer(good, Answer(("192.0.2.2",), 60), 500).prefixes == ("192.0.2.2/32",)
    assert take_answer(good, Answer(()), 500).prefixes == ()


def test_takes_only_what_can_leave_and_not_too_many() -> None:
    odd = (
        "127.0.0.1",
        "::1",
        str(IPv4Address(0)),
        "224.0.0.1",
        "fe80::1",
        "169.254.0.1",
        "2001:db8::1",
    )
    assert take_answer(Host("a"), Answer(odd), 0).prefixes == ("2001:db8::1/128",)
    many = Answer(tuple(f"192.0.2.{n}" for n in range(200)))
    assert len(take_answer(Host("a"), many, 0).prefixes) == MOST_ADDRESSES


def test_lists_what_is_asked_for() -> None:
    hosts = (Host("a", ("192.0.2.1/32", "192.0.2.2/32")), Host("b", ("192.0.2.3/32",)))
    assert list_addresses(hosts, ("a", "c")) == (("a", "192.0.2.1/32"), ("a", "192.0.2.2/32"))
