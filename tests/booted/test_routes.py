"""Cleared routes on a booted machine: nothing of them in the kernel, and nobody goes astray."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from booted.laptop import FIRST, LISTED
from booted.topology import seen_from

if TYPE_CHECKING:
    from booted.laptop import Byway
    from booted.machine import Machine
    from booted.topology import Topology

pytestmark = pytest.mark.one_release

CONFIG = f'interface = "wwan0"\nreconcile = "1s"\napps = ["{LISTED}"]\n'
OURS = "ip rule; ip -6 rule; ip route show table all; ip -6 route show table all"
CACHE = "/run/byway/routes.json"


def routed(machine: Machine) -> list[str]:
    """What the kernel has of byway's routes and rules, wherever the rules stand."""
    lines = machine.run(OURS).stdout.splitlines()
    ours = (line for line in lines if "byway" in line or "agvpn" in line)
    return sorted(re.sub(r"^\d+:", "", line) for line in ours)


def test_cleared_and_restored(machine: Machine, topology: Topology, byway: Byway) -> None:
    """Over events, the timer and a restart; a listed app is blocked, and all else as without."""
    topology.vpn_up()
    byway.configure(CONFIG)
    byway.start()
    byway.wait_for_rules(FIRST)
    byway.settle()
    assert seen_from(machine, [LISTED]) == "wwan0"
    before = routed(machine)
    assert before
    byway.run("routes clear")
    assert routed(machine) == []
    machine.run("ip route add 198.51.100.77 via 192.168.1.1; ip route del 198.51.100.77")
    machine.run("sleep 2; systemctl restart byway")
    byway.settle("$['traffic']['routes_cleared']")
    assert routed(machine) == []
    for family in (4, 6):
        assert seen_from(machine, [LISTED], family=family) == "none"
        assert seen_from(machine, family=family) == "vpn"
    topology.vpn_down()
    byway.settle()
    assert routed(machine) == []
    assert seen_from(machine) == "wlan0"
    assert seen_from(machine, [LISTED]) == "none"
    machine.run(f"cp {CACHE} /run/kept.json; sed -i s/11590/11591/ {CACHE}")
    refused = byway.run("routes restore", check=False)
    assert (refused.rc, CACHE in refused.stderr) == (2, True)
    assert routed(machine) == []
    machine.run(f"mv /run/kept.json {CACHE}")
    topology.vpn_up()
    assert "not there" not in byway.run("routes restore").stderr
    byway.wait_for_rules(FIRST)
    byway.settle("not $['traffic']['routes_cleared']")
    assert routed(machine) == before
    assert seen_from(machine, [LISTED]) == "wwan0"
    assert seen_from(machine) == "vpn"
