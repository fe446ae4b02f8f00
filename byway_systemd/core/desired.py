"""What should be there: the configuration's meaning, before it meets the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from byway_systemd.core.config import GATE_SERVICE, Config, OnMove, Switch
from byway_systemd.core.traffic import VPN_TABLE, Traffic
from byway_systemd.core.users import digest_placements

if TYPE_CHECKING:
    from byway_systemd.core.config import Profile

TABLE_NAME = "byway"  # of the nftables table
FIRST_TABLE = 11590  # the default profile's routing table, `byway` in rt_tables.d
TABLES = range(FIRST_TABLE, VPN_TABLE + 1)  # byway's own: nothing else may use them
RECONCILE_TIMER = "byway-reconcile.timer"
DROP_IN = "50-byway.conf"
MARKER_DROP_IN = "60-byway-marker.conf"  # the generator leaves it out where nothing is pinned
PINS = "/sys/fs/bpf/byway"  # a socket marker for each profile, by its name


@dataclass(frozen=True, slots=True)
class Exit:
    """A profile with the numbers it got: its mark and its routing table."""

    profile: Profile
    mark: int
    table: int


@dataclass(frozen=True, slots=True)
class Desired:
    """The state to reach.

    ``unit_files`` are (path below a unit directory, text). ``has_generator`` says that systemd's
    generator writes them from this configuration, so that a reload is all they need.
    ``runs_timer`` and ``runs_gate`` say whether the timer and the exec gate should run, and
    ``gate_reason`` why the gate should not; ``runs_holders`` whether users' managers should hold
    what is placed of their sessions; ``user_placements`` is the digest of the drop-ins that the
    generator has for them. ``marks_sockets`` says whether sockets are marked when they
    are made, ``resets_sockets`` whether open connections are reset when what they belong to
    changes sides. ``cleared`` says that byway's routes and routing rules are out of the kernel
    until they are restored.
    """

    exits: tuple[Exit, ...] = ()
    mark_mask: int = Config().mark_mask
    base: int = Config().priority
    unit_files: tuple[tuple[str, str], ...] = ()
    has_generator: bool = False
    runs_timer: bool = False
    runs_gate: bool = False
    runs_holders: bool = False
    user_placements: str = ""
    marks_sockets: bool = False
    resets_sockets: bool = True
    gate_reason: str = ""
    cleared: bool = False
    traffic: Traffic = field(default_factory=Traffic)

    @classmethod
    def empty(cls) -> Desired:
        """Return the state of a machine without byway."""
        return cls()

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles, the default one first."""
        return tuple(exit_.profile for exit_ in self.exits)

    @property
    def vpn_mark(self) -> int:
        """The mark of what is forced to the VPN."""
        return 2 * (self.mark_mask & -self.mark_mask)

    @property
    def released_mark(self) -> int:
        """The mark of sockets that stand in a slice and go as if byway were not there.

        While byway leads nothing to the VPN, that is the VPN's, and else one that nothing looks at:
        all ones, which no profile has.
        """
        return self.mark_mask if self.traffic.uses_vpn else self.vpn_mark

    @property
    def units(self) -> tuple[str, ...]:
        """The units whose state belongs to this one."""
        return (RECONCILE_TIMER, GATE_SERVICE)


def desire(
    config: Config,
    unit_files: tuple[tuple[str, str], ...] = (),
    user_unit_files: tuple[tuple[str, str], ...] = (),
    *,
    has_generator: bool = False,
    runs_units: bool = False,
) -> Desired:
    """Return the state ``config`` asks for.

    The unit of the marks is the lowest bit of the mask: 1 is direct, 2 is the VPN's, named profiles
    follow from 3; all ones stay free.
    """
    unit = config.mark_mask & -config.mark_mask
    exits = tuple(
        Exit(profile, unit * (1 if index == 0 else 2 + index), FIRST_TABLE + index)
        for index, profile in enumerate(config.profiles)
    )
    return Desired(
        exits,
        config.mark_mask,
        config.priority,
        # What has been pinned since the last reload is no reason for another.
        tuple(file for file in unit_files if not file[0].endswith(MARKER_DROP_IN)),
        has_generator=has_generator,
        runs_timer=runs_units and config.reconcile > 0,
        marks_sockets=config.socket_marker is not Switch.OFF,
        resets_sockets=config.on_move is OnMove.RESET,
        runs_gate=runs_units and config.gate is not Switch.OFF,
        gate_reason=_why_no_gate(config, runs_units=runs_units),
        runs_holders=runs_units,
        user_placements=digest_placements(user_unit_files) if has_generator else "",
        traffic=config.traffic,
    )


def _why_no_gate(config: Config, *, runs_units: bool) -> str:
    if config.gate is Switch.OFF:
        return "placement.gate"
    return "" if runs_units else "--config"
