"""What the API looks at besides the daemon: each piece is imported when it is asked for first.

The daemon itself needs none of them, and most clients neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from byway_systemd.api.service import Outside

if TYPE_CHECKING:
    from pathlib import Path

    from byway_systemd.api.service import Running
    from byway_systemd.core.canary_report import Sighting, Trial
    from byway_systemd.core.counters import Carried
    from byway_systemd.core.observed import Executable
    from byway_systemd.core.programs import Installed, RunningProgram


def look_outside(root: Path) -> Outside:
    """Return the API's looks at the machine whose files are below ``root``."""

    def has_unit(name: str) -> bool:
        from byway_systemd.system import unit_names  # noqa: PLC0415

        return unit_names.has_unit(name, root)

    def observe_installed() -> Installed:
        from byway_systemd.system import desktop_entries  # noqa: PLC0415

        return desktop_entries.observe_installed(str(root))

    def read_icon(paths: tuple[str, ...]) -> tuple[str, bytes] | None:
        from byway_systemd.system import desktop_entries  # noqa: PLC0415

        return desktop_entries.read_icon(paths, str(root))

    return Outside(
        observe_running=_observe_running,
        send_canaries=_send_canaries,
        has_unit=has_unit,
        observe_programs=_observe_programs,
        observe_installed=observe_installed,
        observe_carried=_observe_carried,
        read_icon=read_icon,
    )


def _observe_running() -> Running:
    from byway_systemd.system.candidates import observe_running  # noqa: PLC0415

    return observe_running()


def _observe_programs() -> tuple[RunningProgram, ...]:
    from byway_systemd.system.programs import observe_programs  # noqa: PLC0415

    return observe_programs()


def _observe_carried(places: tuple[str, ...], executables: tuple[Executable, ...]) -> Carried:
    from byway_systemd.system.connections import observe_carried  # noqa: PLC0415

    return observe_carried(places, executables)


def _send_canaries(trial: Trial) -> tuple[Sighting, ...]:
    from byway_systemd.system.canaries import send_canaries  # noqa: PLC0415

    return send_canaries(trial)
