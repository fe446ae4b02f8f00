"""The nftables table byway wants: marks, the source's repair, and strict egress.

A new connection of a socket in a slice gets the profile's mark, on the packet and on the flow. The
flow's mark is what every later packet of it, in both directions, is marked from: so replies pass a
strict rp_filter, and packets without a socket of their own (SYN-ACK, RST, TIME_WAIT) go right.
Packets that carry somebody else's mark are left alone: a tunnel's encrypted packets still belong to
the app's socket, and marking them would send them round in a loop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from byway_systemd.core.config import DEFAULT_PROFILE
from byway_systemd.core.desired import TABLE_NAME
from byway_systemd.core.links import is_tunnel, near_prefixes
from byway_systemd.core.name_servers import (
    Members,
    find_name_servers,
    guard_loopback,
    mark_loopback,
    never_from_loopback,
    redirect_questions,
    sets_for,
)
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
    MatchDestinationLocal,
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
from byway_systemd.core.selection import NEW, NOTHING_SELECTED, Selection, set_marks
from byway_systemd.core.steering import FORCED_VPN, RELEASED, Steered, Steering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from byway_systemd.core.links import Uplink
    from byway_systemd.core.network import Link
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.vpn import Vpn

_MANGLE = -150  # NF_IP_PRI_MANGLE
_BEFORE_SOURCE_NAT = 99  # NF_IP_PRI_NAT_SRC is 100: the first chain that rewrites a flow wins
_LAST = 300  # after NF_IP_PRI_NAT_SRC, before conntrack confirms the flow
_RELEASED_SET = "cgroups_released"
_VPN_SET = "vpn_cgroups"  # a profile may be called vpn


def build_table(
    uplinks: tuple[Uplink, ...],
    steering: Steering,
    observed: Observed,
    selection: Selection = NOTHING_SELECTED,
) -> NftTable:
    """Return the table for these direct links (those that carry or block traffic) and the VPN."""
    ids, mask = dict(observed.cgroup_ids), steering.mask
    near = _near_sets(observed)
    vpn = selection.vpn
    asking = find_name_servers(uplinks, observed)
    members = tuple(_members(steering))
    output = _output(uplinks, steering, selection)
    egress = _egress(uplinks, vpn, mask, observed, near)
    return NftTable(
        TABLE_NAME,
        (
            replace(output, rules=(*mark_loopback(asking, members, mask), *output.rules)),
            _prerouting(uplinks, steering, selection),
            _source(uplinks, vpn, mask),
            replace(egress, rules=(*never_from_loopback(asking), *egress.rules)),
            *redirect_questions(asking, members, mask),
            *guard_loopback(asking),
        ),
        (*_cgroup_sets(uplinks, steering, ids), *near, *selection.sets, *sets_for(asking)),
    )


def _members(steering: Steering) -> Iterator[Members]:
    """Yield where the profiles' sockets are, the deepest first."""
    for level, name in _deepest_first(steering):
        yield Members(level, _set_name(name), None if name in (RELEASED, FORCED_VPN) else name)


def _output(uplinks: tuple[Uplink, ...], steering: Steering, selection: Selection) -> Chain:
    exits = {uplink.exit.profile.name: uplink.exit for uplink in uplinks}
    vpn, mask = selection.vpn, steering.mask
    default = exits.get(DEFAULT_PROFILE)
    levels = _deepest_first(steering)
    rules = [
        *_skipped(mask, Direction.OUT),
        *selection.spare_tunnel(),
        *(_carry(uplink.exit.profile.name, uplink.exit.mark, mask) for uplink in uplinks),
        *([_carry("vpn", vpn.mark, mask)] if vpn else []),
        *(_follow_socket(uplink.exit.profile.name, uplink.exit.mark, mask) for uplink in uplinks),
        *(selection.direct_destinations(default.mark, mask) if default else []),
        *(
            _release(level)
            if name == RELEASED
            else _take_cgroup(name, exits[name].mark, mask, level)
            for level, name in levels
            if name != FORCED_VPN
        ),
        *(selection.direct_origins(default.mark, mask) if default else []),
    ]
    if vpn:
        rules += [
            _follow_socket("vpn", vpn.mark, mask),
            *(
                _take_cgroup("vpn", vpn.mark, mask, level, _VPN_SET)
                for level, name in levels
                if name == FORCED_VPN
            ),
            *selection.vpn_destinations(mask),
            *selection.vpn_origins(mask),
        ]
    # Only a chain of type route makes the kernel look the route up again after the mark changed.
    return Chain("output", ChainType.ROUTE, Hook.OUTPUT, _MANGLE, tuple(rules))


