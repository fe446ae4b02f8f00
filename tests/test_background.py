"""What takes long is done beside the loop: a placement or a repair does not wait for it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from lived import Machine, live, until
from worlds import configured, laptop

from byway_systemd.core.operations import (
    AddRule,
    ReplaceTable,
    StartUnit,
    UpdateSet,
    takes_long,
)
from byway_systemd.core.plan import plan
from byway_systemd.core.traffic import Mode, Overrides, Traffic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from lived import Outside

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.operations import Operation

MANY = tuple(f"11.0.{n >> 7}.{2 * (n & 127)}/32" for n in range(2000))
READY = {"ready": True, "status": "1 app by wwan0"}


class Slow(Machine):
    """A Machine where what takes long lasts until it is let go, in any thread but the loop's."""

    def __init__(self) -> None:
        super().__init__(replace(laptop(), processes=()), self._hold)
        self.begun: list[Operation] = []
        self.failure: Exception | None = None
        self._gate = threading.Event()

    @property
    def long(self) -> list[Operation]:
        return [operation for operation in self.applied if takes_long(operation)]

    def release(self) -> None:
        self._gate.set()

    def _hold(self, operation: Operation) -> bool:
        if not takes_long(operation):
            return False
        assert threading.current_thread() is not threading.main_thread()
        self.begun.append(operation)
        assert self._gate.wait(10)
        if self.failure:
            raise self.failure
        return False


@contextmanager
def slow(outside: Outside) -> Iterator[None]:
    """Give the world a slow machine."""
    machine = outside.machine = Slow()
    try:
        yield
    finally:
        machine.release()


def many(count: int = len(MANY), mode: Mode = Mode.BYPASS) -> Desired:
    return configured(traffic=Traffic(mode=mode, force_direct=Overrides(destinations=MANY[:count])))


def tell(outside: Outside, story: Callable[[Slow], Awaitable[None]]) -> None:
    """Tell a story of a daemon that is loading many entries, until the story lets it go on."""

    async def whole() -> None:
        machine = outside.machine
        assert isinstance(machine, Slow)
        outside.told.clear()
        outside.desired = many()
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: machine.begun)
        await story(machine)
        machine.release()

    with slow(outside):
        live(outside, whole)


def test_what_takes_long() -> None:
    """The whole table with a long list, and many elements of a set; nothing else."""
    short, full = many(10), many()
    machine = Machine(laptop())
    for desired, kinds in ((short, ()), (full, (UpdateSet,)), (short, (UpdateSet,))):
        long = [o for o in plan(desired, machine.observed) if takes_long(o)]
        assert tuple(type(operation) for operation in long) == kinds
        for operation in plan(desired, machine.observed):
            machine.apply(operation)
    machine.observed = replace(machine.observed, table=None)
    (table,) = [o for o in plan(full, machine.observed) if takes_long(o)]
    assert isinstance(table, ReplaceTable)


def test_a_start_is_placed_meanwhile(outside: Outside) -> None:
    process = replace(laptop().processes[0], pid=200)
    outside.processes[200] = process

    async def story(machine: Slow) -> None:
        machine.observed = replace(machine.observed, processes=(process,))
        outside.execs.answer = [200]
        outside.execs.send()
        await until(lambda: machine.observed.processes[0].cgroup != process.cgroup)
        assert not machine.long

    tell(outside, story)


@pytest.mark.parametrize("what", ["routes", "rules"])
def test_what_is_undone_is_put_back_meanwhile(outside: Outside, what: str) -> None:
    async def story(machine: Slow) -> None:
        before = getattr(machine.observed, what)
        machine.observed = replace(machine.observed, **{what: getattr(laptop(), what)})
        assert getattr(machine.observed, what) != before
        outside.network.send()
        await until(lambda: set(getattr(machine.observed, what)) == set(before))
        assert not machine.long

    tell(outside, story)


def test_a_slice_that_is_stopped_is_started_meanwhile(outside: Outside) -> None:
    async def story(machine: Slow) -> None:
        machine.observed = replace(machine.observed, cgroup_ids=())
        outside.network.send()
        await until(lambda: isinstance(machine.applied[-1], StartUnit))
        assert not machine.long

    tell(outside, story)


def test_what_comes_behind_it_waits(outside: Outside) -> None:
    """The rules of a mode are added once all that is excepted from it is in place."""

    async def whole() -> None:
        machine = outside.machine
        assert isinstance(machine, Slow)
        outside.desired = many(mode=Mode.DIRECT)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: machine.begun)
        for _ in range(3):
            outside.network.send()
            await asyncio.sleep(0.03)
        rules = [o for o in plan(outside.load(), machine.observed) if isinstance(o, AddRule)]
        assert rules
        machine.release()
        await until(outside.in_sync)
        order = [type(o) for o in machine.applied if takes_long(o) or o in rules]
        assert order == [ReplaceTable, *(AddRule for _ in rules)]

    with slow(outside):
        live(outside, whole)


def test_in_force_is_said_once_it_is(outside: Outside) -> None:
    """To systemctl reload, and in the status."""

    async def story(machine: Slow) -> None:
        await until(lambda: {"reloading": True} in outside.told)
        assert READY not in outside.told
        assert not outside.published[-1]["in_sync"]
        machine.release()
        await until(lambda: READY in outside.told)
        assert outside.in_sync()
        assert outside.published[-1]["in_sync"]

    tell(outside, story)


def test_it_is_begun_once(outside: Outside) -> None:
    async def story(machine: Slow) -> None:
        for _ in range(5):
            outside.network.send()
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.sleep(0.03)
        machine.release()
        await until(outside.in_sync)
        assert len(machine.begun) == 1

    tell(outside, story)


def test_another_configuration_meanwhile_comes_after_it(outside: Outside) -> None:
    async def story(machine: Slow) -> None:
        outside.desired = many(1500)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.05)
        assert len(machine.begun) == 1
        machine.release()
        await until(outside.in_sync)

    tell(outside, story)


@pytest.mark.parametrize("why", [OSError(1, "refused"), ZeroDivisionError("a bug")], ids=str)
def test_what_failed_is_told_and_tried_again_with_the_next_event(
    outside: Outside, caplog: pytest.LogCaptureFixture, why: Exception
) -> None:
    async def story(machine: Slow) -> None:
        machine.failure = why
        machine.release()
        await until(lambda: outside.published[-1]["failures"])
        await until(lambda: READY in outside.told)
        await asyncio.sleep(0.1)
        assert len(machine.begun) == 1, "not at once, and again and again"
        machine.failure = None
        outside.network.send()
        await until(outside.in_sync)
        await until(lambda: not outside.published[-1]["failures"])

    tell(outside, story)
    assert str(why) in caplog.text
    assert ("this is a bug in byway" in caplog.text) == (not isinstance(why, OSError))


def test_a_stop_waits_for_it_and_then_takes_down(outside: Outside) -> None:
    async def story(machine: Slow) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        assert machine.observed.table is not None
        machine.release()

    tell(outside, story)
    after = outside.machine.observed
    assert after.table is None
    assert set(after.rules) == set(laptop().rules)


def test_start_is_complete_when_it_is_ready(outside: Outside) -> None:
    """Who starts byway waits for the whole list: it is no request, and nothing is undone yet."""
    outside.desired = many()

    async def story() -> None:
        assert outside.in_sync()

    live(outside, story)
