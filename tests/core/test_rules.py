"""Which foreign rules could take marked packets, and where byway's stand then."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from worlds import STANDARD_RULES, by_wg_quick, configured

from byway_systemd.core.desired import FIRST_TABLE
from byway_systemd.core.network import Family, RoutingRule
from byway_systemd.core.observed import Observed
from byway_systemd.core.rules import can_take, is_own_rule, plan_preferences, plan_rules

V4, V6 = Family
MARK = 0x01000000


def rule(preference: int = 100, table: int = 52, **selectors: object) -> RoutingRule:
    return RoutingRule(V4, preference, table, protocol=3, **selectors)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("foreign", "takes"),
    [
        # wg-quick: not fwmark 51820 lookup 51820; lookup main suppress_prefixlength 0
        (rule(table=51820, mark=51820, mask=0xFFFFFFFF, inverted=True), True),
        (rule(table=254, suppress_prefix_length=0), True),
        # Tailscale: fwmark 0x80000/0xff0000 lookup main, then unreachable; lookup 52
        (rule(table=254, mark=0x80000, mask=0xFF0000), False),
        (rule(table=0, mark=0x80000, mask=0xFF0000), False),
        (rule(table=52), True),
        # NetworkManager: not fwmark 0xcbdd lookup 52061
        (rule(31000, 52061, mark=0xCBDD, mask=0xFFFFFFFF, inverted=True), True),
        # A VRF's: l3mdev
        (rule(1000, 0, has_other_selectors=True), False),
        (rule(table=0), True),  # unreachable, for all
        (rule(0, 255), False),
        (rule(first_uid=1000, last_uid=1000), True),
        (rule(destination="10.0.0.0/8"), True),
        (rule(output_link="wlan0"), True),
        (rule(input_link="wlan0"), False),
        (rule(input_link="lo"), True),  # what this machine sends comes in by lo
        (rule(source="192.168.1.5/32"), False),
        (rule(source="192.168.0.0/16"), True),  # wlan0 has an address there
        (rule(source="172.16.0.0/12"), False),
        (rule(source="10.99.0.2/32"), True),  # the tunnel's own: chosen before the mark
        (rule(source="0.0.0.0/1"), True),
        (rule(source="::/0"), True),
        (rule(mark=MARK, mask=0x3F000000), True),
        (rule(mark=0, mask=0xFF), True),
        (rule(mark=0, mask=0x3F000000), False),
        (rule(mark=MARK, mask=0x3F000000, inverted=True), False),
        (rule(mark=0, mask=0xFF, inverted=True), False),
        # `not` turns the whole rule around: all but what fits every selector
        (rule(source="192.168.1.5/32", inverted=True), True),
        (rule(input_link="wlan0", inverted=True), True),
        (rule(mark=MARK, mask=MARK, source="192.168.1.5/32", inverted=True), True),
        (rule(mark=MARK, mask=MARK, first_uid=0, last_uid=0, inverted=True), True),
    ],
)
def test_can_take(foreign: RoutingRule, takes: bool) -> None:
    own = (ip_address("192.168.1.10"), ip_address("10.99.0.2"))
    assert can_take(foreign, MARK, own) is takes


@pytest.mark.parametrize(
    ("table", "protocol", "own"),
    [
        (FIRST_TABLE, 2, True),
        (FIRST_TABLE + 63, 2, True),
        (FIRST_TABLE + 64, 2, False),
        (FIRST_TABLE, 3, False),
        (254, 2, False),
    ],
)
def test_own_rule_looks_up_an_own_table(table: int, protocol: int, own: bool) -> None:
    assert is_own_rule(RoutingRule(V4, 5, table, protocol=protocol)) is own


def preference(*foreign: RoutingRule, family: Family = V4, base: int = 11600) -> int:
    desired = replace(configured(), base=base)
    observed = Observed(rules=(*STANDARD_RULES, *foreign))
    return plan_preferences(desired, observed, family, (-10,), {MARK})[-10]


def test_stands_in_its_band() -> None:
    assert preference() == 11590
    assert preference(rule(31000)) == 11590
    assert preference(base=500) == 490


def test_stands_in_front_of_a_rival() -> None:
    assert preference(rule(5270)) == 5269
    assert preference(rule(5270), rule(5210)) == 5209
    assert preference(rule(11590)) == 11589
    assert preference(rule(11591)) == 11590


@pytest.mark.parametrize("rival", [1, 2, 3])
def test_never_below_2(rival: int) -> None:
    assert preference(rule(rival)) == 2


def test_preference_0_cannot_be_beaten() -> None:
    assert preference(rule(0)) == 11590


def test_families_are_apart() -> None:
    assert preference(rule(5270), family=V6) == 11590


def test_own_rules_are_no_rivals_so_it_does_not_creep() -> None:
    assert preference(RoutingRule(V4, 5269, FIRST_TABLE), rule(5270)) == 5269


def test_goes_back_when_the_rival_is_gone() -> None:
    assert preference(RoutingRule(V4, 5269, FIRST_TABLE)) == 11590


def test_stands_before_both_rules_of_wg_quick() -> None:
    rules = by_wg_quick(5000)
    assert [r.preference for r in rules if r.family is V4] == [4999, 5000]
    assert preference(*rules) == 4998


def test_rules_of_both_families() -> None:
    desired = configured()
    rules = plan_rules(desired, desired.exits, None, Observed(rules=(rule(5270),)))
    assert [(r.family, r.preference, r.table, r.mark, r.mask) for r in rules] == [
        (V4, 5269, FIRST_TABLE, MARK, 0x3F000000),
        (V6, 11590, FIRST_TABLE, MARK, 0x3F000000),
    ]
    assert all(map(is_own_rule, rules))