def _prerouting(uplinks: tuple[Uplink, ...], steering: Steering, selection: Selection) -> Chain:
    by_name = {uplink.exit.profile.name: uplink for uplink in uplinks}
    vpn, mask = selection.vpn, steering.mask
    default = by_name.get(DEFAULT_PROFILE)
    own = default.link if default else None
    rules = [
        *_skipped(mask, Direction.IN),
        *(selection.incoming(own.index, default.exit.mark, mask) if default and own else []),
        *(_carry(uplink.exit.profile.name, uplink.exit.mark, mask) for uplink in uplinks),
        *([_carry("vpn", vpn.mark, mask)] if vpn else []),
        *(selection.direct_destinations(default.exit.mark, mask) if default else []),
    ]
    for level, name in _deepest_first(steering):
        if name == RELEASED:
            rules.append(_release(level))
        elif name != FORCED_VPN and (link := by_name[name].link):
            statements = (
                MatchLink(Direction.IN, link.index),
                MatchState(("new",)),
                MatchCgroup(level, _set_name(name)),
                *set_marks(by_name[name].exit.mark, mask),
                Counter(),
                Verdict.ACCEPT,
            )
            rules.append(NftRule(f"{name}: new flow to a listener of the slice", statements))
    if default:
        rules += selection.direct_forwarded(default.exit.mark, mask)
    if vpn and vpn.link:
        rules += _not_answered(vpn.link, steering)
        here = MatchDestinationLocal()
        came_in = (MatchLink(Direction.IN, vpn.link.index), MatchState(("new",)), here)
        mark = SetFlowMark(mask, vpn.mark)  # the answers go back by it
        rules.append(NftRule("vpn: new flow that comes in by it", (*came_in, mark, Verdict.ACCEPT)))
    if vpn:
        rules += [*selection.vpn_destinations(mask), *selection.vpn_forwarded(mask)]
    return Chain("prerouting", ChainType.FILTER, Hook.PREROUTING, _MANGLE, tuple(rules))


def _not_answered(link: Link, steering: Steering) -> Iterator[NftRule]:
    """What goes direct answers nothing by the VPN: its flows get no mark, and end unanswered."""
    for level, name in _deepest_first(steering):
        if name not in (RELEASED, FORCED_VPN):
            came_in = (MatchLink(Direction.IN, link.index), MatchState(("new",)))
            matches = (*came_in, MatchCgroup(level, _set_name(name)))
            yield NftRule(f"{name}: not answered by the VPN", (*matches, Verdict.ACCEPT))


def _source(uplinks: tuple[Uplink, ...], vpn: Vpn | None, mask: int) -> Chain:
    """The source was chosen before the mark, from another route: give it the link's own."""
    ways = [
        (f"{uplink.exit.profile.name}: the direct link's", uplink.link, uplink.exit.mark)
        for uplink in uplinks
    ]
    if vpn:
        ways.append(("vpn: the VPN's", vpn.link, vpn.mark))
    rules = (
        NftRule(
            f"{whose} own source",
            (
                MatchLink(Direction.OUT, link.index),
                MatchFlowMark(mask, mark),
                MatchSourceOnLink(local=False),
                Masquerade(),
            ),
        )
        for whose, link, mark in ways
        if link
    )
    return Chain("source", ChainType.NAT, Hook.POSTROUTING, _BEFORE_SOURCE_NAT, tuple(rules))


