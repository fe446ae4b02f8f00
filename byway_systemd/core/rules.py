"""Routing rules: the bands, and keeping ours in front of everybody else's."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network
from typing import TYPE_CHECKING

from byway_systemd.core.desired import TABLES
from byway_systemd.core.network import (
    LOCAL_TABLE,
    PROTOCOL_KERNEL,
    Family,
    RoutingRule,
)

if TYPE_CHECKING:
    from byway_systemd.core.desired import Desired, Exit
    from byway_systemd.core.observed import Observed

# Where each band starts, relative to `[kernel] priority`.
DIRECT_MARK_OFFSET = -10
_LOWEST_PREFERENCE = 2  # at 0 or 1 wg-quick's two rules would come to stand in the wrong order


def is_own_rule(rule: RoutingRule) -> bool:
    """Whether the rule carries byway's marker: it looks up one of byway's own tables."""
    return rule.table in TABLES and rule.protocol == PROTOCOL_KERNEL


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


def plan_preference(
    desired: Desired, observed: Observed, marks: tuple[int, ...], family: Family
) -> int:
    """Return the preference of byway's mark rules: the band's, or just in front of a rival.

    It depends on foreign rules alone, so it neither creeps down at every repair nor stays down
    when the rival is gone. Never less than 2.
    """
    wanted = desired.base + DIRECT_MARK_OFFSET
    own = tuple(ip_interface(a).ip for link in observed.links for a in link.addresses)
    rivals = [
        rule.preference
        for rule in observed.rules
        if rule.family is family
        and rule.preference > 0
        and not is_own_rule(rule)
        and any(can_take(rule, mark, own) for mark in marks)
    ]
    lowest = min(rivals, default=wanted + 1)
    return max(_LOWEST_PREFERENCE, min(wanted, lowest - 1))


def mark_rules(
    desired: Desired, exits: tuple[Exit, ...], observed: Observed
) -> tuple[RoutingRule, ...]:
    """Return the rule of every exit, for both families."""
    marks = tuple(exit_.mark for exit_ in exits)
    return tuple(
        RoutingRule(family, preference, exit_.table, exit_.mark, desired.mark_mask)
        for family in Family
        for preference in (plan_preference(desired, observed, marks, family),)
        for exit_ in exits
    )


def _selects_mark_alone(rule: RoutingRule) -> bool:
    other = rule.source or rule.destination or rule.input_link or rule.output_link
    return not other and rule.first_uid < 0 and not rule.has_other_selectors


def _fits_source(rule: RoutingRule, own: tuple[IPv4Address | IPv6Address, ...]) -> bool:
    if not rule.source:
        return True
    network = ip_network(rule.source)
    return network.prefixlen == 0 or any(address in network for address in own)
