"""The daemon over fakes: what happens outside becomes a move or a reconcile."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from lived import PATIENCE, Machine, Outside, live, until
from worlds import CURL, configured, laptop

from byway_systemd import daemon
from byway_systemd.core.config import GATE_SERVICE
from byway_systemd.core.desired import TABLES, Desired
from byway_systemd.core.errors import ConfigError, Problem
from byway_systemd.core.network import Family, RoutingRule
from byway_systemd.core.operations import AddRule, DeleteTable, PlaceProcess, ReloadManager
from byway_systemd.core.plan import plan
from byway_systemd.daemon import Coalescer, Daemon

if TYPE_CHECKING:
    from byway_systemd.core.operations import Operation


async def nothing() -> None:
    """Tell no story."""


def bad_config() -> ConfigError:
    return ConfigError((Problem("f", 1, "apps", "wrong", "right it"),))


def test_start_puts_everything_up_then_says_ready(outside: Outside) -> None:
    async def story() -> None:
        assert outside.in_sync()
        assert outside.told[0] == {"ready": True, "status": "1 app by wwan0"}
        assert outside.published[-1]["in_sync"]
        assert outside.watched == [outside.machine.observed]
        await until(lambda: {"watchdog": True} in outside.told)

    live(outside, story)


def gate_at(state: str) -> Machine:
    changes: dict[str, Any] = {f"{state}_units": (GATE_SERVICE,)}
    return Machine(replace(laptop(), active_units=(GATE_SERVICE,), **changes))


def test_ready_once_the_gate_holds(outside: Outside) -> None:
    outside.machine = gate_at("starting")

    async def run() -> None:
        running = asyncio.create_task(Daemon(outside.world()).run())
        await until(lambda: outside.machine.full > 2)
        assert outside.told == []
        outside.machine.observed = replace(outside.machine.observed, starting_units=())
        await until(lambda: outside.told)
        assert outside.told[0]["ready"]
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, PATIENCE)

    asyncio.run(run())


def test_the_watchdog_is_told_of_each_step(outside: Outside) -> None:
    """What takes long, such as a list of 100,000 destinations, is no hanging."""

    async def story() -> None:
        await asyncio.sleep(0.01)
        outside.told.clear()
        outside.machine.observed = replace(outside.machine.observed, rules=())
        missing = len(plan(outside.load(), outside.machine.observed))
        outside.network.send()
        await until(outside.in_sync)
        assert outside.told == [{"watchdog": True}] * missing
        assert missing

    live(outside, story)


def test_gate_that_never_comes_keeps_nobody_waiting(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_GATE_PATIENCE", 0.1)
    outside.machine = gate_at("starting")
    live(outside, nothing)
    assert outside.told[0]["ready"]


def test_gate_that_starts_later_is_followed(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Switched on by a reload, or after it has failed: nothing else tells when it holds."""
    monkeypatch.setattr(daemon, "_RETRY", 0.02)

    async def story() -> None:
        observed = outside.machine.observed
        outside.machine.observed = replace(observed, starting_units=(GATE_SERVICE,))
        os.kill(os.getpid(), signal.SIGUSR1)
        seen = outside.machine.full
        await until(lambda: outside.machine.full > seen + 3)
        outside.machine.observed = replace(outside.machine.observed, starting_units=())
        await asyncio.sleep(0.1)
        seen = outside.machine.full
        await asyncio.sleep(0.1)
        assert outside.machine.full == seen

    live(outside, story)


def test_sigterm_takes_everything_down_and_leaves_what_runs(outside: Outside) -> None:
    live(outside, nothing)
    after = outside.machine.observed
    assert (after.table, after.saved_sysctls) == (None, ())
    assert not [route for route in after.routes if route.table in TABLES]
    assert set(after.rules) == set(laptop().rules)
    assert after.processes[0].cgroup.startswith("/byway.slice/")


def test_nothing_is_put_up_again_after_it_was_taken_down(outside: Outside) -> None:
    outside.execs.answer = None  # events were lost: look at everything

    async def story() -> None:
        for source in (outside.network, outside.config, outside.execs):
            source.send()

    live(outside, story)
    assert plan(Desired.empty(), outside.machine.observed) == ()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_what_comes_while_it_is_taken_down_comes_too_late(
    outside: Outside, number: signal.Signals
) -> None:
    def send_a_signal(operation: Operation) -> bool:
        if isinstance(operation, DeleteTable):
            os.kill(os.getpid(), number)  # the timer's service, or a reload, in that moment
        return False

    outside.machine = Machine(laptop(), send_a_signal)
    live(outside, nothing)
    assert plan(Desired.empty(), outside.machine.observed) == ()


