"""Modes, overrides and destinations, with the real WireGuard: who leaves by which link."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.laptop import LISTED
from booted.topology import INTERNET, probe_command, seen_from, seen_from_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.laptop import Byway
    from booted.machine import Machine
    from booted.topology import Topology

pytestmark = pytest.mark.one_release

CONFIG = f'interface = "wwan0"\nreconcile = "0"\napps = ["{LISTED}"]\n'
OVERRIDES = """
[traffic]
mode = "{mode}"
bypass = ["198.51.100.20", "2001:db8:f::20"]
[traffic.force_direct]
uids = ["alice"]
cgroups = ["one.service"]
subnets = "172.18.0.0/24"
[traffic.force_vpn]
uids = "1001"
cgroups = ["two.service"]
"""
SERVICE = "[Service]\nExecStart=/usr/local/bin/probe {arguments}\nStandardOutput=truncate:{out}\n"
CONTAINER = ["nsenter", "--net=/run/netns/container", "probe"]
BYPASSED = "$['traffic']['overrides']['force_direct']['destinations']"
WG_CONFIG = "/etc/wireguard/wg0.conf"


@pytest.fixture
def tableless(machine: Machine, topology: Topology) -> Iterator[None]:
    """The tunnel as for others to route: `Table = off`, and no mark of its own."""
    assert topology
    before = machine.get(WG_CONFIG)
    machine.put(WG_CONFIG, before.replace("[Interface]\n", "[Interface]\nTable = off\n", 1), 0o600)
    yield
    machine.put(WG_CONFIG, before, 0o600)


def of_service(machine: Machine, name: str, family: int) -> list[str]:
    """A command that starts a service which asks, and prints what it was told.

    It waits before it makes its socket: a new cgroup is taken up a moment after it appears.
    """
    script = f"/opt/app/{name}-{family}"
    out = f"/run/{name}-{family}.out"
    unit = f"{name}@{family}.service" if name == "plain" else f"{name}.service"
    text = SERVICE.format(arguments=f"-w 1 {INTERNET[family]} 7000", out=out)
    machine.put(
        script,
        f"#!/bin/sh\nexec 9>/run/{name}.lock; flock 9\n"
        f"printf '%s' '{text}' >/run/systemd/system/{unit}\n"
        f"systemctl daemon-reload; systemctl start --wait {unit}; cat {out}\n",
        0o755,
    )
    return [script]


def ways(machine: Machine) -> dict[str, str]:
    """What each leaves by now, IPv4 and IPv6."""
    commands: dict[str, list[str]] = {}
    for family in (4, 6):
        everybody = {
            "listed": [LISTED],
            "root": ["probe"],
            "alice": ["runuser", "-u", "alice", "--", "probe"],
            "bob": ["runuser", "-u", "bob", "--", "probe"],
        }
        for name, argv in everybody.items():
            commands[f"{name} {family}"] = probe_command(argv, family=family)
        commands[f"listed place {family}"] = ["probe", *other_server(family)]
        commands[f"listed by bob's {family}"] = probe_command(
            ["runuser", "-u", "bob", "--", LISTED], family=family
        )
    commands["one 4"] = of_service(machine, "one", 4)
    commands["two 4"] = of_service(machine, "two", 4)
    commands["container 4"] = probe_command(CONTAINER)
    return dict(seen_from_all(machine, commands))


def other_server(family: int) -> list[str]:
    """The internet's second address."""
    return [{4: "198.51.100.20", 6: "2001:db8:f::20"}[family], "7000"]


def expected(rest: str) -> dict[str, str]:
    """The same as wanted, where what nothing decides goes by ``rest``."""
    direct = ("listed", "alice", "listed place", "listed by bob's")
    wanted = {f"{name} {family}": "wwan0" for name in direct for family in (4, 6)}
    wanted |= {f"bob {family}": "vpn" for family in (4, 6)}
    wanted |= {f"root {family}": rest for family in (4, 6)}
    return wanted | {"one 4": "wwan0", "two 4": "vpn", "container 4": "wwan0"}


def test_every_mode_beside_wg_quick(machine: Machine, topology: Topology, byway: Byway) -> None:
    """Switched live; in each the overrides hold, and what is listed beats them all."""
    topology.vpn_up()
    byway.configure(CONFIG + OVERRIDES.format(mode="bypass"))
    byway.start()
    byway.settle()
    assert ways(machine) == expected("vpn")
    for mode, rest in (
        ("selective", "wwan0"),
        ("full_tunnel", "vpn"),
        ("direct", "wwan0"),
        ("bypass", "vpn"),
    ):
        assert byway.run(f"mode {mode}").stdout.startswith(mode)
        byway.settle(f"$['traffic']['mode'] == {mode!r}")
        assert ways(machine) == expected(rest), mode


@pytest.mark.usefixtures("tableless")
def test_full_tunnel_is_byways_own(machine: Machine, topology: Topology, byway: Byway) -> None:
    """Nobody else routes to the tunnel; its own packets do not loop, and a dead one blocks."""
    topology.vpn_up()
    assert seen_from(machine) == "wlan0"
    byway.configure(CONFIG + OVERRIDES.format(mode="full_tunnel"))
    byway.start()
    byway.settle()
    assert ways(machine) == expected("vpn")
    topology.vpn_down()
    byway.settle("not $['traffic']['vpn']['usable']")
    for family in (4, 6):
        assert seen_from(machine, family=family) == "none"
        assert seen_from(machine, ["runuser", "-u", "bob", "--", "probe"], family=family) == "none"
        assert seen_from(machine, [LISTED], family=family) == "wwan0"
    topology.vpn_up()
    byway.settle("$['traffic']['vpn']['usable']")
    assert seen_from(machine) == "vpn"
    before = byway.traces()
    byway.stop()
    assert seen_from(machine) == "wlan0"
    assert byway.traces() != before


def test_a_restarted_service_is_matched_again(
    machine: Machine, topology: Topology, byway: Byway
) -> None:
    """It has a new cgroup each time; the override knew it before it was there at all."""
    topology.vpn_up()
    byway.configure(CONFIG + OVERRIDES.format(mode="bypass"))
    byway.start()
    byway.settle()
    command = of_service(machine, "one", 4)
    for _ in range(3):
        assert seen_from_all(machine, {"one": command}) == {"one": "wwan0"}


def test_the_list_of_destinations(machine: Machine, topology: Topology, byway: Byway) -> None:
    """`byway bypass` counts at once, for everybody and forwarded, and over a restart."""
    topology.vpn_up()
    byway.configure(CONFIG)
    byway.start()
    others = {
        f"{name} {family}": [*argv, *other_server(family)]
        for family in (4, 6)
        for name, argv in (("root", ["probe"]), ("bob", ["runuser", "-u", "bob", "--", "probe"]))
    } | {"container": [*CONTAINER, *other_server(4)]}
    assert set(seen_from_all(machine, others).values()) == {"vpn"}
    byway.run("bypass add 198.51.100.20,2001:db8:f::20")
    byway.settle(BYPASSED + " == 2")
    assert set(seen_from_all(machine, others).values()) == {"wwan0"}
    assert seen_from(machine) == "vpn"
    byway.stop()
    byway.start()
    assert set(seen_from_all(machine, others).values()) == {"wwan0"}
    byway.run("bypass clear")
    byway.settle(BYPASSED + " == 0")
    assert set(seen_from_all(machine, others).values()) == {"vpn"}
