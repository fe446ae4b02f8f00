"""A daemon over the fake system, in a process of its own: real sockets, real clients.

`fake_daemon.py ROOT` serves on the socket that it is passed as systemd would pass it. Below ROOT
are etc/byway/byway.toml and etc/group, and `seen`: when which process was looked at. A line written
to the FIFO ROOT/events is a pid that has been executed, `network` when somebody has undone what
byway did, or `go` for what takes long, if that is to wait.

`fake_daemon.py ROOT '{"long": "waits"}'` lets it; with "kernel" the table is in the kernel, in the
network namespace of the daemon. Other keys are limits of the API.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fake_system import FakeSystem
from worlds import laptop

from byway_systemd.api.limits import Limits
from byway_systemd.api.peer import Authority, Peer
from byway_systemd.api.surface import Outlet
from byway_systemd.core.canary_report import Protocol, Sighting
from byway_systemd.core.counters import Carried, Connection, Owner
from byway_systemd.core.desired import TABLE_NAME
from byway_systemd.core.network import LinkBytes
from byway_systemd.core.observed import Login
from byway_systemd.core.operations import ReplaceTable, UpdateSet, takes_long
from byway_systemd.daemon import Daemon, World
from byway_systemd.system import peers
from byway_systemd.system.configuration import Configuration
from byway_systemd.system.files import write_atomically
from byway_systemd.system.nftables import Nftables
from byway_systemd.system.outside import look_outside

if TYPE_CHECKING:
    from byway_systemd.core.canary_report import Trial
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Executable, Observed, Process
    from byway_systemd.core.operations import Operation


class Silent:
    """An event source that never has anything."""

    def __init__(self) -> None:
        self._descriptor, self._other = os.pipe()

    def fileno(self) -> int:
        return self._descriptor

    def drain(self) -> bool:
        return False


class Slow(FakeSystem):
    """A system where what takes long waits for its go."""

    def __init__(self, observed: Observed, *, waits: bool = False) -> None:
        super().__init__(observed)
        self.go = threading.Event()
        if not waits:
            self.go.set()

    def apply(self, operation: Operation) -> None:
        if takes_long(operation):
            self.go.wait()
        super().apply(operation)


class InKernel(Slow):
    """A system whose table is in the kernel."""

    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        self._nftables = Nftables()

    def observe(self, desired: Desired, previous: Observed | None = None) -> Observed:
        table = self._nftables.observe_table(TABLE_NAME)
        return replace(super().observe(desired, previous), table=table)

    def apply(self, operation: Operation) -> None:
        match operation:
            case ReplaceTable(table=table):
                self._nftables.replace_table(self.resolve(table))
            case UpdateSet(table=table, name=name, kind=kind, add=add, remove=remove):
                self._nftables.update_set(table, name, kind, [*map(self.identify, add)], remove)
            case _:
                super().apply(operation)


class Told:
    """An event source that reads lines from a FIFO."""

    def __init__(self, path: Path, system: Slow) -> None:
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._system = system

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> list[int] | None:
        words = os.read(self._descriptor, 65536).decode().split()
        if "go" in words:
            self._system.go.set()
            words.remove("go")
        if "network" in words:
            self._system.observed = replace(self._system.observed, table=None)
            return None
        return [int(word) for word in words]


def send_nothing(trial: Trial) -> tuple[Sighting, ...]:
    """Say that every canary has gone where it should; a uid of 666 cannot be tried."""
    if any(canary.uid == 666 for canary in trial.canaries):
        raise OSError(1, "not this one")
    return tuple(
        Sighting(
            canary,
            protocol,
            frozenset() if canary.way.blocked else canary.way.links or frozenset(),
            marked=bool(canary.way.marked),
        )
        for canary in trial.canaries
        for protocol in Protocol
    )


def carry(places: tuple[str, ...], _executables: tuple[Executable, ...]) -> Carried:
    """Say that curl has a connection by its own link, and that each link has carried its index."""
    process = replace(laptop().processes[0], cgroup=f"{places[0]}/x.scope")
    connection = Connection(7, "10.64.0.2", "198.51.100.1", 0, 0x01000000, 1000, 2000)
    links = tuple(LinkBytes(link.index, link.index, link.index) for link in laptop().links)
    return Carried((Owner(process, frozenset([7])),), (connection,), links)


async def nobody(_peer: Peer) -> bool:
    """Refuse, as where there is no polkit."""
    return False


def make_world(root: Path, limits: Limits, long: str = "") -> World:
    login = Login("198.51.100.9", "192.168.1.10")  # by a link that is not the direct one
    observed = replace(laptop(), processes=(), logins=(login,))
    system = InKernel(observed) if long == "kernel" else Slow(observed, waits=long == "waits")
    configuration = Configuration(root)

    def load() -> Desired:
        return configuration.preview({})

    seen = (root / "seen").open("w", buffering=1)

    def observe(pid: int, _executables: tuple[Executable, ...]) -> Process | None:
        seen.write(f"{pid} {time.monotonic()}\n")
        known = (process for process in system.observed.processes if process.pid == pid)
        process = next(known, None) or replace(laptop().processes[0], pid=pid)
        others = tuple(p for p in system.observed.processes if p.pid != pid)
        system.observed = replace(system.observed, processes=(*others, process))
        return process

    authority = Authority(lambda: peers.group_id(root, "byway"), nobody)
    listeners = peers.take_listeners(os.environ)
    return World(
        system=system,
        load=load,
        observe_process=observe,
        exec_events=Told(root / "events", system),
        network_events=(),
        user_events=Silent(),
        config_events=Silent(),
        watch=lambda _: None,
        publish=lambda status: write_atomically(root / "status.json", json.dumps(status)),
        notify=lambda **fields: write_atomically(root / "told", json.dumps(fields)),
        outlet=Outlet(
            listeners,
            peers.identify,
            authority,
            configuration,
            replace(look_outside(root), send_canaries=send_nothing, observe_carried=carry),
            "1.2.3",
            limits,
        ),
    )


def main(arguments: list[str]) -> None:
    limits: dict[str, Any] = json.loads(arguments[1]) if len(arguments) > 1 else {}
    long = limits.pop("long", "")
    world = make_world(Path(arguments[0]), Limits(**limits), long)
    asyncio.run(_run(world))


async def _run(world: World) -> None:
    await Daemon(world).run()


if __name__ == "__main__":
    main(sys.argv[1:])
