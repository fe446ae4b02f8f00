"""inotify(7): which files changed.

Python has no inotify of its own; pyroute2's cannot be waited on in an event loop.
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from byway_systemd.core.observed import Executable

_libc = ctypes.CDLL(None, use_errno=True)
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _ATTRIB = 0x400, 0x800, 0x4
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

    def watch(self, paths: Iterable[Path]) -> None:
        """Watch for changes of these paths; the last part may be a pattern (fnmatch(3)).

        Of a path whose directory does not exist (yet), the nearest one above it is watched.
        """
        for path in paths:
            directory, pattern = path.parent, path.name
            while not directory.is_dir():
                directory, pattern = directory.parent, directory.name
            number = _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _CHANGES)
            if number >= 0:
                self._patterns.setdefault(number, set()).add(pattern)

    def drain(self) -> bool:
        """Read all events; return whether one was of a name that is watched for."""
        seen = False
        with suppress(BlockingIOError):
            while buffer := os.read(self._descriptor, 65536):
                seen = any(self._matters(number, name) for number, name in _events(buffer)) or seen
        return seen

    def _matters(self, number: int, name: str) -> bool:
        if not name:  # of the directory itself, or events were lost
            return True
        return any(fnmatchcase(name, pattern) for pattern in self._patterns.get(number, ()))


def _events(buffer: bytes) -> Iterator[tuple[int, str]]:
    offset = 0
    while offset < len(buffer):
        number, _, _, length = _EVENT.unpack_from(buffer, offset)
        offset += _EVENT.size
        yield number, os.fsdecode(buffer[offset : offset + length].rstrip(b"\0"))
        offset += length


def watched_files(executables: tuple[Executable, ...]) -> set[Path]:
    """Return the paths at which a listed program can appear or be replaced."""
    return {Path(path) for e in executables for path in (e.path, e.real_path, e.app.value) if path}
