"""Desktop entries: which of them start a program (Desktop Entry Specification 1.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SUFFIX = ".desktop"
_ESCAPES = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
# A word of Exec=: plain, or in double quotes, where a backslash stands before " ` $ and itself.
_WORD = re.compile(r'\s*(?:"((?:\\.|[^"\\])*)"|([^\s"]+))(?=\s|$)', re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True, slots=True)
class DesktopEntry:
    """An app's entry: its ID, and the programs that Exec= and TryExec= name, as they stand there.

    ``hidden`` says that it only hides another one with its ID.
    """

    identifier: str
    programs: tuple[str, ...] = ()
    hidden: bool = False


def parse_desktop_entry(path: str, text: str) -> DesktopEntry:
    """Return the entry; ``path`` is the file's below an ``applications`` directory."""
    identifier = path.removesuffix(_SUFFIX).replace("/", "-")
    keys = _read_keys(text)
    if keys.get("Hidden") == "true" or keys.get("Type", "Application") != "Application":
        return DesktopEntry(identifier, hidden=True)
    programs = (_first_program(_unescape(keys.get("Exec", ""))), _unescape(keys.get("TryExec", "")))
    return DesktopEntry(
        identifier, tuple(dict.fromkeys(program for program in programs if program))
    )


def find_desktop_ids(
    entries: Iterable[DesktopEntry], program: str, resolve: Callable[[str], str]
) -> tuple[str, ...]:
    """Return the IDs of the entries that start ``program``, sorted.

    ``entries`` are in order of precedence: of several with one ID the first counts. ``resolve``
    returns the file that a program's name or path means, links followed.
    """
    first: dict[str, DesktopEntry] = {}
    for entry in entries:
        first.setdefault(entry.identifier, entry)
    wanted = resolve(program)
    return tuple(
        sorted(
            entry.identifier
            for entry in first.values()
            if not entry.hidden and wanted in map(resolve, entry.programs)
        )
    )


def _read_keys(text: str) -> dict[str, str]:
    """Return the keys of the entry itself, not of its actions."""
    keys: dict[str, str] = {}
    group = ""
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped.startswith("["):
            group = stripped
        elif group == "[Desktop Entry]" and not stripped.startswith("#"):
            key, equals, value = stripped.partition("=")
            if equals:
                keys.setdefault(key.rstrip(), value.lstrip())
    return keys


def _unescape(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), value)


def _first_program(command: str) -> str:
    """Return the program of an Exec= line: its first word, but for env(1) and what it sets."""
    position, behind_env = 0, False
    while match := _WORD.match(command, position):
        position = match.end()
        word = match[2] if match[1] is None else re.sub(r'\\(["`$\\])', r"\1", match[1])
        if word.rpartition("/")[2] == "env" and not behind_env:
            behind_env = True
        elif not (behind_env and _ASSIGNMENT.match(word)):
            return word
    return ""
