"""inotify(7): which files changed.

Python has no inotify of its own; pyroute2's cannot be waited on in an event loop.
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from byway_systemd.core.observed import Executable

_libc = ctypes.CDLL(None, use_errno=True)
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _ATTRIB, _IGNORED = 0x400, 0x800, 0x4, 0x8000
_MOST_NAMES = 10_000  # of one directory that a pattern stands for
_EVENT = struct.Struct("=iIII")
_CHANGES = (
    _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ATTRIB
)


class FileEvents:
    """Changes of chosen names in a set of directories."""

    def __init__(self) -> None:
        """Create the inotify instance; raise OSError."""
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify cannot be used")
        self._patterns: dict[int, set[str]] = {}

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return int(self._descriptor)

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)

    def watch(self, paths: Iterable[Path]) -> bool:
        """Watch for changes of these paths; return whether there was more to watch than before.

        Each part of a path may be a pattern (fnmatch(3)). Of a path whose directory does not exist
        (yet), the nearest one above it is watched.
        """
        before = sum(map(len, self._patterns.values()))
        for path in paths:
            for directory, pattern in _places(path):
                number = _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _CHANGES)
                if number >= 0:
                    self._patterns.setdefault(number, set()).add(pattern)
        return sum(map(len, self._patterns.values())) > before

    def drain(self) -> bool:
        """Read all events; return whether one was of a name that is watched for."""
        seen = False
        with suppress(BlockingIOError):
            while buffer := os.read(self._descriptor, 65536):
                for number, mask, name in _events(buffer):
                    seen = seen or self._matters(number, name)
                    if mask & _IGNORED:  # the directory has gone, and no other gets its number
                        self._patterns.pop(number, None)
        return seen

    def _matters(self, number: int, name: str) -> bool:
        if not name:  # of the directory itself, or events were lost
            return True
        return any(fnmatchcase(name, pattern) for pattern in self._patterns.get(number, ()))


def _events(buffer: bytes) -> Iterator[tuple[int, int, str]]:
    offset = 0
    while offset < len(buffer):
        number, mask, _, length = _EVENT.unpack_from(buffer, offset)
        offset += _EVENT.size
        yield number, mask, os.fsdecode(buffer[offset : offset + length].rstrip(b"\0"))
        offset += length


def _places(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (directory that exists, name or pattern in it) where ``path`` can begin to be."""
    directories = ["/"]
    *above, last = path.parts[1:]
    for part in above:
        below: list[str] = []
        for directory in directories:
            if _is_pattern(part):
                yield directory, part
                below += (f"{directory}/{name}" for name in _names(directory, part))
            elif os.path.isdir(f"{directory}/{part}"):  # noqa: PTH112
                below.append(f"{directory}/{part}")
            else:
                yield directory, part
        directories = below
    for directory in directories:
        yield directory, last


def _names(directory: str, pattern: str) -> Iterator[str]:
    """Yield the directories in ``directory`` that match, as glob(7) does: hidden ones do not."""
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in islice(entries, _MOST_NAMES):
            hidden = entry.name.startswith(".") and not pattern.startswith(".")
            if not hidden and fnmatchcase(entry.name, pattern) and entry.is_dir():
                yield entry.name


def _is_pattern(part: str) -> bool:
    return any(character in part for character in "*?[")


def watched_files(executables: tuple[Executable, ...]) -> set[Path]:
    """Return the paths at which a listed program can appear, be replaced or come to be another."""
    named = {path for e in executables for path in (e.path, e.real_path, e.app.value) if path}
    links = {link for e in executables if e.path for link in _links(e.path)}
    return {Path(path) for path in named | links}


def _links(path: str) -> Iterator[str]:
    """Yield every symbolic link on the way from ``path`` to the file (path_resolution(7))."""
    parts, found, most = path.split("/"), "", 40
    while parts and most:
        part = parts.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            found = found.rpartition("/")[0]
            continue
        found += f"/{part}"
        with suppress(OSError):
            target = os.readlink(found)  # noqa: PTH115
            yield found
            most -= 1
            found = "" if target.startswith("/") else found.rpartition("/")[0]
            parts[:0] = target.split("/")
