"""What is there: the kernel, systemd and the processes, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from byway_systemd.core.apps import App
    from byway_systemd.core.network import Link, Route, RoutingRule, Tunnel
    from byway_systemd.core.nftables import TableOutline


class FileState(StrEnum):
    """What stands at an app's path."""

    PROGRAM = "program"
    SCRIPT = "script"
    MISSING = "missing"
    DIRECTORY = "directory"
    SHARED = "shared"  # a multi-call program, which is many programs at once
    ESSENTIAL = "essential"  # what moving a process takes: the manager, the bus, byway itself


@dataclass(frozen=True, slots=True)
class Executable:
    """A file an app entry names. A pattern gives one for each match, or one that is missing.

    ``path`` is the path as listed or matched, ``real_path`` without symbolic links; ``device`` and
    ``inode`` identify the file itself, so hard links count as the same. ``excluded`` ones are those
    that leave again when the app starts them.
    """

    app: App
    profile: str
    path: str
    real_path: str = ""
    device: int = 0
    inode: int = 0
    state: FileState = FileState.PROGRAM
    excluded: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """A process. ``start`` (clock ticks since boot) tells a pid from its reuse.

    ``path`` is the text of /proc/PID/exe, ``script`` the absolute path of the script it interprets
    (empty when none), ``cgroup`` its path from the root of the hierarchy, ``origin`` the cgroup
    byway took it from and ``app`` the entry it did so for (empty when byway did not place it).
    ``uid`` is whose it is; -1 when its user ids differ from each other.
    """

    pid: int
    start: int
    path: str
    device: int = 0
    inode: int = 0
    cgroup: str = "/"
    script: str = ""
    origin: str = ""
    app: str = ""
    in_host_namespace: bool = True
    parent: int = 0
    uid: int = -1


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is configured, or that runs in a slice.

    ``cgroup`` is where it runs, empty when it does not; ``slice`` the slice its unit names now,
    which is where it will run from its next start on; empty when nobody asked.
    """

    name: str
    cgroup: str
    slice: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A cgroup outside of all slices in which nothing runs but ``app`` and its children."""

    cgroup: str
    profile: str
    app: str


@dataclass(frozen=True, slots=True)
class UserManager:
    """A user's service manager and the cgroup all its units are below.

    ``state`` is that of its unit. ``holds`` says that its holder is there, which byway puts the
    user's programs into. ``placements`` is the digest of the drop-ins that byway last made it read;
    empty when it never did.
    """

    uid: int
    cgroup: str
    holds: bool = False
    state: str = "active"
    placements: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Login:
    """A login from another machine: its address, and the one of this machine's it came to."""

    client: str
    server: str


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything a plan compares with.

    ``tunnels`` are the WireGuard links. ``named_cgroups`` are (name, path) of the cgroups that have
    a name that the overrides ask for, ``host_addresses`` (name, prefix) of the hosts. ``logins``
    are those by ssh that are open. ``link_dns``
    are (link index, address) of the DNS servers that links have, in their order.
    ``cgroup_ids`` are (path, id) of the slices that exist, ``markers`` (path, mark) of byway's
    programs on them; ``marker_fault`` says why the kernel cannot have any. ``cut_over`` are (path,
    profile) of the cgroups whose open sockets have been made to follow it. ``sysctls`` are (key,
    value) of those asked for; ``saved_sysctls`` what byway found there before it changed them.
    ``unit_files`` are (relative path, text) of byway's own files in effect, ``runtime_files`` the
    paths of those that byway itself wrote, not the generator. ``active_units``, among them
    ``starting_units``, and ``failed_units`` of those asked for; ``gate_note`` is what an exec gate
    that failed has said. ``empty_scopes`` are scopes byway made whose last process has ended,
    ``empty_homes`` such cgroups in users' holders.
    """

    links: tuple[Link, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[RoutingRule, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()
    table: TableOutline | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    saved_sysctls: tuple[tuple[str, str], ...] = ()
    cgroup_ids: tuple[tuple[str, int], ...] = ()
    markers: tuple[tuple[str, int], ...] = ()
    pins: tuple[tuple[str, int], ...] | None = None
    marker_fault: str = ""
    cut_over: tuple[tuple[str, str], ...] = ()
    unit_files: tuple[tuple[str, str], ...] = ()
    runtime_files: tuple[str, ...] = ()
    executables: tuple[Executable, ...] = ()
    processes: tuple[Process, ...] = ()
    groups: tuple[Group, ...] = ()
    services: tuple[Service, ...] = ()
    user_managers: tuple[UserManager, ...] = ()
    active_units: tuple[str, ...] = ()
    starting_units: tuple[str, ...] = ()
    failed_units: tuple[str, ...] = ()
    gate_note: str = ""
    empty_scopes: tuple[str, ...] = ()
    empty_homes: tuple[str, ...] = ()
    named_cgroups: tuple[tuple[str, str], ...] = ()
    link_dns: tuple[tuple[int, str], ...] = ()
    host_addresses: tuple[tuple[str, str], ...] = ()
    logins: tuple[Login, ...] = ()
