"""Programs in the world's client, with byway's own table, whose sockets are led over."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from byway_systemd.core.config import Profile
from byway_systemd.core.desired import Exit
from byway_systemd.core.firewall import build_table
from byway_systemd.core.links import Uplink
from byway_systemd.core.network import Family, Link, Route
from byway_systemd.core.observed import Observed
from byway_systemd.core.steering import Steered, Steering
from byway_systemd.system.nftables import Nftables
from byway_systemd.system.open_sockets import CutOver, cut_over
from netns.world import FAMILIES, TABLE, Child, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

MASK, DIRECT = 0x3F000000, 0x01000000


def steer(world: World) -> None:
    """Install byway's own table; the direct link's slice is the first of the world's cgroups."""
    direct = Link(world.direct_index, "direct0")
    observed = Observed(
        links=(direct, Link(world.vpn_index, "vpn0", kind="wireguard")),
        routes=(Route(Family.IPV4, 254, "10.1.0.0/24", link=direct.index),),
        cgroup_ids=(("/byway.slice", world.cgroups[0].stat().st_ino),),
    )
    exit_ = Exit(Profile(interface="direct0"), DIRECT, TABLE)
    steering = Steering(cgroups=(Steered("/byway.slice", "default", DIRECT),), mask=MASK)
    table = build_table((Uplink(exit_, direct, (), shared=False),), steering, observed)

    def install() -> None:
        with Nftables() as nftables:
            nftables.replace_table(table)

    world.client.run(install)


class App:
    """A program in the client's namespace: it runs ``before``, then ``after`` when it is told."""

    def __init__(
        self, world: World, before: Callable[[], Any], after: Callable[[Any], Any]
    ) -> None:
        self._world = world
        ready, told = os.pipe(), os.pipe()

        def run() -> Any:
            os.close(told[1])
            held = before()
            os.write(ready[1], b".")
            if not os.read(told[0], 1):
                raise EOFError("the test has ended")
            return after(held)

        self.child: Child = world.client.start(run)
        os.close(ready[1])
        os.close(told[0])
        assert os.read(ready[0], 1), self.child.result()
        self._told = told

    def place(self, cgroup: Path) -> None:
        """Move it, as byway does before it leads the open sockets over."""
        (cgroup / "cgroup.procs").write_text(str(self.child.pid), encoding="ascii")

    def go_on(self) -> None:
        """Let it run what comes after."""
        os.write(self._told[1], b".")

    def result(self) -> Any:
        """Let it go on and return what it returns."""
        self.go_on()
        return self.child.result()


def lead_over(
    world: World,
    *pids: int,
    mark: int = DIRECT,
    near: Iterable[str] = (),
    reset: bool = True,
) -> CutOver:
    """Lead the open sockets of ``pids`` over, from within the client's namespace."""
    done: CutOver = world.client.run(lambda: cut_over(pids, mark, MASK, near, reset=reset))
    return done


def send_on(version: int, address: tuple[str, int]) -> set[str]:
    """Send datagrams without a pause to everyone who ever sent one; return their addresses."""
    with socket.socket(FAMILIES[version], socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.settimeout(3)
        seen = {server.recvfrom(9)[1][:2]}
        server.setblocking(False)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            with suppress(BlockingIOError, ConnectionRefusedError):
                seen.add(server.recvfrom(9)[1][:2])
            for peer in seen:
                with suppress(OSError):  # an old port that is closed refuses
                    server.sendto(b"more", peer)
            time.sleep(0.001)
    return {peer[0] for peer in seen}
