"""The files that the configuration's apps name."""

from __future__ import annotations

import glob
import os
import stat
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from byway_systemd.core.apps import App, AppKind, parse_app
from byway_systemd.core.observed import Executable, FileState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from byway_systemd.core.config import Profile

_MOST_MATCHES = 1000
# One file under many names: selecting one of them would select all.
_MULTI_CALL = frozenset(("snap", "busybox", "toybox", "coreutils"))
# Moving a process takes the manager and the bus. Were byway's own interpreter listed, the daemon
# would be in the slice itself, and so would the generators that systemd waits for.
_ESSENTIAL = frozenset(("systemd", "systemd-executor", "dbus-daemon", "dbus-broker"))

_FOLDERS = ("/usr/bin", "/bin", "/usr/lib/systemd")


def observe_executables(profiles: Sequence[Profile]) -> tuple[Executable, ...]:
    """Return the executables the profiles' apps name, as they are now."""
    return tuple(
        observe_executable(app, profile.name, path)
        for profile in profiles
        for app in profile.apps
        if app.kind.names_files
        for path in _paths(app)
    ) + tuple(
        replace(observe_executable(app, profile.name, path), excluded=True)
        for profile in profiles
        for app in profile.apps
        for pattern in app.exclude
        for path in _paths(parse_app(pattern))
    )


def _paths(app: App) -> Iterator[str]:
    if app.kind is AppKind.PATH:
        yield app.value
        return
    matches = islice(glob.iglob(app.value), _MOST_MATCHES)  # noqa: PTH207
    programs = (path for path in matches if os.access(path, os.X_OK) and not os.path.isdir(path))  # noqa: PTH112
    yield from sorted(programs) or [app.value]


def observe_executable(app: App, profile: str, path: str) -> Executable:
    """Return the file at ``path``, links followed."""
    real_path = os.path.realpath(path)
    try:
        status = os.stat(real_path)  # noqa: PTH116
        if stat.S_ISDIR(status.st_mode):
            return Executable(app, profile, path, real_path, state=FileState.DIRECTORY)
        if not stat.S_ISREG(status.st_mode):
            return Executable(app, profile, path, real_path, state=FileState.MISSING)
        state = _refuse(real_path, status)
        if state is None:
            state = FileState.SCRIPT if _is_script(real_path) else FileState.PROGRAM
    except OSError:
        return Executable(app, profile, path, real_path, state=FileState.MISSING)
    return Executable(app, profile, path, real_path, status.st_dev, status.st_ino, state)


def _refuse(real_path: str, status: os.stat_result) -> FileState | None:
    """Return why a file cannot be selected, by its name or by being the same file."""
    name = os.path.basename(real_path)  # noqa: PTH119
    if name in _MULTI_CALL or _is_one_of(status, _MULTI_CALL):
        return FileState.SHARED
    if name in _ESSENTIAL or _is_own(real_path, status) or _is_one_of(status, _ESSENTIAL):
        return FileState.ESSENTIAL
    return None


def _is_own(real_path: str, status: os.stat_result) -> bool:
    """Whether a file is byway's interpreter, or has been put in its place since."""
    own = "/proc/self/exe"
    path = os.readlink(own).removesuffix(" (deleted)")  # noqa: PTH115
    return real_path == path or os.path.samestat(status, os.stat(own))  # noqa: PTH116


def _is_one_of(status: os.stat_result, names: frozenset[str]) -> bool:
    """Whether a file is a hard link to one of the system's programs called ``names``."""
    if status.st_nlink == 1:
        return False
    paths = (f"{folder}/{name}" for folder in _FOLDERS for name in names)
    return any(os.path.samestat(status, os.stat(p)) for p in paths if os.path.exists(p))  # noqa: PTH110, PTH116


def _is_script(path: str) -> bool:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read(2) == b"#!"
