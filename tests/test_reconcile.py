"""The one loop behind everything: how often it asks for what does not help."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fake_system import FakeSystem
from worlds import configured, laptop

from byway_systemd.core.operations import ReloadManager
from byway_systemd.core.plan import plan
from byway_systemd.reconcile import reconcile

if TYPE_CHECKING:
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed


class NewerFiles(FakeSystem):
    """The configuration's files have changed since they were loaded: the generator goes by them."""

    def observe(self, desired: Desired, previous: Observed | None = None) -> Observed:
        observed = super().observe(desired, previous)
        self.generated = {path: text + "# newer\n" for path, text in self.generated.items()}
        return observed

    def reloads(self) -> int:
        return sum(isinstance(operation, ReloadManager) for operation in self.applied)


@pytest.fixture
def desired() -> Desired:
    files = (("byway.slice.d/50-byway.conf", "[Unit]\n"),)
    return replace(configured(), unit_files=files, has_generator=True)


def test_the_manager_is_reloaded_once_and_all_else_is_done(desired: Desired) -> None:
    system = NewerFiles(laptop())
    outcome = reconcile(system, desired)
    assert system.reloads() == 1
    assert not outcome.failures
    left = plan(desired, system.observed)
    assert [type(operation) for operation in left] == [ReloadManager]


def test_it_is_not_reloaded_while_the_configuration_is_refused(desired: Desired) -> None:
    system = NewerFiles(laptop())
    reconcile(system, desired, is_refused=True)
    assert system.reloads() == 0
    assert [type(o) for o in plan(desired, system.observed)] == [ReloadManager]


def test_it_is_not_reloaded_for_a_change_of_the_network(desired: Desired) -> None:
    system = NewerFiles(laptop())
    before = reconcile(system, desired).observed
    system.observed = replace(before, rules=laptop().rules)
    reconcile(system, desired, previous=before)
    assert system.reloads() == 1
    assert [type(o) for o in plan(desired, system.observed)] == [ReloadManager]


def test_it_is_reloaded_for_what_is_written(desired: Desired) -> None:
    """Without a generator byway writes the files itself."""
    by_itself = replace(desired, has_generator=False)
    system = FakeSystem(laptop())
    reconcile(system, by_itself)
    previous = replace(system.observed, unit_files=(), runtime_files=())
    system.observed, system.applied = previous, []
    reconcile(system, by_itself, previous=previous)
    assert isinstance(system.applied[-1], ReloadManager)
