"""The daemon's event sources, each in the form its loop waits on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from byway_systemd.core.config import GATE_CGROUP, HOLDER_CGROUP, Profile
from byway_systemd.core.users import USERS_CGROUP
from byway_systemd.system.cgroups import MOUNT
from byway_systemd.system.file_events import FileEvents, watched_files
from byway_systemd.system.netlink_events import (
    NFTABLES_EVENTS,
    ROUTING_EVENTS,
    EventGroups,
    drain,
    left,
    open_event_socket,
)
from byway_systemd.system.process_events import ExecEvents, LostEventsError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from byway_systemd.core.observed import Observed
    from byway_systemd.core.traffic import Traffic

_DEPTHS = range(4)  # of slices in slices
_MOST_LOOKS = 5  # while somebody goes on making directories, who is told of again


class NetworkSource:
    """Changes of links, addresses, routes, rules or nftables."""

    def __init__(self, groups: EventGroups) -> None:
        """Subscribe to ``groups``; raise OSError."""
        self._groups = groups
        self._events = open_event_socket(groups)

    def paused(self) -> AbstractContextManager[None]:
        """Be told nothing until the end of the block: who uses it looks anew afterwards."""
        return left(self._events, self._groups)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._events.fileno()

    def drain(self) -> bool:
        """Read all; return whether anything changed or events were lost."""
        found = drain(self._events)
        return found.lost or bool(found.kinds)


class ExecSource:
    """Exec events of the proc connector."""

    def __init__(self) -> None:
        """Subscribe; raise OSError."""
        self._events = ExecEvents()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._events.fileno()

    def read(self) -> list[int] | None:
        """Return pids, or None when events were lost."""
        try:
            return self._events.read()
        except LostEventsError:
            return None


class FileSource:
    """Changes of files: the configuration and what it lists, or the cgroups of slices."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        """Watch ``paths`` (each part may be a pattern) from now on."""
        self._events = FileEvents()
        self._paths = paths
        self._watch()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._events.fileno()

    def drain(self) -> bool:
        """Read all; return whether there was a change. A directory made anew is watched again."""
        changed = self._events.drain()
        if changed:
            self._watch()
        return changed

    def _watch(self) -> None:
        """Watch until there is no more: what came between a look and its watch was not told."""
        for _ in range(_MOST_LOOKS):
            if not self._events.watch(self._paths):
                return

    def watch_cgroups(self, traffic: Traffic) -> None:
        """Watch for the cgroups that are forced to a side, those that are not there yet too."""
        named = (f"{'/*.slice' * depth}/{n}" for n in traffic.bare_names for depth in _DEPTHS)
        paths = (cgroup for cgroup in traffic.cgroups if cgroup.startswith("/"))
        self._paths = tuple(dict.fromkeys((*self._paths, *_below_mount((*paths, *named)))))
        self._watch()

    def watch_executables(self, observed: Observed) -> None:
        """Watch where the listed programs are, so that a new or upgraded one is seen."""
        self._events.watch(watched_files(observed.executables))


def open_exec_source() -> tuple[ExecSource | None, str]:
    """Return the source and an empty text, or None and why there is none."""
    try:
        return ExecSource(), ""
    except OSError as error:
        return None, f"not available: {error.strerror}; scanned by the timer instead"


def open_network_sources() -> tuple[NetworkSource, NetworkSource, FileSource]:
    """Return the sources of changes of routing, of nftables and of cgroups; raise OSError.

    A slice that is made anew has a new cgroup id; inotify tells, as cgroups are made by mkdir(2).
    """
    top = Profile().slice_cgroup
    paths = _below_mount((top, f"{top}/byway-*.slice", f"{GATE_CGROUP}/*"))
    return NetworkSource(ROUTING_EVENTS), NetworkSource(NFTABLES_EVENTS), FileSource(paths)


def open_user_source() -> FileSource:
    """Return the source of the same changes in users' managers, which come and go."""
    manager, top = f"{USERS_CGROUP}/user-*.slice/user@*.service", Profile().slice_cgroup
    return FileSource(
        _below_mount((f"{manager}{top}/byway-*.slice", f"{manager}{HOLDER_CGROUP}/*"))
    )


def _below_mount(cgroups: Iterable[str]) -> tuple[Path, ...]:
    return tuple(Path(f"{MOUNT}{cgroup}") for cgroup in cgroups)
