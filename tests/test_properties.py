"""The plan's three properties, over worlds nobody would think of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_system import FakeSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import desireds, observeds

from byway_systemd.core.desired import TABLES, Desired
from byway_systemd.core.plan import plan
from byway_systemd.core.rules import is_own_rule
from byway_systemd.reconcile import reconcile

if TYPE_CHECKING:
    from byway_systemd.core.observed import Observed


@settings(max_examples=400, deadline=None)
@given(desireds, observeds)
def test_applied_plan_leaves_nothing_to_do(desired: Desired, observed: Observed) -> None:
    system = FakeSystem(observed)
    system.observe(desired)
    for operation in plan(desired, observed):
        system.apply(operation)
    assert plan(desired, system.observed) == ()


@settings(max_examples=400, deadline=None)
@given(desireds, observeds, st.data())
def test_converges_from_any_prefix(
    desired: Desired, observed: Observed, data: st.DataObject
) -> None:
    system = FakeSystem(observed)
    system.observe(desired)
    operations = plan(desired, observed)
    done = data.draw(st.integers(0, len(operations)))
    for operation in operations[:done]:
        system.apply(operation)
    assert not reconcile(system, desired).failures
    assert plan(desired, system.observed) == ()


@settings(max_examples=400, deadline=None)
@given(desireds, observeds)
def test_what_is_not_ours_is_not_touched(desired: Desired, observed: Observed) -> None:
    system = FakeSystem(observed)
    reconcile(system, desired)
    assert _foreign(system.observed) == _foreign(observed)


@settings(max_examples=400, deadline=None)
@given(desireds, desireds, observeds)
def test_stop_leaves_no_trace(first: Desired, second: Desired, observed: Observed) -> None:
    clean = replace(
        observed,
        routes=tuple(r for r in observed.routes if r.table not in TABLES),
        rules=tuple(r for r in observed.rules if not is_own_rule(r)),
        active_units=(),
    )
    system = FakeSystem(clean)
    for desired in (first, second, Desired.empty()):
        reconcile(system, desired)
    after = system.observed
    assert (after.routes, after.rules, after.table) == (clean.routes, clean.rules, None)
    assert (after.sysctls, after.saved_sysctls) == (clean.sysctls, ())
    assert (after.runtime_files, after.active_units) == ((), ())
    assert (after.markers, after.cut_over) == ((), ())


def _foreign(observed: Observed) -> tuple[object, ...]:
    routes = [route for route in observed.routes if route.table not in TABLES]
    rules = [rule for rule in observed.rules if not is_own_rule(rule)]
    return (sorted(map(str, routes)), sorted(map(str, rules)), observed.links)
