"""Routing rules: the bands, and keeping ours in front of everybody else's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network
from typing import TYPE_CHECKING

from byway_systemd.core.config import DEFAULT_PROFILE
from byway_systemd.core.desired import TABLES
from byway_systemd.core.network import (
    LOCAL_TABLE,
    MAIN_TABLE,
    PROTOCOL_KERNEL,
    Family,
    RoutingRule,
)
from byway_systemd.core.traffic import Mode, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from byway_systemd.core.desired import Desired, Exit
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.traffic import Overrides
    from byway_systemd.core.vpn import Vpn


@dataclass(frozen=True, slots=True)
class Band:
    """Where rules of a kind begin, relative to ``[kernel] priority``, and how many there may be."""

    offset: int
    size: int


DIRECT_MARK = Band(-10, 1)
DIRECT_SOURCES = Band(0, 80)
DIRECT_USERS = Band(80, 30)
VPN_MARK = Band(110, 1)
VPN_SOURCES = Band(120, 80)
VPN_USERS = Band(200, 100)
FULL_TUNNEL = Band(300, 1)
SELECTIVE = Band(400, 2)

DIRECT_MARK_OFFSET = DIRECT_MARK.offset
_LOWEST_PREFERENCE = 2  # at 0 or 1 wg-quick's two rules would come to stand in the wrong order
# Main's routes count before the base rule, but for defaults and what VPN clients split them into.
LONGEST_DEFAULT = 7


def is_own_rule(rule: RoutingRule) -> bool:
    """Whether the rule carries byway's marker.

    It looks up one of byway's own tables, or main for all but defaults in byway's own way.
    """
    in_own = rule.table in TABLES
    before_base = rule.table == MAIN_TABLE and rule.suppress_prefix_length == LONGEST_DEFAULT
    return (in_own or before_base) and rule.protocol == PROTOCOL_KERNEL


def is_base_rule(rule: RoutingRule) -> bool:
    """Whether a rule of byway's is the mode's: for all that nothing else decides."""
    return not rule.source and rule.first_uid < 0 and (not rule.mask or rule.inverted)


def can_take(rule: RoutingRule, mark: int, own: tuple[IPv4Address | IPv6Address, ...]) -> bool:
    """Return whether a foreign rule could decide about packets of this machine that carry ``mark``.

    A rule that needs other mark bits cannot; neither can the local table's, nor one for sources
    that none of this machine's ``own`` addresses is in, nor one for an incoming link but ``lo``:
    that is where what is sent from here comes in (ip-rule(8)). An inverted
    rule (``not fwmark ...``) takes all but what fits every selector it has. What cannot be told
    counts as taking.
    """
    # l3mdev (a VRF's rule, preference 1000) takes only what belongs to a VRF: it has no table.
    if rule.table == LOCAL_TABLE or (rule.table == 0 and rule.has_other_selectors):
        return False
    fits_mark = mark & rule.mask == rule.mark
    if rule.inverted:
        return not (rule.mask and fits_mark and _selects_mark_alone(rule))
    return fits_mark and rule.input_link in ("", "lo") and _fits_source(rule, own)


def can_take_forwarded(rule: RoutingRule, sources: tuple[str, ...]) -> bool:
    """Return whether a foreign rule could decide about unmarked packets from ``sources``."""
    if not sources:
        return False
    if rule.table == LOCAL_TABLE or (rule.table == 0 and rule.has_other_selectors):
        return False
    if rule.inverted:
        return True
    overlaps = not rule.source or any(
        ip_network(rule.source).overlaps(ip_network(source))
        for source in sources
        if (":" in source) == (":" in rule.source)
    )
    return not rule.mark and rule.input_link != "lo" and overlaps


def plan_preferences(
    desired: Desired, observed: Observed, family: Family, offsets: tuple[int, ...], marks: set[int]
) -> dict[int, int]:
    """Return the preference of each of ``offsets``: the bands', or all in front of a rival.

    ``marks`` are those of the packets that the rules are for, 0 among them for unmarked ones.
    Depends on foreign rules alone, so byway's neither creep down at every repair nor stay down
    when the rival is gone. Never less than 2; where the block does not fit above that, its rules
    stand one behind the other.
    """
    own = tuple(ip_interface(a).ip for link in observed.links for a in link.addresses)
    overrides = (desired.traffic.force_direct, desired.traffic.force_vpn)
    sources = tuple(source for side in overrides for source in side.sources(family))
    rivals = [
        rule.preference
        for rule in observed.rules
        if rule.family is family
        and rule.preference > 0
        and not is_own_rule(rule)
        and (any(can_take(rule, m, own) for m in marks) or can_take_forwarded(rule, sources))
    ]
    first, last = offsets[0], offsets[-1]
    rival = min(rivals, default=desired.base + last + 1)
    start = min(desired.base + first, rival - 1 - (last - first))
    if start >= _LOWEST_PREFERENCE:
        return {offset: start + offset - first for offset in offsets}
    start = max(_LOWEST_PREFERENCE, rival - len(offsets))
    return {offset: start + index for index, offset in enumerate(offsets)}


def plan_rules(
    desired: Desired, exits: tuple[Exit, ...], vpn: Vpn | None, observed: Observed
) -> tuple[RoutingRule, ...]:
    """Return every rule, for both families, each family's by preference."""
    rules: list[RoutingRule] = []
    for family in Family:
        offsets = sorted(_rules_by_offset(desired, exits, vpn, family), key=lambda pair: pair[0])
        if not offsets:
            continue
        distinct = tuple(sorted({offset for offset, _ in offsets}))
        marks = {
            rule.mark & rule.mask if rule.mask == desired.mark_mask else 0 for _, rule in offsets
        }
        places = plan_preferences(desired, observed, family, distinct, marks)
        rules += (replace(rule, preference=places[offset]) for offset, rule in offsets)
    return tuple(rules)