def test_process_is_not_looked_at_again_after_the_stop(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_RECHECK", 0.01)
    outside.execs.answer = [77]
    outside.processes[77] = replace(laptop().processes[0], pid=77)

    async def story() -> None:
        outside.execs.send()
        await until(lambda: 77 in outside.looked_at)
        os.kill(os.getpid(), signal.SIGTERM)

    live(outside, story)
    assert outside.looked_at == [77]


def test_bad_configuration_at_start_is_an_error(outside: Outside) -> None:
    outside.desired = bad_config()
    with pytest.raises(ConfigError):
        live(outside, nothing)
    assert outside.machine.applied == []


def test_exec_is_placed(outside: Outside) -> None:
    outside.machine.observed = replace(laptop(), processes=())
    process = replace(laptop().processes[0], pid=200)
    outside.processes[200] = process

    async def story() -> None:
        outside.machine.observed = replace(outside.machine.observed, processes=(process,))
        outside.execs.answer = [200, 200, 201]
        outside.execs.send()
        await until(lambda: outside.machine.observed.processes[0].cgroup != process.cgroup)
        assert isinstance(outside.machine.applied[-1], PlaceProcess)
        assert outside.looked_at == [200, 201], "one look a process"
        full = outside.machine.full
        # systemd-executor may have pulled it back: it is looked at once more
        await until(lambda: outside.looked_at == [200, 201, 200])
        assert outside.machine.full == full, "an exec is no reason to look at everything"

    live(outside, story)


def test_exec_that_cannot_be_placed_does_no_harm(outside: Outside) -> None:
    refusing = Machine(
        replace(laptop(), processes=()), lambda operation: isinstance(operation, PlaceProcess)
    )
    outside.machine = refusing
    outside.processes[200] = replace(laptop().processes[0], pid=200)

    async def story() -> None:
        outside.execs.answer = [200]
        outside.execs.send()
        await until(lambda: outside.looked_at == [200, 200])

    live(outside, story)


def test_lost_events_are_made_up_for_by_a_full_look(outside: Outside) -> None:
    async def story() -> None:
        full = outside.machine.full
        outside.machine.observed = replace(outside.machine.observed, processes=laptop().processes)
        outside.execs.answer = None
        outside.execs.send()
        await until(lambda: outside.machine.full > full)
        assert outside.in_sync()

    live(outside, story)


def test_without_process_events_it_says_so(outside: Outside) -> None:
    async def story() -> None:
        assert outside.published[-1]["placement"]["process_events"] == "not here"

    live(outside, story, exec_events=None, placement_note="not here")


def test_network_change_is_repaired_at_once(outside: Outside) -> None:
    async def story() -> None:
        outside.machine.observed = replace(
            outside.machine.observed, rules=laptop().rules, table=None
        )
        full = outside.machine.full
        outside.network.send()
        await until(outside.in_sync)
        assert outside.machine.full == full, "only the network was looked at"
        assert outside.published[-1]["processes"], "the processes are still known"

    live(outside, story)


def test_change_that_does_not_matter(outside: Outside) -> None:
    outside.network.answer = False

    async def story() -> None:
        before = outside.machine.network
        outside.network.send()
        await asyncio.sleep(0.05)
        assert outside.machine.network == before

    live(outside, story)


def test_burst_is_one_look_and_one_more(outside: Outside) -> None:
    async def story() -> None:
        before = outside.machine.network
        for _ in range(100):
            outside.network.send()
        await until(lambda: outside.machine.network > before)
        await asyncio.sleep(0.1)
        assert outside.machine.network - before <= 4

    live(outside, story)


def test_repair_war_slows_down_and_never_stops(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_QUIET", 0.001)
    monkeypatch.setattr(daemon, "_MOST_QUIET", 0.02)
    added: list[float] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.time() + PATIENCE
        while len(added) < 40 and loop.time() < ended:
            rival = outside.machine.observed
            if any(rule.table in TABLES for rule in rival.rules):
                added.append(loop.time())
                outside.machine.observed = replace(rival, rules=laptop().rules)
            outside.network.send()
            await asyncio.sleep(0.001)
        outside.network.answer = False
        await asyncio.sleep(0.05)
        assert outside.in_sync(), "the last word is byway's"

    live(outside, story)
    gaps = [later - earlier for earlier, later in pairwise(added)]
    assert len(gaps) == 39
    assert min(gaps[:10]) < 0.015, "slow from the start"
    assert min(gaps[-5:]) > 0.019, "no slower at last"


def test_sighup_loads_the_configuration(outside: Outside) -> None:
    async def story() -> None:
        outside.desired = configured(priority=500)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: {"reloading": True} in outside.told and outside.in_sync())
        assert {rule.preference for rule in outside.machine.observed.rules} >= {490}
        await until(lambda: "ready" in outside.told[-1])

    live(outside, story)


def test_changed_file_loads_the_configuration_once(outside: Outside) -> None:
    async def story() -> None:
        outside.desired = configured(priority=500)
        for _ in range(20):
            outside.config.send()
        await until(outside.in_sync)
        await asyncio.sleep(0.25)
        assert outside.told.count({"reloading": True}) <= 2

    live(outside, story)


def test_bad_configuration_keeps_the_last(outside: Outside) -> None:
    good = configured()

    async def story() -> None:
        before = outside.machine.observed
        outside.desired = bad_config()
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: outside.published[-1]["config_problems"])
        assert outside.machine.observed == before
        assert outside.published[-1]["config_problems"] == ["f:1: apps: wrong (right it)"]
        assert "refused" in outside.told[-1]["status"]
        # What it still has in force is kept up.
        outside.machine.observed = replace(before, table=None)
        outside.network.send()
        await until(lambda: plan(good, outside.machine.observed) == ())
        outside.desired = good
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: not outside.published[-1]["config_problems"])

    live(outside, story)


