"""What ``apps`` could list: programs that run, and apps that are installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from byway_systemd.core.apps import AppKind, RefusedError, parse_app
from byway_systemd.core.desktop_entries import present_entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from byway_systemd.core.desktop_entries import DesktopEntry


@dataclass(frozen=True, slots=True)
class RunningProgram:
    """The executable of one process, and the name of its user."""

    path: str
    pid: int
    user: str


@dataclass(frozen=True, slots=True)
class Installed:
    """The apps that have desktop entries, and the files of the icons that these name."""

    entries: tuple[DesktopEntry, ...]
    icons: Mapping[str, tuple[str, ...]]


def build_programs(running: Iterable[RunningProgram], installed: Installed) -> dict[str, Any]:
    """Return programs and apps as a JSON value, sorted by what they are called."""
    programs: dict[str, list[RunningProgram]] = {}
    for one in running:
        if one.path in programs or _can_be_listed(one.path):
            programs.setdefault(one.path, []).append(one)
    entries = sorted(installed.entries, key=lambda entry: (entry.name.casefold(), entry.identifier))
    return {
        "programs": [
            {
                "program": path,
                "pids": sorted(one.pid for one in found),
                "users": sorted({one.user for one in found}),
            }
            for path, found in sorted(programs.items())
        ],
        "desktop": [present_entry(entry, installed.icons) for entry in entries],
    }


def _can_be_listed(path: str) -> bool:
    try:
        return parse_app(path).kind is AppKind.PATH
    except RefusedError:
        return False
