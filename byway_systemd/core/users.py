"""Users' sessions and managers, told by the names that systemd and logind give their cgroups.

The names down to ``user@UID.service`` are root's: no user can make or change them. All below it is
delegated to the user, who may make, empty and remove there what he likes, byway's slice and holder
included. So nothing below it is believed but for that user's own processes: whatever he makes up
decides about his own traffic, which he may send by the direct link anyway by running what is
listed. Nobody else's process is ever put there, as the user could kill or freeze it.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING

from byway_systemd.core.config import HOLDER_CGROUP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from byway_systemd.core.config import Profile

USERS_CGROUP = "/user.slice"
_HOLDER_UNIT = "byway-holder@"
HOLDER_UNITS = f"{_HOLDER_UNIT}*.service"
_BY_GATE, _MOVED = "gate-", "moved-"
_UID = r"(0|[1-9][0-9]{0,9})"
_OF_USER = re.compile(
    rf"{USERS_CGROUP}/user-{_UID}\.slice/(?:user@\1\.service|session-[^/]+\.scope)(?:/.*)?",
    re.DOTALL,
)
_OF_SLICE = re.compile(r"byway[^/]*\.slice")
_SLICE = re.compile(rf"user-{_UID}\.slice")


def manager_cgroup(uid: int) -> str:
    """Return the cgroup that all units of a user's manager are below."""
    return f"{USERS_CGROUP}/user-{uid}.slice/user@{uid}.service"


def uid_of_slice(name: str) -> int | None:
    """Return whose slice has this name, None when it is no user's."""
    match = _SLICE.fullmatch(name)
    return int(match[1]) if match else None


def session_uid(cgroup: str) -> int | None:
    """Return whose manager or session ``cgroup`` is of, None when it is nobody's."""
    match = _OF_USER.fullmatch(cgroup)
    return int(match[1]) if match else None


def holder_of(origin: str, uid: int) -> str:
    """Return the holder in which a process of ``uid`` from ``origin`` stays with its session.

    Empty when there is none for it: it is no session's, or somebody else's in it, such as root's
    behind sudo.
    """
    return manager_cgroup(uid) + HOLDER_CGROUP if uid == session_uid(origin) else ""


def name_home(app: str, origin: str, *, by_gate: bool) -> str:
    """Return the name of the cgroup, below the profile's in a holder, that is an app's alone."""
    digest = blake2b("\0".join((app, origin)).encode(errors="replace"), digest_size=6).hexdigest()
    return f"{_BY_GATE if by_gate else _MOVED}{digest}"


def is_home_of_gate(cgroup: str) -> bool:
    """Whether ``cgroup`` is below one in a holder that the exec gate has filled."""
    _, holder, below = cgroup.partition(f"{HOLDER_CGROUP}/")
    return bool(holder) and below.partition("/")[2].startswith(_BY_GATE)


def holder_unit(uid: int) -> str:
    """Return the system's unit that starts a user's holder, and ends it when it is empty."""
    return f"{_HOLDER_UNIT}{uid}.service"


def is_holder_unit(unit: str) -> bool:
    """Whether it is one of these units."""
    return unit.startswith(_HOLDER_UNIT)


def digest_placements(files: Iterable[tuple[str, str]]) -> str:
    """Return what tells one set of generated drop-ins from another; empty when no app has any.

    A user's manager that has never heard of the slices' own files does as well without them.
    """
    placing = [(path, text) for path, text in files if not _OF_SLICE.match(path)]
    return blake2b(repr(placing).encode(), digest_size=8).hexdigest() if placing else ""


def user_cgroups(profile: Profile, manager: str) -> tuple[str, ...]:
    """Return the cgroups below a user's manager whose sockets leave by the profile's link."""
    return tuple(manager + cgroup for cgroup in profile.user_cgroups)