def test_bad_configuration_lets_the_manager_alone(outside: Outside) -> None:
    """Somebody's daemon-reload takes away what was generated: of a bad one nothing is."""
    files = (("byway.slice.d/50-byway.conf", "[Unit]\n"),)
    outside.desired = replace(configured(), unit_files=files, has_generator=True)

    def reloads() -> int:
        return sum(isinstance(o, ReloadManager) for o in outside.machine.applied)

    async def story() -> None:
        assert outside.machine.observed.unit_files == files
        before = reloads()
        outside.desired = bad_config()
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: outside.published[-1]["config_problems"])
        outside.machine.observed = replace(outside.machine.observed, unit_files=(), rules=())
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(lambda: outside.machine.observed.rules)
        assert reloads() == before

    live(outside, story)


def test_sigusr1_looks_at_everything(outside: Outside) -> None:
    async def story() -> None:
        outside.machine.observed = laptop()
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(outside.in_sync)

    live(outside, story)


def test_failure_is_published_and_tried_again(outside: Outside) -> None:
    refused = True
    outside.machine = Machine(laptop(), lambda o: refused and isinstance(o, AddRule))

    async def story() -> None:
        nonlocal refused
        assert len(outside.published[-1]["failures"]) == 2
        assert not outside.published[-1]["in_sync"]
        refused = False
        outside.network.send()
        await until(outside.in_sync)
        assert outside.published[-1]["failures"] == []

    live(outside, story)


def test_system_that_cannot_be_looked_at_is_looked_at_again(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_RETRY", 0.02)

    async def story() -> None:
        outside.machine.broken = OSError("busy")
        outside.machine.observed = laptop()
        outside.network.send()
        await asyncio.sleep(0.05)
        outside.machine.broken = None
        await until(outside.in_sync)

    live(outside, story)


def test_phase_is_failed_while_the_system_cannot_be_looked_at(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_RETRY", 0.02)

    async def run() -> None:
        one = Daemon(outside.world())
        assert one.phase == "activating"
        running = asyncio.create_task(one.run())
        await until(lambda: outside.told)
        assert one.phase == "active"
        outside.machine.broken = OSError("busy")
        outside.network.send()
        await until(lambda: one.phase == "failed")
        outside.machine.broken = None
        await until(lambda: one.phase == "active")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, PATIENCE)
        assert one.phase == "deactivating"

    asyncio.run(run())


def test_rival_rule_is_overtaken(outside: Outside) -> None:
    async def story() -> None:
        rival = RoutingRule(Family.IPV4, 5270, 52, protocol=3)
        observed = outside.machine.observed
        outside.machine.observed = replace(observed, rules=(*observed.rules, rival))
        outside.network.send()
        await until(outside.in_sync)
        own = {r.preference for r in outside.machine.observed.rules if r.table in TABLES}
        assert own == {5269, 11590}

    live(outside, story)
    assert CURL.app in configured().profiles[0].apps


@pytest.mark.parametrize(("leading", "calls"), [(True, [1, 2]), (False, [0, 1])])
def test_coalescer(leading: bool, calls: list[int]) -> None:
    count = 0

    def react() -> None:
        nonlocal count
        count += 1

    async def run() -> list[int]:
        coalescer = Coalescer(react, 0.02, leading=leading)
        for _ in range(5):
            coalescer.trigger()
        at_once = count
        await asyncio.sleep(0.1)
        later = count
        coalescer.trigger()
        coalescer.cancel()
        after = count
        await asyncio.sleep(0.05)
        assert count == after, "cancelled"
        return [at_once, later]

    assert asyncio.run(run()) == calls


def test_coalescer_slows_down_and_recovers() -> None:
    moments: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        coalescer = Coalescer(lambda: moments.append(loop.time()), 0.001, most=0.1)
        ended = loop.time() + 0.6
        while loop.time() < ended:  # never while the last quiet time still lasts, at first
            coalescer.trigger()
            await asyncio.sleep(0.003)
        await asyncio.sleep(0.25)
        before = len(moments)
        coalescer.trigger()
        assert len(moments) == before + 1, "at once again"
        coalescer.cancel()

    asyncio.run(run())
    assert len(moments) < 40


def test_change_of_a_users_cgroups_reconciles(outside: Outside) -> None:
    async def story() -> None:
        outside.machine.observed = replace(outside.machine.observed, rules=laptop().rules)
        outside.users.send()
        await until(outside.in_sync)

    live(outside, story)
