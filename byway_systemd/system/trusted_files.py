"""Files that nobody but root can have put where they are, opened as such.

Root reads them for anybody who asks, so that no path may lead to what root alone may read, or to a
file system that a user answers for: each directory and each link on the way is opened by itself
(O_PATH, O_NOFOLLOW), and has to be root's and not writable for everybody.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

_PART = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MOST_LINKS = 16


def read_trusted(path: str, most: int, root: str = "/") -> bytes:
    """Return a regular file's content; raise OSError, also where it has more than ``most`` bytes.

    ``root`` is taken as it is, and absolute links start there.
    """
    with _Walk(root) as walk:
        walk.follow(path)
        descriptor = walk.open()
    try:
        content = b""
        while len(content) <= most and (part := os.read(descriptor, most + 1 - len(content))):
            content += part
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return content


def list_trusted(path: str, root: str = "/") -> list[str]:
    """Return the names in a directory, sorted; none where it is not there or not root's."""
    with suppress(OSError), _Walk(root) as walk:
        walk.follow(path)
        descriptor = walk.open(os.O_DIRECTORY)
        try:
            return sorted(os.listdir(descriptor))  # noqa: PTH208 - a descriptor
        finally:
            os.close(descriptor)
    return []


class _Walk:
    """The descriptors of the directories from the root down to where one is."""

    def __init__(self, root: str) -> None:
        self._open = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        self._links = 0

    def __enter__(self) -> _Walk:
        return self

    def __exit__(self, *_: object) -> None:
        self._go_up(0)
        os.close(self._open.pop())

    def follow(self, path: str) -> None:
        """Go along a path, and along the links on it; raise OSError."""
        left = path.split("/")[::-1]
        while left:
            part = left.pop()
            if part == "..":
                self._go_up(max(0, len(self._open) - 2))
            elif part not in ("", "."):
                self._open.append(os.open(part, _PART, dir_fd=self._open[-1]))
                left += self._examine()

    def open(self, flags: int = 0) -> int:
        """Open what the path has led to: a regular file, or with O_DIRECTORY a directory."""
        here = self._open[-1]
        wanted = stat.S_ISDIR if flags & os.O_DIRECTORY else stat.S_ISREG
        if not wanted(os.fstat(here).st_mode):
            raise OSError(errno.EINVAL, "not such a file")
        return os.open(f"/proc/self/fd/{here}", _READ | flags)

    def _examine(self) -> list[str]:
        """Raise PermissionError for what is not root's; return the parts of a link, last first."""
        here = self._open[-1]
        found = os.fstat(here)
        is_link = stat.S_ISLNK(found.st_mode)
        if found.st_uid not in (0, os.geteuid()) or (found.st_mode & stat.S_IWOTH and not is_link):
            raise PermissionError(errno.EPERM, "somebody else may have put it there")
        if not is_link:
            return []
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink("", dir_fd=here)
        self._go_up(0 if target.startswith("/") else len(self._open) - 2)
        return target.split("/")[::-1]

    def _go_up(self, depth: int) -> None:
        while len(self._open) > depth + 1:
            os.close(self._open.pop())
