"""The desktop entries of a machine and its users, where launchers look for them.

Whoever owns a home directory writes what is in it: nothing there is more than a name that is
compared, and only regular files of a bounded size and number are read.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from byway_systemd.core.apps import App, AppKind, RefusedError, parse_app
from byway_systemd.core.desktop_entries import find_desktop_ids, parse_desktop_entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from byway_systemd.core.desktop_entries import DesktopEntry

# In the order of XDG_DATA_HOME and XDG_DATA_DIRS, as flatpak and snapd extend these.
_OF_USERS = (".local/share", ".local/share/flatpak/exports/share")
_OF_SYSTEM = (
    "var/lib/flatpak/exports/share",
    "usr/local/share",
    "usr/share",
    "var/lib/snapd/desktop",
)
_MOST_ENTRIES = 5000
_LARGEST_ENTRY = 256 * 1024  # translations
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/games:/usr/local/games"


def desktop_apps(
    program: str, root: Path = Path("/"), homes: Iterable[Path] = ()
) -> tuple[App, ...]:
    """Return the desktop apps that start ``program``, by its full path, for any of the users.

    ``homes`` are these users' home directories. An ID that could not be listed is left out.
    """
    shared = tuple(_entries(root / directory for directory in _OF_SYSTEM))
    found: set[str] = set(find_desktop_ids(shared, program, _resolve))
    for home in homes:
        own = tuple(_entries(home / directory for directory in _OF_USERS))
        if own:
            found.update(find_desktop_ids((*own, *shared), program, _resolve))
    return tuple(_listable(sorted(found)))


def _listable(identifiers: Iterable[str]) -> Iterator[App]:
    for identifier in identifiers:
        with suppress(RefusedError):
            yield parse_app(f"{AppKind.DESKTOP}:{identifier}.desktop")


def _entries(shares: Iterable[Path]) -> Iterator[DesktopEntry]:
    for share in shares:
        top = share / "applications"
        for path in _entry_files(top):
            text = _read(path)
            if text is not None:
                yield parse_desktop_entry(str(path.relative_to(top)), text)


def _entry_files(top: Path) -> list[Path]:
    found: list[Path] = []
    for directory, _, names in os.walk(top):
        found += (Path(directory, name) for name in names if name.endswith(".desktop"))
        if len(found) > _MOST_ENTRIES:
            break
    return sorted(found)[:_MOST_ENTRIES]


def _read(path: Path) -> str | None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return file.read(_LARGEST_ENTRY).decode(errors="replace")
    return None


def _resolve(program: str) -> str:
    """Return the file that Exec= means by ``program``; the name itself when there is none."""
    found = program if "/" in program else shutil.which(program, path=_PATH)
    return os.path.realpath(found) if found else program
