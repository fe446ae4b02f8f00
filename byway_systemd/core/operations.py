"""Operations: every change byway makes to the world outside, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from byway_systemd.core.nftables import MANY_ELEMENTS

if TYPE_CHECKING:
    from byway_systemd.core.network import Route, RoutingRule
    from byway_systemd.core.nftables import NftTable, SetKind


@dataclass(frozen=True, slots=True)
class WriteUnitFile:
    """Write a runtime unit file (path below /run/systemd/system)."""

    path: str
    text: str
    because: str


@dataclass(frozen=True, slots=True)
class RemoveUnitFile:
    """Remove a runtime unit file that byway wrote."""

    path: str
    because: str


@dataclass(frozen=True, slots=True)
class ReloadManager:
    """Make systemd read its unit files again, which also runs the generators."""

    because: str


@dataclass(frozen=True, slots=True)
class ReloadUserManager:
    """Make a user's manager do the same; ``placements`` is the digest of what it then finds."""

    uid: int
    placements: str
    because: str


@dataclass(frozen=True, slots=True)
class StartUnit:
    """Start a unit (a slice or the timer)."""

    name: str
    because: str


@dataclass(frozen=True, slots=True)
class StopUnit:
    """Stop a unit (the timer)."""

    name: str
    because: str


@dataclass(frozen=True, slots=True)
class RemoveCgroup:
    """Remove an empty cgroup that byway made in a user's holder."""

    path: str
    because: str


@dataclass(frozen=True, slots=True)
class WriteSysctl:
    """Set a sysctl (key with slashes); what was there is saved when ``save`` is set."""

    key: str
    value: str
    save: bool
    because: str


@dataclass(frozen=True, slots=True)
class RestoreSysctl:
    """Set a sysctl back to what was saved, and forget the saved value."""

    key: str
    value: str
    because: str


@dataclass(frozen=True, slots=True)
class AddRoute:
    """Add a route; with ``replace`` in the place of the one of equal destination and metric."""

    route: Route
    replace: bool
    because: str


@dataclass(frozen=True, slots=True)
class DeleteRoute:
    """Delete a route."""

    route: Route
    because: str


@dataclass(frozen=True, slots=True)
class AddRule:
    """Add a routing rule."""

    rule: RoutingRule
    because: str


@dataclass(frozen=True, slots=True)
class DeleteRule:
    """Delete a routing rule."""

    rule: RoutingRule
    because: str


@dataclass(frozen=True, slots=True)
class ReplaceTable:
    """Put the whole nftables table in place in one transaction.

    A cgroup set's element that begins with ``/`` is a cgroup's path, resolved to its id then.
    """

    table: NftTable
    because: str


@dataclass(frozen=True, slots=True)
class UpdateSet:
    """Add and remove elements of a set of the table, in one transaction."""

    table: str
    name: str
    kind: SetKind
    add: tuple[str, ...]
    remove: tuple[str, ...]
    because: str


@dataclass(frozen=True, slots=True)
class DeleteTable:
    """Delete the nftables table."""

    name: str
    because: str


@dataclass(frozen=True, slots=True)
class AttachMarker:
    """Mark every socket that is made in a cgroup."""

    path: str
    mark: int
    mask: int
    because: str


@dataclass(frozen=True, slots=True)
class DetachMarker:
    """Mark new sockets of a cgroup no more."""

    path: str
    mark: int
    because: str


@dataclass(frozen=True, slots=True)
class PinMarker:
    """Keep a program in the BPF file system that systemd attaches to a profile's slice itself."""

    name: str
    mark: int
    mask: int
    because: str


@dataclass(frozen=True, slots=True)
class UnpinMarker:
    """Remove it from there."""

    name: str
    because: str


@dataclass(frozen=True, slots=True)
class SocketVerdict:
    """What becomes of open sockets: the masked mark they get, and whether connections are reset.

    A connection to one of the ``near`` prefixes stays as it is: it never leaves by any link of
    byway's.
    """

    mark: int
    mask: int
    reset: bool
    near: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CutOver:
    """Make the open sockets of a cgroup follow ``profile``, but for those of the cgroups ``but``.

    With an empty ``profile`` they follow nobody any more.
    """

    path: str
    profile: str
    but: tuple[str, ...]
    verdict: SocketVerdict
    because: str


@dataclass(frozen=True, slots=True)
class PlaceProcess:
    """Move a process and its descendants into a slice, and its open sockets with it.

    They get a scope of the system's ``slice``, or a cgroup in ``home``, which is the profile's in a
    user's holder, where that is not empty.

    ``start`` is the process's start in clock ticks since boot: pid and start together never name
    another process. ``app`` is the entry it is placed for, ``origin`` the cgroup it leaves.
    """

    pid: int
    start: int
    name: str
    app: str
    slice: str
    origin: str
    verdict: SocketVerdict
    because: str
    home: str = ""


@dataclass(frozen=True, slots=True)
class ReturnProcess:
    """Move a process that byway placed back to the cgroup it came from."""

    pid: int
    start: int
    origin: str
    verdict: SocketVerdict
    because: str


Operation = (
    WriteUnitFile
    | RemoveUnitFile
    | ReloadManager
    | ReloadUserManager
    | StartUnit
    | StopUnit
    | RemoveCgroup
    | WriteSysctl
    | RestoreSysctl
    | AddRoute
    | DeleteRoute
    | AddRule
    | DeleteRule
    | ReplaceTable
    | UpdateSet
    | DeleteTable
    | AttachMarker
    | DetachMarker
    | PinMarker
    | UnpinMarker
    | CutOver
    | PlaceProcess
    | ReturnProcess
)


def takes_long(operation: Operation) -> bool:
    """Whether the kernel may be busy with an operation for tens of milliseconds and more."""
    if isinstance(operation, UpdateSet):
        return len(operation.add) + len(operation.remove) > MANY_ELEMENTS
    if isinstance(operation, ReplaceTable):
        return sum(len(nft_set.elements) for nft_set in operation.table.sets) > MANY_ELEMENTS
    return False
