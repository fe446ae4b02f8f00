"""The cgroup2 hierarchy: ids, members, and byway's own attributes on it.

Where byway took a process from, and for which app, is written on the cgroup it went to, as
``trusted.`` extended attributes: only root can write them, and they vanish with the cgroup.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from byway_systemd.core.config import GATE_CGROUP, GATE_SERVICE, HOLDER_CGROUP, Profile
from byway_systemd.core.errors import UnsupportedError
from byway_systemd.core.users import USERS_CGROUP, manager_cgroup, uid_of_slice

MOUNT = Path("/sys/fs/cgroup")
MOST_CGROUPS = 1000  # looked at below one
_DEEPEST_MARKER = 8  # parts of a path: what is in a user's holder
_ORIGIN = "trusted.byway.origin"
_APP = "trusted.byway.app"
_PROFILE = "trusted.byway.profile"


@dataclass(frozen=True, slots=True)
class Marker:
    """Why processes are in a cgroup: where from, and for which app."""

    origin: str
    app: str


def require_unified(mounts: str = "/proc/self/mounts") -> None:
    """Raise UnsupportedError unless /sys/fs/cgroup is the unified hierarchy."""
    for line in Path(mounts).read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[1] == str(MOUNT) and fields[2] == "cgroup2":
            return
    raise UnsupportedError(
        f"{MOUNT} is not the unified cgroup hierarchy: sockets cannot be matched by cgroup "
        "(boot with systemd.unified_cgroup_hierarchy=1)"
    )


def cgroup_id(cgroup: str) -> int | None:
    """Return the 64-bit id (the inode in kernfs) of a cgroup, None when it does not exist."""
    try:
        return os.stat(f"{MOUNT}{cgroup}").st_ino  # noqa: PTH116
    except OSError:
        return None


def cgroup_of(pid: int, proc: str = "/proc") -> str:
    """Return the cgroup of a process; empty when it is gone."""
    with suppress(OSError), open(f"{proc}/{pid}/cgroup", "rb") as file:  # noqa: PTH123
        for line in file:
            if line.startswith(b"0::"):
                return line[3:].rstrip(b"\n").decode(errors="surrogateescape")
    return ""


def members(cgroup: str, most: int = MOST_CGROUPS) -> list[tuple[int, str]]:
    """Return (pid, cgroup) of every process in ``cgroup`` and below.

    At ``most`` so many cgroups are looked at: what is below a user's manager he makes himself.
    """
    found = []
    base = f"{MOUNT}{cgroup}"
    for directory, _, _ in islice(os.walk(base), most):
        with suppress(OSError), open(f"{directory}/cgroup.procs", "rb") as file:  # noqa: PTH123
            path = directory[len(str(MOUNT)) :]
            found += [(int(line), path) for line in file]
    return found


def steered_cgroups() -> list[str]:
    """Return the cgroups that can carry a socket marker: byway's slices, the gate's, holders'."""
    top = Profile().slice_cgroup
    found = [top, *_below(top, "byway-", ".slice"), *_below(GATE_CGROUP)]
    for _, manager in user_managers():
        own = f"{manager}{top}"
        found += (own, *_below(own, "byway-", ".slice"), *_below(f"{manager}{HOLDER_CGROUP}"))
    return [cgroup for cgroup in found if cgroup_id(cgroup) is not None]


def user_managers() -> list[tuple[int, str]]:
    """Return (uid, cgroup) of the users' managers, by uid."""
    uids = (uid_of_slice(cgroup.rpartition("/")[2]) for cgroup in _below(USERS_CGROUP))
    found = ((uid, manager_cgroup(uid)) for uid in sorted(uid for uid in uids if uid is not None))
    return [(uid, cgroup) for uid, cgroup in found if cgroup_id(cgroup) is not None]


