"""Writing for people and for programs: tables, colour, JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def write(text: str = "") -> None:
    """Write a line to standard output."""
    sys.stdout.write(text + "\n")


def write_error(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(text + "\n")


def write_json(value: Any, form: str) -> None:
    """Write ``value`` as JSON: ``pretty`` over several lines, ``short`` on one."""
    write(json.dumps(value, indent=2 if form == "pretty" else None, ensure_ascii=False))


def paint(text: str, colour: str) -> str:
    """Return ``text`` in ``green``, ``yellow`` or ``red`` on a terminal without NO_COLOR."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{ {'green': 32, 'yellow': 33, 'red': 31}[colour] }m{text}\033[0m"


def printable(text: str) -> str:
    """Return ``text`` without what could move the cursor: process names are anybody's."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def write_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write columns as wide as what they hold."""
    lines = [heading, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        write("  ".join(cells).rstrip())
