"""The nftables table: what is in it, in which order, and under which names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from worlds import TUNNEL, WLAN, WWAN, laptop

from byway_systemd.core.config import Config, Profile
from byway_systemd.core.desired import desire
from byway_systemd.core.firewall import build_table
from byway_systemd.core.links import find_uplink
from byway_systemd.core.network import Route, Tunnel
from byway_systemd.core.nftables import (
    MatchCgroup,
    MatchLink,
    NftTable,
    SetKind,
    SetMark,
    Verdict,
    render_table,
)
from byway_systemd.core.observed import Group, Observed, Service
from byway_systemd.core.operations import ReplaceTable
from byway_systemd.core.plan import plan
from byway_systemd.core.steering import find_steering
from byway_systemd.core.traffic import Mode, Overrides, Traffic, Users

GOLDEN = Path(__file__).with_name("firewall.nft")
GOLDEN_TRAFFIC = Path(__file__).with_name("firewall-traffic.nft")


def table(observed: Observed, *profiles: Profile, mask: int = 0x3F000000) -> NftTable:
    desired = desire(Config(profiles=profiles, mark_mask=mask))
    uplinks = tuple(find_uplink(exit_, observed) for exit_ in desired.exits)
    return build_table(uplinks, find_steering(desired, observed), observed)


DEFAULT, LTE = Profile(interface="wwan0"), Profile(name="lte", interface="wlan0")


def rules(of: NftTable, chain: str) -> list[str]:
    found = next(c for c in of.chains if c.name == chain)
    return [rule.purpose for rule in found.rules]


def test_golden(update_expected: bool) -> None:
    text = render_table(table(laptop(), DEFAULT, LTE))
    if update_expected:
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_golden_of_the_traffic_section(update_expected: bool) -> None:
    traffic = Traffic(
        Mode.SELECTIVE,
        force_direct=Overrides(("172.17.0.0/16",), (Users(5, 9),), (), ("203.0.113.0/24",)),
        force_vpn=Overrides(
            (), (Users(1000, 1000),), ("/a.slice",), ("2001:db8:9::/48", "h.example")
        ),
    )
    observed = replace(
        laptop(),
        cgroup_ids=(("/byway.slice", 7), ("/a.slice", 8)),
        tunnels=(Tunnel(TUNNEL.index, 0, ("198.51.100.7/32",)),),
        host_addresses=(("h.example", "192.0.2.9/32"),),
    )
    desired = desire(Config(profiles=(DEFAULT,), traffic=traffic))
    made = next(o.table for o in plan(desired, observed) if isinstance(o, ReplaceTable))
    text = render_table(made)
    if update_expected:
        GOLDEN_TRAFFIC.write_text(text)
    assert text == GOLDEN_TRAFFIC.read_text()


def test_deepest_slice_is_asked_first() -> None:
    output = next(c for c in table(laptop(), DEFAULT, LTE).chains if c.name == "output")
    asked = [s for rule in output.rules for s in rule.statements if isinstance(s, MatchCgroup)]
    assert [(match.level, match.set_name) for match in asked] == [
        (3, "cgroups_lte"), (2, "cgroups_lte"), (1, "cgroups_default"),
    ]  # fmt: skip


def test_sets_hold_ids_or_the_path_of_what_does_not_run_yet() -> None:
    ids = (("/byway.slice", 77), ("/byway.slice/byway-gate.service/lte", 78))
    observed = Observed(links=laptop().links, cgroup_ids=ids)
    sets = {s.name: s.elements for s in table(observed, DEFAULT, LTE).sets}
    assert sets["cgroups_default"] == ("77",)
    assert sets["cgroups_lte"] == ("/byway.slice/byway-lte.slice", "78")


def test_near_sets_hold_collapsed_prefixes_of_what_is_no_tunnel() -> None:
    routes = (
        *laptop().routes,
        Route(laptop().routes[0].family, 254, "192.168.1.128/25", link=2),
        Route(laptop().routes[0].family, 254, "10.99.0.0/24", link=TUNNEL.index),
        Route(laptop().routes[0].family, 254, "203.0.113.9/32", gateway="192.168.1.1", link=2),
    )
    observed = Observed(links=laptop().links, routes=routes)
    sets = {s.name: s for s in table(observed, DEFAULT).sets}
    assert sets["near4"].elements == ("10.64.0.0/24", "192.168.1.0/24")
    assert sets["near6"].elements == ("fe80::/64",)
    assert (sets["near4"].kind, sets["near6"].kind) == (SetKind.IPV4, SetKind.IPV6)


def test_marked_traffic_never_leaves_by_a_tunnel_not_even_to_what_is_near() -> None:
    purposes = rules(table(laptop(), DEFAULT), "egress")
    assert purposes.index("default: never by tunnel 4") < purposes.index("near")
    assert purposes[-1] == "default: never by another link"


def test_a_tunnel_that_is_the_direct_link_is_not_dropped() -> None:
    purposes = rules(table(laptop(), Profile(interface="wg0")), "egress")
    assert "default: never by tunnel 4" not in purposes


def test_an_absent_link_accepts_nothing_but_near() -> None:
    absent = table(laptop(), Profile(interface="usb0"))
    egress = next(c for c in absent.chains if c.name == "egress")
    accepted = [rule for rule in egress.rules if rule.statements[-1] is Verdict.ACCEPT]
    assert [rule.purpose for rule in accepted] == ["loopback", "near", "near"]
    assert rules(absent, "source") == []
    assert not [p for p in rules(absent, "prerouting") if "listener" in p]


def test_links_are_told_by_index() -> None:
    for chain in table(laptop(), DEFAULT).chains:
        for rule in chain.rules:
            for statement in rule.statements:
                if isinstance(statement, MatchLink):
                    assert statement.index in (1, WLAN.index, WWAN.index, TUNNEL.index)


def test_marks_stay_inside_the_mask() -> None:
    for mask in (0x3F000000, 0xFF, 0xF0):
        for chain in table(laptop(), DEFAULT, LTE, mask=mask).chains:
            for rule in chain.rules:
                for statement in rule.statements:
                    if isinstance(statement, SetMark):
                        assert statement.mask == mask
                        assert statement.value & ~mask == 0
                        assert statement.value != 0


def test_a_comment_is_the_rules_identity() -> None:
    one, other = table(laptop(), DEFAULT), table(laptop(), Profile(interface="wlan0"))
    comments = [rule.comment for chain in one.chains for rule in chain.rules]
    assert all(len(comment.encode()) <= 127 for comment in comments)
    assert one.outline() == table(laptop(), DEFAULT).outline()
    assert one.outline().chains != other.outline().chains


def test_adopted_and_released_cgroups_have_levels_of_their_own() -> None:
    observed = replace(
        laptop(),
        cgroup_ids=(("/byway.slice", 7), ("/u.slice/a/b.scope", 8), ("/byway.slice/x.service", 9)),
        groups=(Group("/u.slice/a/b.scope", "default", "/usr/bin/curl"),),
        services=(Service("x.service", "/byway.slice/x.service", "system.slice"),),
    )
    made = table(observed, DEFAULT)
    sets = {s.name: s.elements for s in made.sets}
    assert sets["cgroups_default"] == ("7", "8")
    assert sets["cgroups_released"] == ("9",)
    output = next(c for c in made.chains if c.name == "output")
    asked = [s for rule in output.rules for s in rule.statements if isinstance(s, MatchCgroup)]
    assert [(match.level, match.set_name) for match in asked] == [
        (3, "cgroups_default"), (2, "cgroups_released"), (1, "cgroups_default"),
    ]  # fmt: skip