def describe_purpose(rule: RoutingRule, desired: Desired) -> str:
    """Return what a rule of byway's is for, or why it stands elsewhere."""
    standard = desired.base + DIRECT_MARK.offset
    if rule.preference < standard and desired.traffic == Traffic():
        return f"a foreign rule stands at {rule.preference + 1}, in front of {standard}"
    if rule.suppress_prefix_length >= 0:
        return "what main has a narrower route for goes by it"
    to_vpn = rule.table == desired.traffic.vpn_table.number
    if rule.mask == desired.mark_mask:
        return "marked packets take the VPN" if to_vpn else "marked packets take the direct link"
    if rule.source or rule.first_uid >= 0:
        return "it is forced to the VPN" if to_vpn else "it is forced to the direct link"
    return f"the mode is {desired.traffic.mode}"


def _rules_by_offset(
    desired: Desired, exits: tuple[Exit, ...], vpn: Vpn | None, family: Family
) -> Iterator[tuple[int, RoutingRule]]:
    """Yield the rules with where they stand, their preference left open."""
    traffic, mask = desired.traffic, desired.mark_mask
    default = next((exit_ for exit_ in exits if exit_.profile.name == DEFAULT_PROFILE), None)
    for exit_ in exits:
        yield DIRECT_MARK.offset, RoutingRule(family, 0, exit_.table, exit_.mark, mask)
    if default:
        bands = (DIRECT_SOURCES, DIRECT_USERS)
        yield from _override_rules(traffic.force_direct, bands, default.table, family)
    if vpn:
        yield VPN_MARK.offset, RoutingRule(family, 0, vpn.table, vpn.mark, mask)
        yield from _override_rules(traffic.force_vpn, (VPN_SOURCES, VPN_USERS), vpn.table, family)
    if vpn and traffic.mode is Mode.FULL_TUNNEL:
        yield FULL_TUNNEL.offset, _all_but_tunnel(vpn, family)
    if default and traffic.mode.leads_direct:
        yield (
            SELECTIVE.offset,
            RoutingRule(family, 0, MAIN_TABLE, suppress_prefix_length=LONGEST_DEFAULT),
        )
        yield SELECTIVE.offset + 1, RoutingRule(family, 0, default.table)


def _all_but_tunnel(vpn: Vpn, family: Family) -> RoutingRule:
    """The tunnel's own packets must not enter it again: WireGuard gives them its mark."""
    if not vpn.tunnel_mark:
        return RoutingRule(family, 0, vpn.table)
    return RoutingRule(family, 0, vpn.table, vpn.tunnel_mark, 0xFFFFFFFF, inverted=True)


def _override_rules(
    overrides: Overrides, bands: tuple[Band, Band], table: int, family: Family
) -> Iterator[tuple[int, RoutingRule]]:
    """Yield the rules of sources and users, unless there are too many for the band."""
    of_sources, of_users = bands
    for index, source in enumerate(rules_of_sources(overrides, of_sources, family)):
        yield of_sources.offset + index, RoutingRule(family, 0, table, source=source)
    for index, (first, last) in enumerate(rules_of_users(overrides, of_users)):
        yield (
            of_users.offset + index,
            RoutingRule(family, 0, table, first_uid=first, last_uid=last),
        )


def rules_of_sources(overrides: Overrides, band: Band, family: Family) -> tuple[str, ...]:
    """Return the prefixes that get a rule each; none where they are too many for the band."""
    sources = overrides.sources(family)
    return sources if len(sources) <= band.size else ()


def rules_of_users(overrides: Overrides, band: Band) -> tuple[tuple[int, int], ...]:
    """Return the ranges of ids that get a rule each; none where they are too many for the band."""
    ranges = overrides.user_ranges()
    return ranges if len(ranges) <= band.size else ()


def _selects_mark_alone(rule: RoutingRule) -> bool:
    other = rule.source or rule.destination or rule.input_link or rule.output_link
    return not other and rule.first_uid < 0 and not rule.has_other_selectors


def _fits_source(rule: RoutingRule, own: tuple[IPv4Address | IPv6Address, ...]) -> bool:
    if not rule.source:
        return True
    network = ip_network(rule.source)
    return network.prefixlen == 0 or any(address in network for address in own)