def _egress(
    uplinks: tuple[Uplink, ...],
    vpn: Vpn | None,
    mask: int,
    observed: Observed,
    near: tuple[NftSet, ...],
) -> Chain:
    """What is marked may leave by its own link, or to what is near by a link not a tunnel."""
    loopback = NftRule("loopback", (MatchLink(Direction.OUT, LOOPBACK_INDEX), Verdict.ACCEPT))
    ways = [(_name_and_mark(uplink), uplink.link) for uplink in uplinks]
    only_ways = [way for way, _ in ways]
    if vpn:
        ways.append((("vpn", vpn.mark), vpn.link))
        only_ways += [("vpn", vpn.mark)] if vpn.is_only_way else []
    rules = [loopback]
    for way, link in ways:
        if link:
            out = (MatchLink(Direction.OUT, link.index),)
            rules += _both_marks(way, mask, out, Verdict.ACCEPT, "by its own link")
    for uplink in uplinks:
        rules += _never_by_tunnels(uplink, vpn, mask, observed)
    for nft_set in near:
        match = MatchAddress(nft_set.kind, Side.DESTINATION, nft_set.name)
        rules.append(NftRule("near", (match, Verdict.ACCEPT)))
    for way in only_ways:
        rules += _both_marks(way, mask, (Counter(),), Verdict.DROP, "never by another link")
    return Chain("egress", ChainType.FILTER, Hook.POSTROUTING, _LAST, tuple(rules))


def _never_by_tunnels(
    uplink: Uplink, vpn: Vpn | None, mask: int, observed: Observed
) -> Iterator[NftRule]:
    """Yield the rules that keep what is direct out of tunnels, not even to what is near."""
    own = uplink.link.index if uplink.link else 0
    vpn_index = vpn.link.index if vpn and vpn.link else 0
    for link in observed.links:
        if (is_tunnel(link) or link.index == vpn_index) and link.index != own:
            out = (MatchLink(Direction.OUT, link.index), Counter())
            purpose = f"never by tunnel {link.index}"
            yield from _both_marks(_name_and_mark(uplink), mask, out, Verdict.DROP, purpose)


def _name_and_mark(uplink: Uplink) -> tuple[str, int]:
    return uplink.exit.profile.name, uplink.exit.mark


def _both_marks(
    way: tuple[str, int],
    mask: int,
    condition: tuple[Statement, ...],
    verdict: Verdict,
    purpose: str,
) -> list[NftRule]:
    name, mark = way
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


def _carry(name: str, mark: int, mask: int) -> NftRule:
    return NftRule(
        f"{name}: open flow",
        (MatchFlowMark(mask, mark), SetMark(mask, mark), Verdict.ACCEPT),
    )


def _follow_socket(name: str, mark: int, mask: int) -> NftRule:
    """A socket that was marked by itself: by the eBPF marker, or when its app was moved."""
    return NftRule(
        f"{name}: new flow of a marked socket",
        (
            NEW,
            MatchMark(mask, mark),
            SetFlowMark(mask, mark),
            Counter(),
            Verdict.ACCEPT,
        ),
    )


def _take_cgroup(name: str, mark: int, mask: int, level: int, set_name: str = "") -> NftRule:
    return NftRule(
        f"{name}: new flow of the {'cgroup' if set_name else 'slice'}",
        (
            NEW,
            MatchCgroup(level, set_name or _set_name(name)),
            *set_marks(mark, mask),
            Counter(),
            Verdict.ACCEPT,
        ),
    )


def _release(level: int) -> NftRule:
    return NftRule("released", (NEW, MatchCgroup(level, _RELEASED_SET), Verdict.ACCEPT))


def _set_name(profile: str) -> str:
    return {RELEASED: _RELEASED_SET, FORCED_VPN: _VPN_SET}.get(profile, f"cgroups_{profile}")


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
    for steered in steering.cgroups:
        elements.setdefault(steered.profile, [])
    return [
        NftSet(_set_name(name), SetKind.CGROUP, tuple(found)) for name, found in elements.items()
    ]


def _near_sets(observed: Observed) -> tuple[NftSet, NftSet]:
    """The prefixes that marked traffic may reach without the direct link."""
    four, six = near_prefixes(observed)
    return NftSet("near4", SetKind.IPV4, four), NftSet("near6", SetKind.IPV6, six)
