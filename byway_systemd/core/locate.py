"""Where a value stands in a TOML file: tomli tells what is there, but not where.

One pass over the text, however many places are asked for: a file may have thousands of errors, and
systemd's generator, which reports them, keeps PID 1 waiting.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import tomli

Path = tuple[str | int, ...]

_TOKEN = re.compile(
    r'"{3}(?:\\.|[^\\])*?"{3,5}'
    r"|'{3}.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|\n|[][{},=]"
    r"|[^][{},=\s#\"']+",
    re.DOTALL,
)


def locate_line(text: str, path: Path) -> int:
    """Return the line (from 1) of the value at ``path`` or of what holds it, 0 if it is not there.

    ``text`` must be valid TOML.
    """
    lines = _locate_all(text)
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


@lru_cache(maxsize=4)
def _locate_all(text: str) -> dict[Path, int]:
    walk = _Walk()
    line, end = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", end, match.start())
        if not match[0].startswith("#"):
            walk.step(match[0], line)
        end = match.start()
    return walk.lines


class _Walk:
    """The state of the pass: in a header, in a key, or in a value with what is open around it."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self._table: Path = ()
        self._name = ""  # the key or header read so far
        self._brackets = 0  # in a header: [a] has two, [[a]] four
        self._elements: dict[Path, int] = {}  # of arrays of tables, so far
        self._in_value = False
        self._open: list[tuple[str, Path]] = []  # a bracket and the path of its next element

    def step(self, piece: str, line: int) -> None:
        """Take the next piece."""
        if self._in_value:
            self._step_value(piece, line)
        elif piece == "\n":
            if self._brackets:
                self._table = self._note_header(line)
            self._brackets, self._name = 0, ""
        elif piece == "=":
            self._open = [("", self._note(self._table, line))]
            self._in_value, self._name = True, ""
        elif piece in "[]":
            self._brackets += 1
        else:
            self._name += piece

    def _step_value(self, piece: str, line: int) -> None:
        bracket, path = self._open[-1]
        if piece == "\n":
            self._in_value = len(self._open) > 1
        elif piece in "]}":
            self._open.pop()
        elif piece == "," and bracket == "[":
            self._open[-1] = (bracket, (*path[:-1], int(path[-1]) + 1))
        elif piece not in ",=":
            if bracket != "{":
                self.lines.setdefault(path, line)
            if piece in "[{":
                self._open.append((piece, (*path, 0)))

    def _note_header(self, line: int) -> Path:
        path = self._note((), line)
        if self._brackets <= 2:
            return path
        self._elements[path] = self._elements.get(path, -1) + 1
        path = (*path, self._elements[path])
        self.lines[path] = line
        return path

    def _note(self, above: Path, line: int) -> Path:
        """Note the line of the key just read, and of every table it names; return its path."""
        found: Any = tomli.loads(f"{self._name} = 0")
        path = above
        while isinstance(found, dict):
            key, found = next(iter(found.items()))
            path = (*path, key)
            self.lines.setdefault(path, line)
        return path
