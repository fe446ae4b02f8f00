"""Kernel settings under /proc/sys (sysctl(8)), by path: ``net/ipv4/conf/wwan0/rp_filter``.

Paths rather than dotted names: an interface name may hold dots.
"""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/proc/sys")


def observe_sysctl(path: str, root: Path = _ROOT) -> str | None:
    """Return the value of ``path`` without its line end, or None when there is no such setting.

    Raise ValueError for a path that is not below ``root``, and OSError when it cannot be read.
    """
    try:
        return _locate(path, root).read_text(encoding="ascii").rstrip("\n")
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_sysctl(path: str, value: str, root: Path = _ROOT) -> None:
    """Set ``path`` to ``value``. Raise ValueError as above, and OSError when it is refused."""
    location = _locate(path, root)
    # Not write_text: it would create a file under a root that is not procfs.
    with location.open("r+", encoding="ascii") as setting:
        setting.write(value + "\n")


def _locate(path: str, root: Path) -> Path:
    """Return where ``path`` stands, refusing what would leave ``root``."""
    parts = path.split("/")
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise ValueError(f"not a path below {root}: {path!r}")
    return root.joinpath(*parts)
