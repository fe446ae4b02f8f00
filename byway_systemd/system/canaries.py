"""Sends canaries from where they belong, and counts which way they would have left.

The table that counts them is dropped with the socket that made it; a canary's process ends with the
pipe to the one who started it, and its service with the process. So nothing is left behind, however
the tester ends.
"""

from __future__ import annotations

import errno
import json
import os
import select
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from byway_systemd.core.canaries import DISCARD
from byway_systemd.core.canary_report import ELSEWHERE, MARKED, Protocol, Sighting
from byway_systemd.system import canary as canary_program
from byway_systemd.system.cgroups import MOUNT
from byway_systemd.system.nftables import Nftables

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.core.canaries import Canary
    from byway_systemd.core.canary_report import Trial

    Start = Callable[[str, tuple[str, ...], tuple[int, int]], None]
    Sightings = tuple[Sighting, ...]

_PATIENCE = 20.0  # seconds for all of them
_MOMENT = 10.0  # and for one, with the start of its process
_ENDED = "a canary's process has ended, or hangs"
_COMMAND = (sys.executable, "-I", "-S", str(Path(canary_program.__file__)))


class CanaryProcess:
    """A process that sends packets from a cgroup of its own."""

    def __init__(self, start: Callable[[tuple[str, ...], tuple[int, int]], None]) -> None:
        """Have ``start`` run a command with its standard input and output; raise OSError."""
        (theirs, self._orders), (self._said, said) = os.pipe(), os.pipe()
        try:
            start(_COMMAND, (theirs, said))
        except BaseException:
            self.close()
            raise
        finally:
            os.close(theirs)
            os.close(said)
        self._buffer = b""

    def close(self) -> None:
        """Let it end: it has nothing to read any more."""
        os.close(self._orders)
        os.close(self._said)

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end."""
        self.close()

    def send(self, canary: Canary, protocol: Protocol, mount: Path) -> str:
        """Have it send; return why the kernel refused that, empty when it did not."""
        order = {
            "protocol": protocol.name.lower(),
            "destination": canary.destination,
            "port": DISCARD,
            "uid": canary.uid,
            "source": canary.source,
            "cgroup": f"{mount}{canary.cgroup}" if canary.cgroup else "",
            "mount": str(mount),
        }
        try:
            os.write(self._orders, json.dumps(order).encode() + b"\n")
        except BrokenPipeError:
            raise ChildProcessError(errno.ECHILD, _ENDED) from None
        return str(json.loads(self._read_line()))

    def _read_line(self) -> bytes:
        while b"\n" not in self._buffer:
            ready = select.select([self._said], [], [], _MOMENT)[0]
            part = os.read(self._said, 4096) if ready else b""
            if not part:
                raise ChildProcessError(errno.ECHILD, _ENDED)
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


def send_canaries(trial: Trial, start: Start | None = None, mount: Path = MOUNT) -> Sightings:
    """Send each by every protocol; return what was seen. Raises OSError.

    ``start`` runs a command in a slice, with its standard input and output; by default systemd
    does, outside of the daemon's own confinement.
    """
    deadline = time.monotonic() + _PATIENCE
    found = []
    with Nftables() as nftables, ExitStack() as stack:
        nftables.own_table(trial.table)
        run = start or _Services(stack).start
        processes: dict[str, CanaryProcess] = {}
        for canary in trial.canaries:
            if canary.slice not in processes:
                process = CanaryProcess(partial(run, canary.slice))
                processes[canary.slice] = stack.enter_context(process)
            for protocol in Protocol:
                if time.monotonic() > deadline:
                    raise TimeoutError(errno.ETIMEDOUT, "the canaries took too long")
                before = nftables.read_counters(trial.table.name)
                error = processes[canary.slice].send(canary, protocol, mount)
                after = nftables.read_counters(trial.table.name)
                found.append(_see(canary, protocol, _difference(before, after), error))
    return tuple(found)


class _Services:
    """Runs commands as services of slices; each is gone with its process."""

    def __init__(self, stack: ExitStack) -> None:
        from byway_systemd.system.manager import Manager  # noqa: PLC0415 - with D-Bus

        self._manager = Manager()
        stack.callback(self._manager.close)

    def start(self, slice_: str, command: tuple[str, ...], pipes: tuple[int, int]) -> None:
        """Start a service in ``slice_``."""
        name = f"byway-canary-{os.getpid()}-{time.monotonic_ns()}.service"
        self._manager.run(name, command, slice_, pipes)


def _difference(
    before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]
) -> frozenset[str]:
    """Return the purposes that have counted packets in between."""
    none = (0, 0)
    return frozenset(
        name for name, (packets, _) in after.items() if packets > before.get(name, none)[0]
    )


def _see(canary: Canary, protocol: Protocol, counted: frozenset[str], error: str) -> Sighting:
    links = frozenset(
        0 if name == ELSEWHERE else int(name.rpartition(" ")[2]) for name in counted - {MARKED}
    )
    return Sighting(canary, protocol, links, MARKED in counted, error)
