"""Canaries: what is sent, what is expected, and what is made of what was counted."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from fake_system import FakeSystem
from hypothesis import given, settings
from worlds import by_wg_quick, configured, desireds, laptop, observeds

from byway_systemd.core.canaries import CHECKS, MOST, NO_SLICE, Canary, find_canaries
from byway_systemd.core.canary_report import (
    MARKED,
    Protocol,
    Sighting,
    build_counting_table,
    judge,
    plan_trial,
    present_trial,
)
from byway_systemd.core.config import Profile, WhenDown
from byway_systemd.core.network import Family, Route
from byway_systemd.core.nftables import render_table
from byway_systemd.core.traffic import Mode, Overrides, Traffic, Users, WhenVpnDown
from byway_systemd.reconcile import reconcile

if TYPE_CHECKING:
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed

WWAN, WG = 3, 4
FORCED = Traffic(
    Mode.SELECTIVE,
    force_direct=Overrides(
        ("192.168.1.0/24", "172.18.0.0/16"), (Users(5, 9),), ("/a.slice",), ("198.18.0.0/15",)
    ),
    force_vpn=Overrides(
        ("172.18.4.0/24", "172.31.0.0/24"),
        (Users(9, 9), Users(20, 29)),
        ("/a.slice/b", "/v.slice", "/gone.slice", "x.service"),
        ("198.18.4.0/24", "198.20.0.1/32", "10.64.0.0/24"),
    ),
)
IDS = tuple(
    (path, n) for n, path in enumerate(("/byway.slice", "/a.slice", "/a.slice/b", "/v.slice"))
)


def machine(**changes: object) -> Observed:
    """A laptop whose tunnel has the default route, by the rules of wg-quick."""
    tunnel = Route(Family.IPV4, 51820, "0.0.0.0/0", link=WG)
    before = laptop()
    world = replace(
        before,
        routes=(*before.routes, tunnel),
        rules=tuple(sorted((*before.rules, *by_wg_quick(20000)), key=lambda r: r.preference)),
        cgroup_ids=IDS,
    )
    return replace(world, **changes)  # type: ignore[arg-type]


def ways(desired: Desired, observed: Observed, family: Family = Family.IPV4) -> dict[str, object]:
    """Return what each canary of a family may leave by: links, ``none`` or ``any``."""
    found = {}
    for canary in find_canaries(desired, observed)[0]:
        if canary.family is family:
            links: object = "any" if canary.way.links is None else set(canary.way.links) or "none"
            found[f"{canary.check} {canary.selects}"] = links
    return found


def test_direct_beats_vpn_beats_the_mode() -> None:
    assert ways(configured(traffic=FORCED), machine()) == {
        "outside nothing": {WWAN},
        "app byway.slice": {WWAN},
        "cgroup /a.slice": {WWAN},
        "cgroup /a.slice/b": {WWAN},
        "cgroup /v.slice": {WG},
        "uid uid 5": {WWAN},
        "uid uid 9": {WWAN},
        "uid uid 20": {WG},
        "source 172.18.0.0/16": {WWAN},
        "source 192.168.1.0/24": {WWAN},
        "source 172.18.4.0/24": {WWAN},
        "source 172.31.0.0/24": {WG},
        "destination 198.18.0.0/15": {WWAN},
        "destination 198.18.4.0/24": {WWAN},
        "destination 198.20.0.1/32": {WG},
    }


def test_what_is_not_tried() -> None:
    _, skipped = find_canaries(configured(traffic=FORCED), machine())
    assert {(one.selects, one.because.partition(":")[0]) for one in skipped} == {
        ("/gone.slice", "there is no such cgroup now"),
        ("x.service", "there is no such cgroup now"),
        ("10.64.0.0/24", "it is near"),
    }


@pytest.mark.parametrize(
    ("mode", "four", "six"),
    [
        (Mode.BYPASS, {WG}, "any"),
        (Mode.FULL_TUNNEL, {WG}, "none"),
        (Mode.SELECTIVE, {WWAN}, {WWAN}),
        (Mode.DIRECT, {WWAN}, {WWAN}),
    ],
)
def test_what_nothing_selects(mode: Mode, four: object, six: object) -> None:
    desired = configured(traffic=Traffic(mode))
    assert ways(desired, machine())["outside nothing"] == four
    assert ways(desired, machine(), Family.IPV6)["outside nothing"] == six


def test_links_that_are_down() -> None:
    down = machine(links=tuple(replace(x, up=x.index not in (WWAN, WG)) for x in laptop().links))
    gone = replace(down, routes=tuple(r for r in down.routes if r.link not in (WWAN, WG)))
    strict = ways(configured(traffic=FORCED), gone)
    assert (strict["app byway.slice"], strict["cgroup /v.slice"]) == ("none", "none")
    lax = replace(FORCED, when_vpn_down=WhenVpnDown.DIRECT)
    profile = Profile(interface="wwan0", when_down=WhenDown.VPN)
    found = ways(configured(traffic=lax, profiles=(profile,)), gone)
    assert set(found.values()) == {"any"}


def test_while_routes_are_cleared() -> None:
    desired = replace(configured(traffic=FORCED), cleared=True)
    canaries, _ = find_canaries(desired, machine())
    selected = [canary for canary in canaries if canary.check != "outside"]
    assert selected
    assert all(canary.way.blocked and canary.way.marked for canary in selected)
    assert ways(desired, machine())["outside nothing"] == {WG}


def test_a_tunnel_that_leads_nothing_is_not_expected() -> None:
    unused = machine(rules=laptop().rules)
    assert ways(configured(), unused)["outside nothing"] == "any"


@settings(max_examples=200, deadline=None)
@given(desireds, observeds)
def test_canaries_of_any_world(desired: Desired, observed: Observed) -> None:
    """Sent to what can be sent to, few, and the table is one that a kernel takes."""
    system = FakeSystem(observed)
    reconcile(system, desired)
    trial = plan_trial(desired, system.observed)
    names = {check.name for check in CHECKS}
    for canary in trial.canaries:
        assert canary.check in names
        assert ip_address(canary.destination).version == canary.family.version
        assert not ip_address(canary.destination).is_multicast
        assert not canary.source or ip_address(canary.source).version == canary.family.version
        assert canary.slice == NO_SLICE or not canary.cgroup
    assert len(trial.canaries) <= 2 * (1 + len(desired.profiles) + 4 * 2 * MOST)
    assert "udp" not in render_table(trial.table)
    sightings = tuple(right(canary, protocol) for canary in trial.canaries for protocol in Protocol)
    report = present_trial(trial, sightings, desired, system.observed)
    assert report["passed"] == bool(sightings)


def right(canary: Canary, protocol: Protocol = Protocol.UDP) -> Sighting:
    """Return what is seen where all is as it should be."""
    links = frozenset() if canary.way.blocked else canary.way.links or frozenset()
    return Sighting(canary, protocol, links, marked=bool(canary.way.marked))


def test_what_nothing_selects_is_beside_what_is_selected() -> None:
    canaries, _ = find_canaries(configured(traffic=FORCED), machine())
    outside = next(canary for canary in canaries if canary.check == "outside")
    assert outside.uid == 10
    every = Overrides(uids=(Users(0, 2**32 - 2),))
    canaries, skipped = find_canaries(configured(traffic=Traffic(force_direct=every)), machine())
    assert (canaries, len(skipped)) == ((), 1)


def test_target_is_no_listed_one() -> None:
    listed = Overrides(destinations=("192.0.2.0/24", "198.51.100.0/25"))
    routed = Route(Family.IPV4, 254, "203.0.113.0/24", link=2)
    observed = machine(routes=(*machine().routes, routed))
    canaries, _ = find_canaries(configured(traffic=Traffic(force_direct=listed)), observed)
    found = {c.destination for c in canaries if c.check == "outside" and c.family is Family.IPV4}
    assert found == {"198.51.100.209"}


def test_judgement() -> None:
    canaries, _ = find_canaries(configured(traffic=FORCED), machine())
    app = next(canary for canary in canaries if canary.check == "app")
    assert judge(right(app)) == ""
    assert (
        judge(Sighting(app, Protocol.TCP, frozenset([2]), marked=True)) == "it left by another link"
    )
    assert judge(Sighting(app, Protocol.TCP, frozenset([WWAN, 2]), marked=True)) != ""
    assert judge(Sighting(app, Protocol.TCP, frozenset([WWAN]))) == "it has no mark of byway's"
    assert judge(Sighting(app, Protocol.TCP, error="no route")) == "it did not leave: no route"
    outside = next(canary for canary in canaries if canary.check == "outside")
    assert judge(replace(right(outside), marked=True)) == "it has a mark of byway's"
    nowhere = replace(app, way=replace(app.way, links=frozenset(), blocked=True))
    assert judge(Sighting(nowhere, Protocol.UDP)) == ""
    assert judge(Sighting(nowhere, Protocol.UDP, frozenset([2]))) == "it left, and should not"


def test_table_looks_at_canaries_alone() -> None:
    canaries, _ = find_canaries(configured(traffic=FORCED), machine())
    table = build_counting_table(canaries, configured(), machine())
    (chain,) = table.chains
    for rule in chain.rules:
        assert "daddr @canaries" in str(rule)
        assert "th dport 9" in str(rule)
        assert str(rule).endswith("counter" if rule.purpose == MARKED else "counter drop")
