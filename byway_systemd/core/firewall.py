"""The nftables table byway wants: marks, the source's repair, and strict egress.

A new connection of a socket in a slice gets the profile's mark, on the packet and on the flow. The
flow's mark is what every later packet of it, in both directions, is marked from: so replies pass a
strict rp_filter, and packets without a socket of their own (SYN-ACK, RST, TIME_WAIT) go right.
Packets that carry somebody else's mark are left alone: a tunnel's encrypted packets still belong to
the app's socket, and marking them would send them round in a loop.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING

from byway_systemd.core.desired import TABLE_NAME
from byway_systemd.core.links import is_tunnel, local_routes
from byway_systemd.core.network import LOOPBACK_INDEX, Family
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from byway_systemd.core.desired import Exit
    from byway_systemd.core.links import Uplink
    from byway_systemd.core.observed import Observed

_MANGLE = -150  # NF_IP_PRI_MANGLE
_BEFORE_SOURCE_NAT = 99  # NF_IP_PRI_NAT_SRC is 100: the first chain that rewrites a flow wins
_LAST = 300  # after NF_IP_PRI_NAT_SRC, before conntrack confirms the flow
_NEW = MatchState(("new", "untracked"))


def build_table(uplinks: tuple[Uplink, ...], mask: int, observed: Observed) -> NftTable:
    """Return the table for these direct links (those that carry or block traffic)."""
    ids = dict(observed.cgroup_ids)
    sets = [
        NftSet(_set_name(uplink.exit), SetKind.CGROUP, _elements(uplink.exit, ids))
        for uplink in uplinks
    ]
    near = _local_sets(observed)
    return NftTable(
        TABLE_NAME,
        (
            _output(uplinks, mask),
            _prerouting(uplinks, mask),
            _source(uplinks, mask),
            _egress(uplinks, mask, observed, near),
        ),
        (*sets, *near),
    )


def _output(uplinks: tuple[Uplink, ...], mask: int) -> Chain:
    rules = [
        *_skipped(mask, Direction.OUT),
        *(_carry(uplink.exit, mask) for uplink in uplinks),
        *(
            NftRule(
                f"{uplink.exit.profile.name}: new flow of the slice",
                (
                    _NEW,
                    MatchCgroup(level, _set_name(uplink.exit)),
                    *_marks(uplink.exit, mask),
                    Counter(),
                    Verdict.ACCEPT,
                ),
            )
            for level, uplink in _deepest_first(uplinks)
        ),
    ]
    # Only a chain of type route makes the kernel look the route up again after the mark changed.
    return Chain("output", ChainType.ROUTE, Hook.OUTPUT, _MANGLE, tuple(rules))


def _prerouting(uplinks: tuple[Uplink, ...], mask: int) -> Chain:
    rules = [
        *_skipped(mask, Direction.IN),
        *(_carry(uplink.exit, mask) for uplink in uplinks),
        *(
            NftRule(
                f"{uplink.exit.profile.name}: new flow to a listener of the slice",
                (
                    MatchLink(Direction.IN, uplink.link.index),
                    MatchState(("new",)),
                    MatchCgroup(level, _set_name(uplink.exit)),
                    *_marks(uplink.exit, mask),
                    Counter(),
                    Verdict.ACCEPT,
                ),
            )
            for level, uplink in _deepest_first(uplinks)
            if uplink.link
        ),
    ]
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


def _marks(exit_: Exit, mask: int) -> tuple[Statement, ...]:
    return (SetFlowMark(mask, exit_.mark), SetMark(mask, exit_.mark))


def _set_name(exit_: Exit) -> str:
    return f"cgroups_{exit_.profile.name}"


def _deepest_first(uplinks: tuple[Uplink, ...]) -> Iterator[tuple[int, Uplink]]:
    """A named profile's slice is a child of byway.slice, which would match it as well."""
    levels = {
        (cgroup.count("/"), uplink) for uplink in uplinks for cgroup in uplink.exit.profile.cgroups
    }
    yield from sorted(levels, key=lambda pair: (-pair[0], pair[1].exit.mark))


def _elements(exit_: Exit, ids: dict[str, int]) -> tuple[str, ...]:
    """Return the ids of the profile's cgroups.

    A slice that does not run yet has none: its path stands for it and is resolved when applied.
    """
    profile = exit_.profile
    slice_ = str(ids.get(profile.slice_cgroup, profile.slice_cgroup))
    others = (str(ids[c]) for c in profile.cgroups if c != profile.slice_cgroup and c in ids)
    return (slice_, *others)


def _local_sets(observed: Observed) -> tuple[NftSet, NftSet]:
    """The prefixes that marked traffic may reach without the direct link."""
    near = local_routes(observed, None)
    four = collapse_addresses(
        IPv4Network(route.destination) for route in near if route.family is Family.IPV4
    )
    six = collapse_addresses(
        IPv6Network(route.destination) for route in near if route.family is Family.IPV6
    )
    return (
        NftSet("near4", SetKind.IPV4, tuple(sorted(str(network) for network in four))),
        NftSet("near6", SetKind.IPV6, tuple(sorted(str(network) for network in six))),
    )
