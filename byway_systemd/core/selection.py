"""What is selected without a cgroup: sources, users and destinations, as nftables sets and rules.

Sources and users have routing rules, too, as long as these fit their bands; the sets hold all of
them in any case, so that what is forced to a side gets its mark, a fitting source address, and
leaves by nothing else. A look-up in a set costs the same for ten elements and for 100,000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from byway_systemd.core.network import Family
from byway_systemd.core.nftables import (
    Counter,
    Direction,
    MatchAddress,
    MatchDestinationLocal,
    MatchFlowDirection,
    MatchFlowMark,
    MatchLink,
    MatchState,
    MatchUser,
    NftRule,
    NftSet,
    SetFlowMark,
    SetKind,
    SetMark,
    Side,
    Statement,
    Verdict,
)
from byway_systemd.core.traffic import Overrides, collapse_prefixes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.vpn import Vpn

NEW = MatchState(("new", "untracked"))
_KINDS = {Family.IPV4: SetKind.IPV4, Family.IPV6: SetKind.IPV6}
_TUNNEL = "tunnel_endpoints"


@dataclass(frozen=True, slots=True)
class Selection:
    """The VPN (None where byway leads nothing to it) and the sets; those that are empty are not."""

    vpn: Vpn | None = None
    sets: tuple[NftSet, ...] = ()

    def spare_tunnel(self) -> list[NftRule]:
        """Return the rules that leave the tunnel's own packets alone: they still have a socket."""
        return [
            NftRule("vpn: to an endpoint of the tunnel", (match, Verdict.ACCEPT))
            for match in self._addresses(_TUNNEL, Side.DESTINATION)
        ]

    def direct_destinations(self, mark: int, mask: int) -> list[NftRule]:
        """Return the rules for new flows to where the VPN is never to be used."""
        return self._take("direct", "destinations", Side.DESTINATION, mark, mask)

    def direct_origins(self, mark: int, mask: int) -> list[NftRule]:
        """Return the rules for new flows of this machine's forced sources and users."""
        return [
            *self._take("direct", "sources", Side.SOURCE, mark, mask),
            *self._take_users("direct", mark, mask),
        ]

    def direct_forwarded(self, mark: int, mask: int) -> list[NftRule]:
        """Return the rules for new flows that are forwarded from forced sources."""
        return self._take("direct", "sources", Side.SOURCE, mark, mask, (_FORWARDED,))

    def incoming(self, index: int, mark: int, mask: int) -> list[NftRule]:
        """Return the rule that has the direct link answer what comes in by it for this machine.

        Open flows are told by their direction: a login from afar outlives the mode's change.
        """
        matches = (
            MatchLink(Direction.IN, index),
            MatchFlowDirection(),
            MatchDestinationLocal(),
            MatchFlowMark(mask, 0),
        )
        rule = NftRule("direct: flow that comes in by it", (*matches, SetFlowMark(mask, mark)))
        return [rule] if self.vpn else []

    def vpn_destinations(self, mask: int) -> list[NftRule]:
        """Return the rules for new flows to where the VPN is to be used."""
        mark = self.vpn.mark if self.vpn else 0
        return self._take("vpn", "destinations", Side.DESTINATION, mark, mask)

    def vpn_origins(self, mask: int) -> list[NftRule]:
        """Return the same as ``direct_origins`` for the VPN."""
        mark = self.vpn.mark if self.vpn else 0
        return [
            *self._take("vpn", "sources", Side.SOURCE, mark, mask),
            *self._take_users("vpn", mark, mask),
        ]

    def vpn_forwarded(self, mask: int) -> list[NftRule]:
        """Return the same as ``direct_forwarded`` for the VPN."""
        mark = self.vpn.mark if self.vpn else 0
        return self._take("vpn", "sources", Side.SOURCE, mark, mask, (_FORWARDED,))

    def _take(  # noqa: PLR0913, PLR0917 - of one rule, and private
        self,
        way: str,
        what: str,
        side: Side,
        mark: int,
        mask: int,
        condition: tuple[Statement, ...] = (),
    ) -> list[NftRule]:
        purpose = f"{way}: new flow {'to' if side is Side.DESTINATION else 'from'} {what}"
        return [
            _take(purpose, (match, *condition), mark, mask)
            for match in self._addresses(f"{way}_{what}", side)
        ]

    def _take_users(self, way: str, mark: int, mask: int) -> list[NftRule]:
        name = f"{way}_users"
        if not any(nft_set.name == name for nft_set in self.sets):
            return []
        return [_take(f"{way}: new flow of users", (MatchUser(name),), mark, mask)]

    def _addresses(self, name: str, side: Side) -> Iterator[MatchAddress]:
        for family, kind in _KINDS.items():
            full = f"{name}{family.version}"
            if any(nft_set.name == full for nft_set in self.sets):
                yield MatchAddress(kind, side, full)


NOTHING_SELECTED = Selection()
_FORWARDED = MatchDestinationLocal(local=False)


def set_marks(mark: int, mask: int) -> tuple[Statement, ...]:
    """Return what marks a flow and the packet."""
    return (SetFlowMark(mask, mark), SetMark(mask, mark))


def _take(purpose: str, matches: tuple[Statement, ...], mark: int, mask: int) -> NftRule:
    return NftRule(purpose, (NEW, *matches, *set_marks(mark, mask), Counter(), Verdict.ACCEPT))


def find_selection(
    desired: Desired, vpn: Vpn | None, observed: Observed, *, is_steered: bool
) -> Selection:
    """Return what ``desired`` selects; ``is_steered`` says that the direct link is steered to."""
    sets: list[NftSet] = []
    if is_steered:
        sets += _override_sets("direct", desired.traffic.force_direct, observed)
    if vpn:
        sets += _override_sets("vpn", desired.traffic.force_vpn, observed)
        sets += _address_sets(_TUNNEL, vpn.endpoints)
    return Selection(vpn, tuple(sets))


def _override_sets(way: str, overrides: Overrides, observed: Observed) -> Iterator[NftSet]:
    yield from _address_sets(f"{way}_sources", overrides.subnets)
    ranges = overrides.user_ranges()
    if ranges:
        elements = tuple(f"{first}-{last}" for first, last in ranges)
        yield NftSet(f"{way}_users", SetKind.USER, elements)
    destinations = overrides.resolve_destinations(observed.host_addresses)
    yield from _address_sets(f"{way}_destinations", destinations)


def _address_sets(name: str, values: tuple[str, ...]) -> Iterator[NftSet]:
    for family, kind in _KINDS.items():
        if prefixes := collapse_prefixes(values, family):
            yield NftSet(f"{name}{family.version}", kind, prefixes)
