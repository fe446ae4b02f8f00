"""A tree with a system's units and byway's, for systemd-analyze to look at."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

UNITS = Path(__file__).parents[1] / "units"
SYSTEM_UNITS = "usr/lib/systemd/system"
USER_UNITS = "usr/lib/systemd/user"
_PROGRAMS = ("usr/bin/byway", "usr/lib/byway/bin/byway-poke", "usr/bin/kill", "usr/bin/systemctl")


def lay_out_units(root: Path) -> Path:
    """Put the host's units, byway's and stand-ins for its programs below ``root``; return where."""
    units = root / SYSTEM_UNITS
    shutil.copytree(f"/{SYSTEM_UNITS}", units, symlinks=True)
    for path in UNITS.iterdir():
        if re.search(r"\.(service|slice|socket|timer|path|target)$", path.name):
            text = path.read_text()
            if systemd_version() < 253:  # a line of its own for those: see byway.service
                text = text.replace("Type=notify-reload\n", "")
            (units / path.name).write_text(text)
    for program in _PROGRAMS:
        place_program(root / program)
    return units


def lay_out_user_units(root: Path) -> Path:
    """Put the host's units of user managers and byway's below ``root``; return where."""
    units = root / USER_UNITS
    shutil.copytree(f"/{USER_UNITS}", units, symlinks=True)
    for path in (UNITS / "user").iterdir():
        if path.is_file():
            shutil.copyfile(path, units / path.name)
    return units


def place_program(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def systemd_version() -> int:
    shown = subprocess.run(["systemd-analyze", "--version"], capture_output=True, check=True)
    return int(shown.stdout.split()[1])


def verify(root: Path, *units: str) -> str:
    """Return what systemd-analyze complains of, empty when all is well."""
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=one", f"--root={root}"]
    done = subprocess.run([*command, *units], capture_output=True, text=True, check=False)
    return _complaint(done)


def verify_user(root: Path, *units: str) -> str:
    """Return what systemd-analyze complains of in a user's manager that reads only ``root``.

    It knows no --root for these: the programs must be the host's.
    """
    directories = (root / "generated", root / USER_UNITS)
    command = ["systemd-analyze", "verify", "--user", "--man=no", "--recursive-errors=one"]
    done = subprocess.run(
        [*command, *units], capture_output=True, text=True, check=False, cwd=root,
        env={
            **os.environ,
            "HOME": str(root),
            "XDG_RUNTIME_DIR": str(root),
            "SYSTEMD_UNIT_PATH": ":".join(map(str, directories)),
        },
    )  # fmt: skip
    return _complaint(done)


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr or (f"exit code {done.returncode}" if done.returncode else "")
