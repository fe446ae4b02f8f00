"""Durations: Go's forms, and what must not be taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway_systemd.core.durations import parse_duration, render_duration

_YEAR = 366 * 24 * 3600 * 10**6


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("0h0m", 0),
        ("5s", 5_000_000),
        ("100ms", 100_000),
        ("1m30s", 90_000_000),
        ("1.5h", 5_400_000_000),
        ("1.s", 1_000_000),
        (".5s", 500_000),
        ("100000us", 100_000),
        ("100000\u00b5s", 100_000),
        ("100000\u03bcs", 100_000),
        ("200000000ns", 200_000),
        ("2s2s", 4_000_000),
        ("8784h", _YEAR),
    ],
)
def test_reads_what_go_reads(text: str, microseconds: int) -> None:
    assert parse_duration(text) == microseconds


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not a duration"),
        ("-1s", "negative"),
        ("-0", "negative"),
        ("5", "without a unit"),
        ("1.5", "without a unit"),
        ("00", "without a unit"),
        ("5 s", "not a duration"),
        (" 5s", "not a duration"),
        ("5s ", "not a duration"),
        ("5s\n", "not a duration"),
        ("5S", "not a duration"),
        ("5d", "not a duration"),
        ("s", "not a duration"),
        (".s", "not a duration"),
        ("1h-1s", "not a duration"),
        ("1e3s", "not a duration"),
        ("\u0665s", "not a duration"),  # ARABIC-INDIC DIGIT FIVE
        ("\uff15s", "not a duration"),  # FULLWIDTH DIGIT FIVE
        ("8785h", "longer than a year"),
        ("9" * 400 + "s", "longer than a year"),  # a float's infinity
        ("99ms", "shorter than 100ms"),
        ("1us", "shorter than 100ms"),
        ("1ns", "shorter than 100ms"),  # not 0, which would switch the timer off
        ("0.0001us", "shorter than 100ms"),
    ],
)
def test_refuses(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_duration(text)


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "0"),
        (5_000_000, "5s"),
        (90_000_000, "1m30s"),
        (100_001, "100ms1us"),
        (3600 * 10**6, "1h"),
    ],
)
def test_renders(microseconds: int, text: str) -> None:
    assert render_duration(microseconds) == text


@given(st.integers(100_000, _YEAR))
def test_what_is_rendered_reads_the_same(microseconds: int) -> None:
    assert parse_duration(render_duration(microseconds)) == microseconds


@given(st.text("0123456789.-hmsunµ", max_size=12))
def test_gives_a_duration_or_says_why_not(text: str) -> None:
    try:
        microseconds = parse_duration(text)
    except ValueError as error:
        assert repr(text) in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert microseconds == 0 or 100_000 <= microseconds <= _YEAR
