"""Cleared routes on a booted machine: nothing of them in the kernel, and nobody goes astray."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from booted.laptop import FIRST, LISTED, RUNNING
from booted.topology import seen_from

if TYPE_CHECKING:
    from booted.laptop import Byway
    from booted.machine import Machine
    from booted.topology import Topology

pytestmark = pytest.mark.one_release

OURS = "ip rule; ip -6 rule; ip route show table all; ip -6 route show table all"
CACHE = "/run/byway/routes.json"


def routed(machine: Machine) -> list[str]:
    """What the kernel has of byway's routes and rules, wherever the rules stand."""
    lines = machine.run(OURS).stdout.splitlines()
    ours = (line for line in lines if "byway" in line or "agvpn" in line)
    return sorted(re.sub(r"^\d+:", "", line) for line in ours)


def test_cleared_and_restored(machine: Machine, topology: Topology, running: Byway) -> None:
    """Over events, the timer and a restart; a listed app is blocked, and all else as without."""
    running.configure(RUNNING.replace('"0"', '"1s"'))
    machine.run("until systemctl is-active -q byway-reconcile.timer; do sleep 0.1; done")
    assert seen_from(machine, [LISTED]) == "wwan0"
    before = routed(machine)
    assert before
    running.run("routes clear")
    assert routed(machine) == []
    machine.run("ip route add 198.51.100.77 via 192.168.1.1; ip route del 198.51.100.77")
    machine.run("sleep 2; systemctl restart byway")
    running.settle("$['traffic']['routes_cleared']")
    assert routed(machine) == []
    for family in (4, 6):
        assert seen_from(machine, [LISTED], family=family) == "none"
        assert seen_from(machine, family=family) == "vpn"
    topology.vpn_down()
    running.settle()
    assert routed(machine) == []
    assert seen_from(machine) == "wlan0"
    assert seen_from(machine, [LISTED]) == "none"
    machine.run(f"cp {CACHE} /run/kept.json; sed -i s/11590/11591/ {CACHE}")
    refused = running.run("routes restore", check=False)
    assert (refused.rc, CACHE in refused.stderr) == (2, True)
    assert routed(machine) == []
    machine.run(f"mv /run/kept.json {CACHE}")
    topology.vpn_up()
    assert "not there" not in running.run("routes restore").stderr
    running.wait_for_rules(FIRST)
    running.settle("not $['traffic']['routes_cleared']")
    assert routed(machine) == before
    assert seen_from(machine, [LISTED]) == "wwan0"
    assert seen_from(machine) == "vpn"
