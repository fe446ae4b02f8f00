"""Bytes by app and link, of real TCP connections over two links."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from byway_systemd.core.apps import parse_app
from byway_systemd.core.config import Config, Profile
from byway_systemd.core.counters import build_counters
from byway_systemd.core.desired import desire
from byway_systemd.core.observed import Executable
from byway_systemd.core.steering import Steered, Steering
from byway_systemd.core.traffic import Traffic
from byway_systemd.system import cgroups, processes
from byway_systemd.system.candidates import observe_network
from byway_systemd.system.connections import list_connections, observe_carried
from byway_systemd.system.processes import identify
from netns.running import DIRECT, MASK, App
from netns.world import (
    CLIENT_DIRECT,
    CLIENT_VPN,
    PORT,
    SERVERS,
    World,
    connect,
    exchange,
    find_cgroup2,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = str(Path("/proc/self/exe").resolve())
BOTH = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture(autouse=True)
def _hierarchy(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = str(Path("/proc/self/ns/mnt").readlink())
    monkeypatch.setattr(cgroups, "MOUNT", find_cgroup2())
    # The tests' own stands for the host's, as in a container.
    monkeypatch.setattr(processes, "_host_namespace", lambda: namespace)


def count(world: World) -> dict[str, Any]:
    """Count what the first of the world's cgroups has, from within the client's namespace."""

    def look() -> dict[str, Any]:
        place = "/" + str(world.cgroups[0].relative_to(find_cgroup2()))
        listed = Profile(interface="direct0", apps=(parse_app(PROGRAM),))
        config = Config(profiles=(listed,), traffic=Traffic(vpn_interface="vpn0"))
        file = Executable(listed.apps[0], "default", PROGRAM, PROGRAM, *identify(PROGRAM))
        steering = Steering(
            places=((place, "default"),), cgroups=(Steered(place, "default", DIRECT),), mask=MASK
        )
        observed = replace(observe_network(), executables=(file,))
        carried = observe_carried((place,), (file,))
        desired = replace(desire(config), marks_sockets=True)
        return build_counters(desired, steering, observed, carried)

    found: dict[str, Any] = world.client.run(look)
    return found


def opened(version: int, *marks: int, lines: int = 3) -> Callable[[], list[socket.socket]]:
    """Return what opens a connection for each mark, and has so many lines answered by each."""

    def begin() -> list[socket.socket]:
        made = []
        for mark in marks:
            made.append(connect(version, "tcp", mark=mark))
            for _ in range(lines):
                assert exchange(made[-1])
        return made

    return begin


@BOTH
def test_each_connection_is_counted_by_its_own_link(world: World, version: int) -> None:
    before = {link["link"]: link for link in count(world)["links"]}
    app = App(world, opened(version, DIRECT, DIRECT, 0), lambda _: None)
    app.place(world.cgroups[0])
    counted = count(world)
    by_direct = len(f"direct {CLIENT_DIRECT[version]}")
    by_vpn = len(f"vpn {CLIENT_VPN[version]}")
    assert counted["apps"] == [
        {
            "app": PROGRAM,
            "profile": "default",
            "links": [
                {"link": "direct0", "connections": 2, "sent": 6, "received": 6 * by_direct},
                {"link": "vpn0", "connections": 1, "sent": 3, "received": 3 * by_vpn},
            ],
        }
    ]
    links = {link["link"]: link for link in counted["links"]}
    assert {name: link["role"] for name, link in links.items()} == {
        "direct0": "direct",
        "vpn0": "vpn",
    }
    for name, received in (("direct0", 6 * by_direct), ("vpn0", 3 * by_vpn)):
        assert links[name]["received"] - before[name]["received"] > received
        assert links[name]["sent"] > before[name]["sent"]
        assert links[name]["state"] == "up"
    app.result()
    assert count(world)["apps"][0]["links"] == []


def test_a_connection_that_several_share_is_counted_once(world: World) -> None:
    def begin() -> tuple[list[socket.socket], int]:
        held = opened(4, 0)()
        child = os.fork()
        if not child:
            signal.alarm(20)
            signal.pause()
        return held, child

    def end(held: tuple[list[socket.socket], int]) -> None:
        os.kill(held[1], signal.SIGKILL)
        os.waitpid(held[1], 0)

    app = App(world, begin, end)
    for pid in (app.child.pid, *_children(app.child.pid)):
        (world.cgroups[0] / "cgroup.procs").write_text(str(pid), encoding="ascii")
    (links,) = [one["links"] for one in count(world)["apps"]]
    assert [(one["link"], one["connections"]) for one in links] == [("vpn0", 1)]
    app.result()


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    found = [int(child) for child in text.split()]
    assert found
    return found


def test_what_is_bound_to_a_link_is_counted_there(world: World) -> None:
    """The mark alone would say the other one."""

    def begin() -> socket.socket:
        held = socket.socket()
        held.settimeout(1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"vpn0")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, DIRECT)
        held.connect((SERVERS[4], PORT))
        assert exchange(held) == f"vpn {CLIENT_VPN[4]}"
        return held

    app = App(world, begin, lambda _: None)
    app.place(world.cgroups[0])
    (links,) = [one["links"] for one in count(world)["apps"]]
    assert [(one["link"], one["connections"]) for one in links] == [("vpn0", 1)]
    app.result()


def test_only_those_that_are_asked_for_are_taken_apart(world: World) -> None:
    app = App(world, opened(4, 0), lambda _: None)
    assert world.client.run(lambda: list(list_connections(frozenset([1])))) == []
    app.result()
