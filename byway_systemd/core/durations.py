"""Durations as Go writes them: ``5s``, ``1m30s``, ``500ms``, ``1.5h``, ``0``."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5, micro sign
    "μs": 10**3,  # U+03BC, Greek mu
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = 366 * 24 * 3600 * 10**6
_SHORTEST = 100_000


def parse_duration(text: str) -> int:
    """Return the duration in microseconds.

    Raises ValueError with what is wrong. ``"0"`` is the only form without a unit, as in Go's
    time.ParseDuration; negative durations and those over a year are refused, and so is anything
    above zero that is shorter than 100 ms, which would be a busy loop.
    """
    if text == "0":
        return 0
    microseconds = _sum_parts(text) / 1000
    if microseconds > _LONGEST:  # infinity too, which could not be rounded
        raise ValueError(f"longer than a year: {text!r}")
    if 0 < microseconds < _SHORTEST:
        raise ValueError(f"shorter than 100ms: {text!r}")
    return round(microseconds)


def _sum_parts(text: str) -> float:
    if text.startswith("-"):
        raise ValueError(f"negative duration: {text!r}")
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise ValueError(f"a duration without a unit: {text!r}")
    nanoseconds, end = 0.0, 0
    for part in _PART.finditer(text):
        if part.start() != end:
            break
        nanoseconds += float(part[1]) * _UNITS[part[2]]
        end = part.end()
    if end != len(text) or not text:
        raise ValueError(f"not a duration: {text!r}")
    return nanoseconds


def render_duration(microseconds: int) -> str:
    """Return the duration as Go and systemd both read it: ``1m30s`` is ``1m30s``, 0 is ``0``."""
    if microseconds == 0:
        return "0"
    parts = []
    for unit, size in (("h", 3600 * 10**6), ("m", 60 * 10**6), ("s", 10**6), ("ms", 1000)):
        count, microseconds = divmod(microseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    if microseconds:
        parts.append(f"{microseconds}us")
    return "".join(parts)
