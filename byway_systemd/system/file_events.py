"""inotify(7): which directories changed.

Python has no inotify of its own; pyroute2's cannot be waited on in an event loop.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _ATTRIB = 0x400, 0x800, 0x4
_CHANGES = (
    _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ATTRIB
)


class FileEvents:
    """Changes in a set of directories."""

    def __init__(self) -> None:
        """Create the inotify instance; raise OSError."""
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify cannot be used")

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return int(self._descriptor)

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)

    def watch(self, directories: Iterable[Path]) -> None:
        """Watch these directories, and the nearest existing one above each that does not exist."""
        for directory in directories:
            nearest = directory
            while not nearest.is_dir():
                nearest = nearest.parent
            _libc.inotify_add_watch(self._descriptor, os.fsencode(nearest), _CHANGES)

    def drain(self) -> bool:
        """Read all events; return whether there was one."""
        seen = False
        with suppress(BlockingIOError):
            while os.read(self._descriptor, 65536):
                seen = True
        return seen
