"""The daemon lives in a world of fakes, in this process, while a test tells a story."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fake_system import FakeSystem
from worlds import configured, laptop

from byway_systemd.core.errors import ConfigError
from byway_systemd.core.plan import plan
from byway_systemd.daemon import Daemon, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Executable, Observed, Process

PATIENCE = 5.0  # seconds, for what usually takes milliseconds


class Machine(FakeSystem):
    """A FakeSystem that counts looks, and leaves processes out where the network is looked at."""

    full = network = 0
    broken: OSError | None = None

    def observe(self, desired: Desired, previous: Observed | None = None) -> Observed:
        if self.broken:
            raise self.broken
        observed = super().observe(desired, previous)
        if previous is None:
            self.full += 1
            return observed
        self.network += 1
        return replace(observed, processes=())


class Events:
    """An event source a test can send to; reads give what ``answer`` says."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self._reader, self._writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._reader.setblocking(False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def send(self) -> None:
        self._writer.send(b"x")

    def drain(self) -> Any:
        self._reader.recv(10)
        return self.answer

    read = drain

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


@dataclass
class Outside:
    """The world of the daemon, and what it was told."""

    machine: Machine = field(default_factory=lambda: Machine(laptop()))
    execs: Events = field(default_factory=lambda: Events([]))
    network: Events = field(default_factory=lambda: Events(answer=True))
    users: Events = field(default_factory=lambda: Events(answer=True))
    config: Events = field(default_factory=lambda: Events(answer=True))
    desired: Desired | ConfigError = field(default_factory=configured)
    processes: dict[int, Process] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    watched: list[Observed] = field(default_factory=list)
    looked_at: list[int] = field(default_factory=list)

    def load(self) -> Desired:
        if isinstance(self.desired, ConfigError):
            raise self.desired
        return self.desired

    def observe_process(self, pid: int, executables: tuple[Executable, ...]) -> Process | None:
        self.looked_at.append(pid)
        return self.processes.get(pid)

    def world(self, **changes: Any) -> World:
        world = World(
            system=self.machine,
            load=self.load,
            observe_process=self.observe_process,
            exec_events=self.execs,
            network_events=(self.network,),
            user_events=self.users,
            config_events=self.config,
            watch=self.watched.append,
            publish=self.published.append,
            notify=lambda **fields: self.told.append(fields),
        )
        return replace(world, **changes)

    def in_sync(self) -> bool:
        return plan(self.load(), self.machine.observed) == ()

    def close(self) -> None:
        for source in (self.execs, self.network, self.users, self.config):
            source.close()


def live(outside: Outside, story: Callable[[], Awaitable[None]], **changes: Any) -> None:
    """Run the daemon; when it is ready tell the story, then stop it and look for leaks."""

    async def run() -> None:
        running = asyncio.create_task(Daemon(outside.world(**changes)).run())
        await until(lambda: outside.told or running.done())
        if running.done():
            await running
        await story()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, PATIENCE)
        for source in (outside.network, outside.config, outside.execs):
            source.send()  # nobody listens any more
        await asyncio.sleep(0.03)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"

    asyncio.run(run())


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what it waits for is a plain value
            await asyncio.sleep(0.002)
