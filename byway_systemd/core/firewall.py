"""The nftables table byway wants: marks, the source's repair, and strict egress.

A new connection of a socket in a slice gets the profile's mark, on the packet and on the flow. The
flow's mark is what every later packet of it, in both directions, is marked from: so replies pass a
strict rp_filter, and packets without a socket of their own (SYN-ACK, RST, TIME_WAIT) go right.
Packets that carry somebody else's mark are left alone: a tunnel's encrypted packets still belong to
the app's socket, and marking them would send them round in a loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from byway_systemd.core.desired import TABLE_NAME
from byway_systemd.core.links import is_tunnel, near_prefixes
from byway_systemd.core.network import LOOPBACK_INDEX
from byway_systemd.core.nftables import (
    Chain,
    ChainType,
    Counter,
    Direction,
    Hook,
    Masquerade,
    MatchAddress,
    MatchCgroup,
    MatchFlowMark,
    MatchLink,
    MatchMark,
    MatchSourceOnLink,
    MatchState,
    NftRule,
    NftSet,
    NftTable,
    SetFlowMark,
    SetKind,
    SetMark,
    Side,
    Statement,
    Verdict,
)
from byway_systemd.core.steering import RELEASED, Steered, Steering

if TYPE_CHECKING:
    from byway_systemd.core.desired import Exit
    from byway_systemd.core.links import Uplink
    from byway_systemd.core.observed import Observed

_MANGLE = -150  # NF_IP_PRI_MANGLE
_BEFORE_SOURCE_NAT = 99  # NF_IP_PRI_NAT_SRC is 100: the first chain that rewrites a flow wins
_LAST = 300  # after NF_IP_PRI_NAT_SRC, before conntrack confirms the flow
_NEW = MatchState(("new", "untracked"))
_RELEASED_SET = "cgroups_released"


def build_table(uplinks: tuple[Uplink, ...], steering: Steering, observed: Observed) -> NftTable:
    """Return the table for these direct links (those that carry or block traffic)."""
    ids, mask = dict(observed.cgroup_ids), steering.mask
    near = _near_sets(observed)
    return NftTable(
        TABLE_NAME,
        (
            _output(uplinks, steering),
            _prerouting(uplinks, steering),
            _source(uplinks, mask),
            _egress(uplinks, mask, observed, near),
        ),
        (*_cgroup_sets(uplinks, steering, ids), *near),
    )


def _output(uplinks: tuple[Uplink, ...], steering: Steering) -> Chain:
    exits = {uplink.exit.profile.name: uplink.exit for uplink in uplinks}
    mask = steering.mask
    rules = [
        *_skipped(mask, Direction.OUT),
        *(_carry(uplink.exit, mask) for uplink in uplinks),
        *(_follow_socket(uplink.exit, mask) for uplink in uplinks),
        *(
            _release(level)
            if name == RELEASED
            else NftRule(
                f"{name}: new flow of the slice",
                (
                    _NEW,
                    MatchCgroup(level, _set_name(name)),
                    *_marks(exits[name], mask),
                    Counter(),
                    Verdict.ACCEPT,
                ),
            )
            for level, name in _deepest_first(steering)
        ),
    ]
    # Only a chain of type route makes the kernel look the route up again after the mark changed.
    return Chain("output", ChainType.ROUTE, Hook.OUTPUT, _MANGLE, tuple(rules))


def _prerouting(uplinks: tuple[Uplink, ...], steering: Steering) -> Chain:
    by_name = {uplink.exit.profile.name: uplink for uplink in uplinks}
    mask = steering.mask
    rules = [
        *_skipped(mask, Direction.IN),
        *(_carry(uplink.exit, mask) for uplink in uplinks),
    ]
    for level, name in _deepest_first(steering):
        if name == RELEASED:
            rules.append(_release(level))
        elif link := by_name[name].link:
            statements = (
                MatchLink(Direction.IN, link.index),
                MatchState(("new",)),
                MatchCgroup(level, _set_name(name)),
                *_marks(by_name[name].exit, mask),
                Counter(),
                Verdict.ACCEPT,
            )
            rules.append(NftRule(f"{name}: new flow to a listener of the slice", statements))
    return Chain("prerouting", ChainType.FILTER, Hook.PREROUTING, _MANGLE, tuple(rules))


def _source(uplinks: tuple[Uplink, ...], mask: int) -> Chain:
    """The source was chosen before the mark, from the VPN's route: give it the link's own."""
    rules = (
        NftRule(
            f"{uplink.exit.profile.name}: the direct link's own source",
            (
                MatchLink(Direction.OUT, uplink.link.index),
                MatchFlowMark(mask, uplink.exit.mark),
                MatchSourceOnLink(local=False),
                Masquerade(),
            ),
        )
        for uplink in uplinks
        if uplink.link
    )
    return Chain("source", ChainType.NAT, Hook.POSTROUTING, _BEFORE_SOURCE_NAT, tuple(rules))


def _egress(
    uplinks: tuple[Uplink, ...], mask: int, observed: Observed, near: tuple[NftSet, ...]
) -> Chain:
    """What is marked may leave by its direct link, or to what is near by a link not a tunnel."""
    loopback = NftRule("loopback", (MatchLink(Direction.OUT, LOOPBACK_INDEX), Verdict.ACCEPT))
    rules = [loopback]
    for uplink in uplinks:
        rules += _both_marks(uplink, mask, _by_own_link(uplink), Verdict.ACCEPT, "by its own link")
    for uplink in uplinks:
        own = uplink.link.index if uplink.link else 0
        for link in observed.links:
            if is_tunnel(link) and link.index != own:
                out = (MatchLink(Direction.OUT, link.index), Counter())
                rules += _both_marks(
                    uplink, mask, out, Verdict.DROP, f"never by tunnel {link.index}"
                )
    for nft_set in near:
        match = MatchAddress(nft_set.kind, Side.DESTINATION, nft_set.name)
        rules.append(NftRule("near", (match, Verdict.ACCEPT)))
    for uplink in uplinks:
        rules += _both_marks(uplink, mask, (Counter(),), Verdict.DROP, "never by another link")
    return Chain("egress", ChainType.FILTER, Hook.POSTROUTING, _LAST, tuple(rules))


def _by_own_link(uplink: Uplink) -> tuple[Statement, ...] | None:
    return (MatchLink(Direction.OUT, uplink.link.index),) if uplink.link else None


def _both_marks(
    uplink: Uplink,
    mask: int,
    condition: tuple[Statement, ...] | None,
    verdict: Verdict,
    purpose: str,
) -> list[NftRule]:
    if condition is None:
        return []
    mark, name = uplink.exit.mark, uplink.exit.profile.name
    return [
        NftRule(f"{name}: {purpose}", (match, *condition, verdict))
        for match in (MatchFlowMark(mask, mark), MatchMark(mask, mark))
    ]


def _skipped(mask: int, direction: Direction) -> list[NftRule]:
    foreign = ~mask & 0xFFFFFFFF
    return [
        NftRule("loopback", (MatchLink(direction, LOOPBACK_INDEX), Verdict.ACCEPT)),
        NftRule("marked by others", (MatchMark(foreign, 0, equal=False), Verdict.ACCEPT)),
    ]


def _carry(exit_: Exit, mask: int) -> NftRule:
    return NftRule(
        f"{exit_.profile.name}: open flow",
        (MatchFlowMark(mask, exit_.mark), SetMark(mask, exit_.mark), Verdict.ACCEPT),
    )


def _follow_socket(exit_: Exit, mask: int) -> NftRule:
    """A socket that was marked by itself: by the eBPF marker, or when its app was moved."""
    return NftRule(
        f"{exit_.profile.name}: new flow of a marked socket",
        (
            _NEW,
            MatchMark(mask, exit_.mark),
            SetFlowMark(mask, exit_.mark),
            Counter(),
            Verdict.ACCEPT,
        ),
    )


def _release(level: int) -> NftRule:
    return NftRule("released", (_NEW, MatchCgroup(level, _RELEASED_SET), Verdict.ACCEPT))


def _marks(exit_: Exit, mask: int) -> tuple[Statement, ...]:
    return (SetFlowMark(mask, exit_.mark), SetMark(mask, exit_.mark))


def _set_name(profile: str) -> str:
    return _RELEASED_SET if profile == RELEASED else f"cgroups_{profile}"


def _deepest_first(steering: Steering) -> list[tuple[int, str]]:
    """Return (level, profile): the deepest decides, as a cgroup's ancestors would match as well."""
    order = {steered.profile: index for index, steered in enumerate(steering.cgroups)}
    levels = {(_level(steered), steered.profile) for steered in steering.cgroups}
    return sorted(levels, key=lambda pair: (-pair[0], order[pair[1]]))


def _level(steered: Steered) -> int:
    return steered.cgroup.count("/")


def _cgroup_sets(
    uplinks: tuple[Uplink, ...], steering: Steering, ids: dict[str, int]
) -> list[NftSet]:
    """Return a set of cgroups for each profile.

    A slice that does not run yet has no id: its path stands for it and is resolved when applied.
    """
    elements: dict[str, list[str]] = {uplink.exit.profile.name: [] for uplink in uplinks}
    for steered in steering.cgroups:
        if steered.cgroup in ids:
            elements.setdefault(steered.profile, []).append(str(ids[steered.cgroup]))
        elif steered.started:
            elements.setdefault(steered.profile, []).append(steered.cgroup)
    if any(steered.profile == RELEASED for steered in steering.cgroups):
        elements.setdefault(RELEASED, [])
    return [
        NftSet(_set_name(name), SetKind.CGROUP, tuple(found)) for name, found in elements.items()
    ]


def _near_sets(observed: Observed) -> tuple[NftSet, NftSet]:
    """The prefixes that marked traffic may reach without the direct link."""
    four, six = near_prefixes(observed)
    return NftSet("near4", SetKind.IPV4, four), NftSet("near6", SetKind.IPV6, six)
