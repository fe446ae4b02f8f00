"""Names of routing tables, where ip(8) looks for them (lib/rt_names.c of iproute2)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# What the distribution has (iproute2 6.5 and 6.6 in lib, later ones in share), then what counts.
_FOLDERS = tuple(Path(top, "iproute2") for top in ("/usr/lib", "/usr/share", "/etc"))


def find_table(name: str, folders: tuple[Path, ...] = _FOLDERS) -> int | None:
    """Return the number of the table that is registered as ``name``, or None.

    ``folders`` hold a file ``rt_tables`` and a folder ``rt_tables.d``; a later one's entry counts.
    """
    found = None
    for folder in folders:
        for path in (folder / "rt_tables", *sorted((folder / "rt_tables.d").glob("*.conf"))):
            found = next((number for other, number in _entries(path) if other == name), found)
    return found


def _entries(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (name, number) of a file's lines; none if it cannot be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if len(words) == 2:
            try:
                yield words[1], int(words[0], 0)
            except ValueError:
                continue
