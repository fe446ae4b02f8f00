"""fanotify(7) permission events on exec, by ctypes: no maintained package covers them.

Structures and flags are those of include/uapi/linux/fanotify.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_mark.argtypes = (
    ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p,
)  # fmt: skip

_CLOEXEC, _NONBLOCK, _CLASS_CONTENT = 0x1, 0x2, 0x4
_UNLIMITED_QUEUE, _UNLIMITED_MARKS, _REPORT_PIDFD = 0x10, 0x20, 0x80
_MARK_ADD, _MARK_REMOVE = 0x1, 0x2
_OPEN_EXEC_PERM = 0x40000
_ALLOW = 1
_AT_FDCWD = -100
_INFO_TYPE_PIDFD = 4

_METADATA = struct.Struct("=IBBHQii")
_INFORMATION = struct.Struct("=BBHi")
_RESPONSE = struct.Struct("=iI")
_ONE = _METADATA.size + _INFORMATION.size  # bytes: room for one event with its pidfd


@dataclass(frozen=True, slots=True)
class HeldExec:
    """An exec that waits for an answer. ``pid`` is 0 and ``pidfd`` -1 from another namespace."""

    descriptor: int
    pid: int
    pidfd: int


class ExecPermission:
    """A fanotify group that holds the exec of marked files."""

    def __init__(self) -> None:
        """Create the group; raise OSError where fanotify or CAP_SYS_ADMIN is missing."""
        flags = _CLASS_CONTENT | _CLOEXEC | _NONBLOCK | _REPORT_PIDFD
        flags |= _UNLIMITED_QUEUE | _UNLIMITED_MARKS
        self._group = _libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC | os.O_LARGEFILE)
        if self._group < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"fanotify cannot be used: {os.strerror(number)}")

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return int(self._group)

    def close(self) -> None:
        """Release every held exec and all marks."""
        os.close(self._group)

    def mark(self, path: str) -> None:
        """Hold the exec of the file at ``path`` (by inode); raise OSError."""
        self._change(_MARK_ADD, _OPEN_EXEC_PERM, path.encode(errors="surrogateescape"))

    def unmark(self, path: str) -> None:
        """Hold the exec of the file at ``path`` no more; raise OSError."""
        self._change(_MARK_REMOVE, _OPEN_EXEC_PERM, path.encode(errors="surrogateescape"))

    def read(self) -> Iterator[HeldExec]:
        """Yield the execs that wait; ``allow`` each before the next is asked for.

        One at a time: an event has two descriptors, and when there is no free one the kernel denies
        the exec (copy_event_to_user() in fs/notify/fanotify/fanotify_user.c).
        """
        while True:
            try:
                event = os.read(self._group, _ONE)
            except BlockingIOError:
                return
            _, _, _, header, _, descriptor, pid = _METADATA.unpack_from(event)
            pidfd = -1
            if len(event) >= header + _INFORMATION.size:
                kind, _, _, value = _INFORMATION.unpack_from(event, header)
                pidfd = value if kind == _INFO_TYPE_PIDFD else -1
            yield HeldExec(descriptor, pid, pidfd)

    def allow(self, held: HeldExec) -> None:
        """Let the exec go on, and close what came with it."""
        try:
            if held.descriptor >= 0:
                os.write(self._group, _RESPONSE.pack(held.descriptor, _ALLOW))
        finally:
            for descriptor in (held.descriptor, held.pidfd):
                if descriptor >= 0:
                    os.close(descriptor)

    def _change(self, action: int, mask: int, path: bytes) -> None:
        if _libc.fanotify_mark(self._group, action, mask, _AT_FDCWD, path):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fsdecode(path))
