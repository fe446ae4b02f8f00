"""`byway test` on a booted machine: what it says is so, and nothing of it stays."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from booted.laptop import LISTED

if TYPE_CHECKING:
    from booted.laptop import Byway
    from booted.machine import Machine

pytestmark = pytest.mark.one_release

CONFIG = f"""interface = "wwan0"
reconcile = "0"
apps = ["{LISTED}"]
[traffic]
mode = "selective"
bypass = ["192.0.2.77", "2001:db8:77::/48"]
[traffic.force_direct]
uids = ["alice"]
cgroups = ["one.service", "gone.service"]
subnets = ["172.18.0.0/24", "fd00:18::/64"]
[traffic.force_vpn]
uids = ["1001"]
cgroups = ["two.service"]
destinations = ["192.0.2.88"]
subnets = ["172.31.0.0/24"]
[profile.lan]
interface = "wlan0"
"""
LEFT = (
    "nft list tables | grep byway-test; systemctl list-units --all --no-legend 'byway-canary*';"
    "find /sys/fs/cgroup -name 'byway-canary*'; pgrep -f '[c]anary.py'"
)
KILL_SWITCH = (
    "nft 'add table inet foreign; add chain inet foreign out"
    " { type filter hook postrouting priority 5; }; add rule inet foreign out oifname wwan0 drop'"
)


def report(byway: Byway, code: int) -> dict[str, Any]:
    done = byway.run("test --json=short", check=False)
    assert done.rc == code, done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def traces(byway: Byway) -> str:
    """What byway has in the kernel, without what its rules have counted."""
    return re.sub(r"packets \d+ bytes \d+", "", byway.traces())


def left_behind(machine: Machine) -> str:
    """What there is of a test, once systemd has put away what ended."""
    machine.wait_until(
        "not __import__('subprocess').run(args['left'], shell=True, capture_output=True).stdout",
        left=LEFT,
    )
    return machine.run(LEFT, check=False).stdout


def test_canaries(machine: Machine, running: Byway) -> None:
    """Every kind of selection goes right; what somebody blocks is told; and nothing stays."""
    for name in ("one", "two"):
        machine.run(f"systemd-run --unit {name} --quiet sleep 600")
    running.configure(CONFIG)
    running.settle("$['traffic']['resolved_cgroups'] == 2")
    before = traces(running)
    found = report(running, 0)
    ways = {(r["check"], r["selects"], r["family"], *r["left_by"]) for r in found["results"]}
    assert {way for way in ways if way[0] == "app" and way[2] == "ipv4"} == {
        ("app", "byway.slice", "ipv4", "wwan0"),
        ("app", "byway-lan.slice", "ipv4", "wlan0"),
    }
    assert ("outside", "nothing", "ipv4", "wwan0") in ways
    assert ("uid", "uid 1001", "ipv4", "wg0") in ways
    assert ("cgroup", "/system.slice/one.service", "ipv6", "wwan0") in ways
    assert ("cgroup", "/system.slice/two.service", "ipv4", "wg0") in ways
    assert ("destination", "192.0.2.88/32", "ipv4", "wg0") in ways
    assert ("source", "172.31.0.0/24", "ipv4", "wg0") in ways
    assert left_behind(machine) == ""
    assert traces(running) == before
    machine.run(KILL_SWITCH)
    try:
        found = report(running, 1)
    finally:
        machine.run("nft delete table inet foreign")
    wrong = {(r["expected"][0], r["problem"]) for r in found["results"] if not r["passed"]}
    assert wrong == {("wwan0", "it did not leave")}
    machine.run("(byway test & sleep 0.7; systemctl kill -s KILL byway; wait) 2>&1", check=False)
    assert left_behind(machine) == ""
    machine.run("systemctl start byway")  # systemd starts it by itself: this waits until it is up
    running.settle()
    machine.run("systemctl stop one two")