def _below(cgroup: str, prefix: str = "", suffix: str = "") -> list[str]:
    """Return the cgroups right below one, of so many as can be expected."""
    found: list[str] = []
    with suppress(OSError), os.scandir(f"{MOUNT}{cgroup}") as entries:
        directories = (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        named = (n for n in directories if n.startswith(prefix) and n.endswith(suffix))
        found += (f"{cgroup}/{name}" for name in islice(named, MOST_CGROUPS))
    return sorted(found)


def user_unit_cgroups() -> list[str]:
    """Return the cgroups of the units in users' managers that run, of so many as can be expected.

    What is below a service or a scope is no unit's.
    """
    found = []
    for _, manager in user_managers():
        for directory, names, _ in islice(os.walk(f"{MOUNT}{manager}"), MOST_CGROUPS):
            path = directory[len(str(MOUNT)) :]
            units = [name for name in names if name.endswith((".service", ".scope"))]
            found += [f"{path}/{name}" for name in units[:MOST_CGROUPS]]
            names[:] = [name for name in names if name.endswith(".slice")]
    return found


def system_unit_cgroups() -> list[str]:
    """Return the cgroups of the services and scopes in the system's slices, not in users'."""
    found = []
    for directory, below, _ in islice(os.walk(MOUNT), MOST_CGROUPS):
        path = directory[len(str(MOUNT)) :]
        found += [f"{path}/{name}" for name in below if name.endswith((".service", ".scope"))]
        below[:] = [f for f in below if f.endswith(".slice") and f"{path}/{f}" != USERS_CGROUP]
    return sorted(found)


def empty_homes() -> list[str]:
    """Return byway's cgroups in users' holders that no process is in any more.

    Only byway can have put its marker on them: what a user makes there is left alone.
    """
    holders = (f"{manager}{HOLDER_CGROUP}" for _, manager in user_managers())
    homes = (home for holder in holders for top in _below(holder) for home in _below(top))
    return [home for home in homes if _is_marked(home) and _is_empty(f"{MOUNT}{home}")]


def _is_marked(cgroup: str) -> bool:
    try:
        return bool(os.getxattr(f"{MOUNT}{cgroup}", _ORIGIN))
    except OSError:
        return False


def _is_empty(path: str) -> bool:
    try:
        return "populated 0" in Path(path, "cgroup.events").read_text()
    except OSError:
        return False


def empty_scopes(slice_cgroup: str) -> list[str]:
    """Return byway's scopes in a slice that no process is in any more."""
    found = []
    with suppress(OSError):
        for entry in os.scandir(f"{MOUNT}{slice_cgroup}"):
            named = entry.name.startswith("byway-") and entry.name.endswith(".scope")
            if named and _is_empty(entry.path):
                found.append(entry.name)
    return sorted(found)


def read_marker(cgroup: str) -> Marker | None:
    """Return byway's marker on ``cgroup`` or on the nearest cgroup above it."""
    cgroup = "/".join(cgroup.split("/")[: _DEEPEST_MARKER + 1])
    while cgroup.count("/") > 1:
        with suppress(OSError):
            path = f"{MOUNT}{cgroup}"
            origin = os.getxattr(path, _ORIGIN)
            return Marker(origin.decode(), os.getxattr(path, _APP).decode())
        cgroup = cgroup.rpartition("/")[0]
    return None


def write_marker(cgroup: str, marker: Marker) -> None:
    """Put byway's marker on a cgroup."""
    os.setxattr(f"{MOUNT}{cgroup}", _ORIGIN, marker.origin.encode(errors="surrogateescape"))
    os.setxattr(f"{MOUNT}{cgroup}", _APP, marker.app.encode(errors="surrogateescape"))


def read_profile(cgroup: str) -> str:
    """Return the profile that the open sockets of ``cgroup`` were made to follow; empty: none."""
    try:
        return os.getxattr(f"{MOUNT}{cgroup}", _PROFILE).decode()
    except OSError:
        return ""


def nearest_profile(cgroup: str) -> str:
    """Return what ``read_profile`` says of ``cgroup`` or of the nearest one above it."""
    found = ""
    while cgroup.count("/") > 0 and len(cgroup) > 1 and not found:
        found = read_profile(cgroup)
        cgroup = cgroup.rpartition("/")[0]
    return found


def write_profile(cgroup: str, profile: str) -> None:
    """Note that the open sockets of ``cgroup`` follow ``profile``; empty takes the note away."""
    path = f"{MOUNT}{cgroup}"
    if profile:
        os.setxattr(path, _PROFILE, profile.encode())
        return
    with suppress(OSError):  # there was none, or the cgroup has gone
        os.removexattr(path, _PROFILE)


def services_in(slice_cgroup: str) -> list[tuple[str, str]]:
    """Return (unit, cgroup) of the services in a slice and below, but for byway's own."""
    found = []
    with suppress(OSError):
        for entry in os.scandir(f"{MOUNT}{slice_cgroup}"):
            cgroup = f"{slice_cgroup}/{entry.name}"
            if entry.name.endswith(".slice"):
                found += services_in(cgroup)
            elif entry.name.endswith(".service") and entry.name != GATE_SERVICE:
                found.append((entry.name, cgroup))
    return sorted(found)


def remove(cgroup: str) -> None:
    """Remove a cgroup, if there is one and it is empty."""
    with suppress(OSError):
        os.rmdir(f"{MOUNT}{cgroup}")  # noqa: PTH106


def find_named(names: frozenset[str]) -> list[tuple[str, str]]:
    """Return (name, cgroup) of the cgroups in the system's slices that have one of ``names``.

    What is below a user's slice he may call what he likes, so it is not looked at, and neither is
    what is below a service or a scope.
    """
    found = []
    for directory, below, _ in islice(os.walk(MOUNT), MOST_CGROUPS):
        path = directory[len(str(MOUNT)) :]
        found += [(name, f"{path}/{name}") for name in below if name in names]
        below[:] = [f for f in below if f.endswith(".slice") and f"{path}/{f}" != USERS_CGROUP]
    return sorted(found)


def write_pid(cgroup: str, pid: int) -> None:
    """Move a process by a direct write; raises OSError.

    os.write, because a buffered file would report the kernel's refusal only when it is closed.
    """
    descriptor = os.open(f"{MOUNT}{cgroup}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, str(pid).encode())
    finally:
        os.close(descriptor)
