"""What byway doctor looks at, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.foreign_filters import FilterChain
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.operations import Operation


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"  # something goes the wrong way, or nowhere
    WARNING = "warning"  # something may, or part of what is asked for does not happen
    NOTE = "note"  # nothing is wrong yet

    @property
    def is_wrong(self) -> bool:
        """Whether something has to be done."""
        return self is not Severity.NOTE


@dataclass(frozen=True, slots=True)
class Finding:
    """Something amiss: what, what was seen that says so, and what to do."""

    severity: Severity
    what: str
    evidence: str
    remedy: str


@dataclass(frozen=True, slots=True)
class TunnelServer:
    """What a VPN program that is not WireGuard talks to: the far end of its tunnel.

    ``link`` is the tunnel's index, ``prefix`` the server's address with its full length. ``uid``
    and ``cgroup`` are the program's.
    """

    link: int
    program: str
    prefix: str
    uid: int = 0
    cgroup: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What only the doctor looks at, beside what is observed.

    ``filters`` are others' nftables chains, ``servers`` the far ends of tunnels; both stay empty
    without root. ``reverse_filters`` are (link's name, effective rp_filter, effective
    src_valid_mark) of the kernel. ``host_sources`` are the words of ``hosts:`` in
    /etc/nsswitch.conf.
    """

    filters: tuple[FilterChain, ...] = ()
    servers: tuple[TunnelServer, ...] = ()
    reverse_filters: tuple[tuple[str, int, bool], ...] = ()
    host_sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """All that a check may look at.

    ``remaining`` is what the plan would still do; ``runs`` says whether the daemon does, and
    ``problems`` are its complaints of the configuration.
    """

    desired: Desired
    observed: Observed
    surroundings: Surroundings
    remaining: tuple[Operation, ...] = ()
    runs: bool = True
    problems: tuple[str, ...] = ()
