"""What byway keeps below /run/byway: saved sysctls, adopted cgroups, its pid, the last status."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from byway_systemd.system.files import STATE, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

_SYSCTLS = "sysctls.json"
_STATUS = "status.json"
_ACTIVE = "active"
_PID = "daemon.pid"
_CGROUPS = "cgroups.json"
_PLACEMENTS = "placements.json"


class State:
    """The directory /run/byway below a root."""

    def __init__(self, root: Path) -> None:
        """Use ``root``/run/byway."""
        self._directory = root / STATE

    def saved_sysctls(self) -> dict[str, str]:
        """Return what byway found in the sysctls it changed."""
        saved = self._read(_SYSCTLS)
        return {str(key): str(value) for key, value in saved.items()}

    def save_sysctl(self, key: str, value: str) -> None:
        """Remember what stood in a sysctl."""
        self._write(_SYSCTLS, {**self.saved_sysctls(), key: value})

    def forget_sysctl(self, key: str) -> None:
        """Forget a sysctl that was set back."""
        saved = self.saved_sysctls()
        saved.pop(key, None)
        if saved:
            self._write(_SYSCTLS, saved)
        else:
            (self._directory / _SYSCTLS).unlink(missing_ok=True)

    def cgroups(self) -> tuple[str, ...]:
        """Return the cgroups outside of the slices that carry something of byway's."""
        return tuple(sorted(self._read(_CGROUPS)))

    def remember_cgroup(self, cgroup: str) -> None:
        """Remember a cgroup before something is put on it: nobody could find it again."""
        known = self._read(_CGROUPS)
        if cgroup not in known:
            self._write(_CGROUPS, {**known, cgroup: True})

    def forget_cgroup(self, cgroup: str) -> None:
        """Forget a cgroup that carries nothing any more, or has gone."""
        known = self._read(_CGROUPS)
        if known.pop(cgroup, False):
            self._write(_CGROUPS, known)

    def placements(self, uid: int, manager: int | None) -> str:
        """Return the digest of the drop-ins that a user's manager was last made to read.

        ``manager`` is the id of its cgroup: the next one of that user has read them all.
        """
        known = self._read(_PLACEMENTS).get(str(uid))
        return str(known[1]) if isinstance(known, list) and known[0] == manager else ""

    def remember_placements(self, uid: int, manager: int | None, digest: str) -> None:
        """Remember that it was."""
        self._write(_PLACEMENTS, {**self._read(_PLACEMENTS), str(uid): [manager, digest]})

    def read_status(self) -> dict[str, Any]:
        """Return what the daemon last published, empty when it does not run."""
        return self._read(_STATUS)

    def publish_status(self, status: dict[str, Any]) -> None:
        """Publish the daemon's status for everyone to read."""
        self._write(_STATUS, status)

    def enter(self) -> None:
        """Say that byway is active and which process the daemon is."""
        write_atomically(self._directory / _ACTIVE, "")
        write_atomically(self._directory / _PID, f"{os.getpid()}\n")

    def touch(self) -> None:
        """Say that the daemon is alive: the reconcile service looks at the time of this file."""
        with suppress(OSError):
            os.utime(self._directory / _PID)

    def leave(self) -> None:
        """Remove everything but the directory."""
        for name in (_ACTIVE, _PID, _STATUS, _SYSCTLS, _CGROUPS, _PLACEMENTS):
            (self._directory / name).unlink(missing_ok=True)

    def daemon_pid(self) -> int:
        """Return the running daemon's pid, 0 when there is none."""
        try:
            pid = int((self._directory / _PID).read_text())
            with open(f"/proc/{pid}/comm", "rb") as file:  # noqa: PTH123
                return pid if file.read().startswith((b"byway", b"python")) else 0
        except (OSError, ValueError):
            return 0

    def _read(self, name: str) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            value = json.loads((self._directory / name).read_text())
            if isinstance(value, dict):
                return value
        return {}

    def _write(self, name: str, value: dict[str, Any]) -> None:
        write_atomically(self._directory / name, json.dumps(value))
