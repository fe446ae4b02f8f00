"""Whether there is a unit of a name, which anybody may look up (systemd.unit(5))."""

from __future__ import annotations

from pathlib import Path

from byway_systemd.system import cgroups

_PATHS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
_MADE = ("generator", "generator.early", "generator.late", "system.control", "transient")
_DIRECTORIES = (
    *(f"{path}/systemd/{manager}" for manager in ("system", "user") for path in _PATHS),
    *(f"run/systemd/{directory}" for directory in _MADE),
)


def has_unit(name: str, root: Path = Path("/")) -> bool:
    """Whether a unit runs, of the system's manager or a user's, or has a file in either's paths.

    Files in users' homes are not looked for. ``foo@bar.service`` may be made of ``foo@.service``.
    """
    stem, suffix = name.rpartition(".")[::2]
    template = f"{stem.partition('@')[0]}@.{suffix}" if "@" in stem else name
    files = [root / place / file for place in _DIRECTORIES for file in (name, template)]
    if any(file.is_file() or file.is_symlink() for file in files):
        return True
    if cgroups.find_named(frozenset((name,))):
        return True
    return any(cgroup.rpartition("/")[2] == name for cgroup in cgroups.user_unit_cgroups())
