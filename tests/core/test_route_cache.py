"""Cleared routes: what is left in force, and what may be put back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fake_system import FakeSystem
from hypothesis import given, settings
from worlds import configured, desireds, laptop, observeds

from byway_systemd.core.apps import RefusedError
from byway_systemd.core.config import Profile, WhenDown
from byway_systemd.core.desired import TABLES, Desired
from byway_systemd.core.parse import LARGEST_CACHE
from byway_systemd.core.plan import plan
from byway_systemd.core.route_cache import (
    RouteCache,
    _digest,
    describe_missing,
    find_route_cache,
    parse_route_cache,
    render_route_cache,
)
from byway_systemd.core.rules import is_own_rule
from byway_systemd.core.status import build_status
from byway_systemd.core.traffic import Mode, Overrides, Traffic
from byway_systemd.reconcile import reconcile

if TYPE_CHECKING:
    from byway_systemd.core.observed import Observed

FULL = Traffic(Mode.FULL_TUNNEL, force_vpn=Overrides(destinations=("198.51.100.0/24",)))


def applied(desired: Desired) -> FakeSystem:
    system = FakeSystem(laptop())
    assert not reconcile(system, desired).failures
    return system


@settings(max_examples=100, deadline=None)
@given(desireds, observeds)
def test_nothing_is_routed_while_they_are_cleared(desired: Desired, observed: Observed) -> None:
    system = FakeSystem(observed)
    reconcile(system, desired)
    reconcile(system, replace(desired, cleared=True))
    assert not any(route.table in TABLES for route in system.observed.routes)
    assert not any(is_own_rule(rule) for rule in system.observed.rules)


@settings(max_examples=100, deadline=None)
@given(desireds, observeds)
def test_restored_is_as_never_cleared(desired: Desired, observed: Observed) -> None:
    system = FakeSystem(observed)
    reconcile(system, desired)
    before = find_route_cache(system.observed)
    reconcile(system, replace(desired, cleared=not desired.cleared))
    reconcile(system, desired)
    after = find_route_cache(system.observed)
    assert (set(before.routes), set(before.rules)) == (set(after.routes), set(after.rules))


@pytest.mark.parametrize("traffic", [Traffic(), FULL])
def test_what_is_listed_is_still_kept_off_other_links(traffic: Traffic) -> None:
    """The marks and the strict egress stay: nothing in them is for the routes alone."""
    system = applied(configured(traffic=traffic))
    guarded = system.observed.table
    operations = plan(replace(configured(traffic=traffic), cleared=True), system.observed)
    assert {type(operation).__name__ for operation in operations} == {"DeleteRule", "DeleteRoute"}
    assert {operation.because for operation in operations} == {"the routes are cleared"}
    for operation in operations:
        system.apply(operation)
    assert system.observed.table == guarded
    assert "default: never by another link" in str(guarded)


def test_what_may_use_the_vpn_while_its_link_is_down_may_now() -> None:
    lax = Profile(interface="wwan0", when_down=WhenDown.VPN)
    desired = configured(profiles=(lax,))
    system = applied(desired)
    assert system.observed.table
    reconcile(system, replace(desired, cleared=True))
    assert system.observed.table is None


def test_status_says_so() -> None:
    desired = replace(configured(traffic=FULL), cleared=True)
    system = applied(desired)
    status = build_status(desired, system.observed, plan(desired, system.observed))
    assert status["in_sync"]
    assert (status["traffic"]["applied_mode"], status["traffic"]["routes_cleared"]) == (None, True)
    assert "byway routes restore" in status["warnings"][0]


@settings(max_examples=50)
@given(desireds, observeds)
def test_cache_survives_the_file(desired: Desired, observed: Observed) -> None:
    system = FakeSystem(observed)
    reconcile(system, desired)
    cache = find_route_cache(system.observed)
    assert parse_route_cache(render_route_cache(cache)) == cache
    assert describe_missing(cache, system.observed) == ()


def test_what_has_no_place_any_more_is_named() -> None:
    system = applied(configured())
    cache = find_route_cache(system.observed)
    gone = cache.routes[0]
    changed = replace(system.observed, routes=tuple(r for r in system.observed.routes if r != gone))
    assert len(describe_missing(cache, changed)) == 1
    moved = tuple(replace(rule, preference=rule.preference - 3) for rule in cache.rules)
    assert describe_missing(replace(cache, rules=moved), system.observed) == ()


def forged(**changes: Any) -> str:
    """Return a text whose checksum fits."""
    value = json.loads(render_route_cache(find_route_cache(applied(configured()).observed)))
    content = {name: changes.get(name, value[name]) for name in ("routes", "rules")}
    return json.dumps(value | changes | {"checksum": _digest(content)})


FOREIGN_ROUTE = {
    "family": 2, "table": 254, "destination": "0.0.0.0/0", "kind": "unicast", "gateway": "",
    "link": 3, "metric": 0, "source": "", "scope": 0, "protocol": 2, "onlink": False, "mtu": 0,
}  # fmt: skip
WHOLE = render_route_cache(find_route_cache(applied(configured()).observed))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged"),
        ("refused\n", "damaged"),
        ("[" * 100_000, "damaged"),
        ("[]", "foreign"),
        ('{"format": "other"}', "foreign"),
        (WHOLE[: len(WHOLE) // 2], "damaged"),
        (WHOLE.replace('"version": 1', '"version": 2'), "another version: 2"),
        (WHOLE.replace("11590", "11591"), "checksum"),
        (forged(routes=[FOREIGN_ROUTE]), "not byway's own"),
        (forged(routes=[FOREIGN_ROUTE | {"table": True}]), "no routes"),
        (forged(routes=[FOREIGN_ROUTE | {"extra": 1}]), "no routes"),
        (forged(routes=[FOREIGN_ROUTE | {"kind": "odd"}]), "no routes"),
        (forged(rules=[{"family": 2}]), "no routes"),
        (forged(rules=[7]), "no routes"),
        (forged(rules=None), "no routes"),
        (" " * (LARGEST_CACHE + 1), "more than"),
    ],
    ids=range(16),
)
def test_damaged_and_foreign_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as caught:
        parse_route_cache(text)
    assert caught.value.remedy.startswith("remove it")


def test_empty_cache() -> None:
    assert parse_route_cache(render_route_cache(RouteCache())) == RouteCache()
