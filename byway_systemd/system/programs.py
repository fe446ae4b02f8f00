"""The programs that run, as anybody may be told: executables and users, no command lines."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache

from byway_systemd.core.programs import RunningProgram
from byway_systemd.system.candidates import user_name
from byway_systemd.system.processes import identify

_DELETED = " (deleted)"


def observe_programs(proc: str = "/proc") -> tuple[RunningProgram, ...]:
    """Return every process with its executable, where that is still the file at its path.

    Kernel threads have none, and one of a container has another file there, or nothing.
    """
    name_of = lru_cache(maxsize=None)(lambda uid: user_name(uid) or str(uid))
    is_at = lru_cache(maxsize=None)(_is_at)
    found = []
    for entry in os.listdir(proc):  # noqa: PTH208 - thousands
        if entry.isdigit():
            with suppress(OSError):  # a kernel thread, or it has ended meanwhile
                path = os.readlink(f"{proc}/{entry}/exe")  # noqa: PTH115
                if not path.endswith(_DELETED) and is_at(path, identify(f"{proc}/{entry}/exe")):
                    uid = os.stat(f"{proc}/{entry}").st_uid  # noqa: PTH116
                    found.append(RunningProgram(path, int(entry), name_of(uid)))
    return tuple(found)


def _is_at(path: str, file: tuple[int, int]) -> bool:
    try:
        return identify(path) == file
    except (OSError, ValueError):
        return False
