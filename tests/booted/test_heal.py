"""Whatever undoes byway's work, it comes right by itself; the time it takes is printed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from booted.laptop import LISTED, RUNNING, Byway, time_to_heal
from booted.topology import FOLDER, LISTED_PORT, Topology, seen_from

if TYPE_CHECKING:
    from booted.machine import Machine

# Without the timer: what heals, heals by events.
CONFIG = 'interface = "wwan0"\nreconcile = "0"\n'
LINK_BACK = (
    "ip address replace 10.64.0.2/24 dev wwan0;"
    "ip route replace default via 10.64.0.1 dev wwan0 metric 700"
)
EVENTS = {
    "nft flush ruleset": "nft flush ruleset",
    "rules deleted": "ip rule del lookup byway; ip -6 rule del lookup byway",
    "table flushed": "ip route flush table byway",
    "link down and up": f"ip link set wwan0 down; ip link set wwan0 up; {LINK_BACK}",
    "foreign rule in front": "ip rule add pref 100 lookup main",
    "link removed and added again": (
        "ip link set wwan0 netns lan; ip -n lan link set wwan0 netns 1; ip link set wwan0 up;"
        + LINK_BACK
    ),
    "gateway changed": (
        "ip -n isp address del 10.64.0.1/24 dev cell0;"
        "ip route replace default via 10.64.0.9 dev wwan0 metric 700"
    ),
    "address changed": "ip address add 10.64.0.77/24 dev wwan0",
}
# The others depend on nothing that a release of Debian decides.
ON_BOTH = {"nft flush ruleset"}
# A flow that only the flushed ruleset had kept off the VPN may leave by it until it is back.
MAY_LEAK = {"nft flush ruleset", "rules deleted"}
WITHOUT_GATE = '[placement]\ngate = "off"\n'
GATE_IS_OFF = "$['placement']['exec_gate'].startswith('off')"
# Sets the receive buffer of a process's proc connector (netlink family 11) from outside, by
# pidfd_getfd(2), which shares the socket; 33 is SO_RCVBUFFORCE.
SET_BUFFER = """
import ctypes, os, socket
pid = args["pid"]
rows = [line.split() for line in open(f"/proc/{pid}/net/netlink")][1:]
inodes = {f"socket:[{row[9]}]" for row in rows if row[1] == "11"}
def target(name):
    try:
        return os.readlink(f"/proc/{pid}/fd/{name}")
    except FileNotFoundError:  # the daemon runs, and has closed it
        return ""
(number,) = [int(name) for name in os.listdir(f"/proc/{pid}/fd") if target(name) in inodes]
shared = ctypes.CDLL(None, use_errno=True).syscall(438, os.pidfd_open(pid), number, 0)
assert shared >= 0, os.strerror(ctypes.get_errno())
with socket.socket(fileno=shared) as events:
    events.setsockopt(socket.SOL_SOCKET, 33, args["size"])
"""
LOST = "process events were lost: looking at every process"


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(event, marks=() if event in ON_BOTH else pytest.mark.one_release)
        for event in EVENTS
    ],
)
def test_heals(
    machine: Machine, running: Byway, event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Datagrams from the slice go by the direct link again."""
    pings = running.heal(EVENTS[event])
    report(event, time_to_heal(pings), capsys)
    assert {way for _, way in pings if way == "direct"}, "the control saw nothing"
    if event not in MAY_LEAK:
        assert not [ping for ping in pings if ping[1] == "vpn"]
    assert pings[-1][1] == "direct"
    machine.run(
        "ip rule del pref 100 2>/dev/null; ip address del 10.64.0.77/24 dev wwan0 2>/dev/null;"
        "nft list table ip containers >/dev/null 2>&1 || nft -f " + f"{FOLDER}/laptop.nft"
    )


@pytest.mark.usefixtures("running")
@pytest.mark.one_release
def test_a_router_that_did_not_answer(machine: Machine) -> None:
    """IPv6 comes back with it, not a minute later: nothing answers for it in between."""
    failed = "2001:db8:2::1 lladdr 02:00:00:00:00:01 dev wwan0 nud failed"
    machine.run(f"ip -6 neighbour replace {failed}; sleep 1.2")
    seen_from(machine, [LISTED], family=6, port=LISTED_PORT)  # which makes the kernel ask again
    machine.run("sleep 0.5")
    assert seen_from(machine, [LISTED], family=6, port=LISTED_PORT) == "wwan0"


def report(event: str, seconds: float, capsys: pytest.CaptureFixture[str]) -> None:
    """Print how long it took."""
    with capsys.disabled():
        sys.stdout.write(f"\n  {event}: healed in {seconds * 1000:.0f} ms\n")


@pytest.mark.one_release
def test_gateway_changes(machine: Machine, topology: Topology, running: Byway) -> None:
    """The table follows main's default route, IPv4 and IPv6."""
    topology.change_gateway("wwan0")
    in_slice = ["systemd-run", "-q", "--wait", "--pipe", "--slice=byway.slice", "probe"]
    running.settle("$['profiles'][0]['gateways']['ipv4'] == '10.64.0.9'")
    for family in (4, 6):
        assert seen_from(machine, in_slice, family=family) == "wwan0"


@pytest.mark.one_release
def test_scan_finds_what_events_missed(machine: Machine, running: Byway) -> None:
    """A process that no event told of is moved at the next reconcile."""
    running.configure(RUNNING.replace('"0"', '"1s"') + WITHOUT_GATE)
    running.settle(GATE_IS_OFF)
    machine.run("until systemctl is-active -q byway-reconcile.timer; do sleep 0.1; done")
    pid = running.main_pid()
    machine.run(f"kill -STOP {pid}")
    process = machine.spawn(["/opt/app/listed", "-w", "60", "198.51.100.10", "7000"])
    machine.run(f"kill -CONT {pid}")
    machine.wait_until(
        "'/byway.slice/' in open(args['path']).read()", path=f"/proc/{process.pid}/cgroup"
    )
    process.stop()


@pytest.mark.one_release
def test_lost_process_events(machine: Machine, running: Byway) -> None:
    """The kernel drops events that nobody takes in time: every process is looked at then."""
    running.configure(RUNNING + WITHOUT_GATE)
    running.settle(GATE_IS_OFF)
    pid = running.main_pid()
    log = ["journalctl", "-b", f"_PID={pid}", "-o", "cat"]
    before = machine.run(log).stdout.count(LOST)
    machine.run(f"kill -STOP {pid}")
    try:
        # A buffer of 8 MiB takes too long to fill: the daemon's own socket gets a small one.
        machine.python(SET_BUFFER, pid=pid, size=4096)
        machine.run("for i in $(seq 100); do /bin/true; done")
        process = machine.spawn(["/opt/app/listed", "-w", "60", "198.51.100.10", "7000"])
        where = f"/proc/{process.pid}/cgroup"
        assert "/byway.slice/" not in machine.get(where)
        assert machine.run(log).stdout.count(LOST) == before
    finally:
        machine.run(f"kill -CONT {pid}")
    machine.wait_until("'/byway.slice/' in open(args['path']).read()", path=where, timeout=10)
    # It may have been placed by another look already.
    machine.wait_until(
        "__import__('subprocess').check_output(args['log'], text=True).count(args['lost'])"
        " > args['before']",
        log=log,
        lost=LOST,
        before=before,
    )
    process.stop()
    machine.python(SET_BUFFER, pid=pid, size=8 << 20)


def test_wg_quick_up_and_down_never_leaks(
    machine: Machine, topology: Topology, running: Byway
) -> None:
    """Its rules land in front of byway's; strict egress holds until the guard has moved."""
    topology.vpn_down()
    with_wg = running.heal("wg-quick up wg0; wg-quick down wg0; wg-quick up wg0", 6)
    assert not [ping for ping in with_wg if ping[1] in ("vpn", "wlan0")]
    assert with_wg[-1][1] == "direct"
    machine.run(["wg-quick", "down", "wg0"])  # systemd knows nothing of it


@pytest.mark.one_release
def test_wg_quicks_rules_keep_their_order(topology: Topology, running: Byway) -> None:
    """Its `suppress_prefixlength 0` stands in front of its table, and byway in front of both."""
    for _ in range(2):
        topology.vpn_down()
        running.wait_for_rules("11590:")
        topology.vpn_up()
        running.wait_for_rules("lookup byway(.|\\n)*suppress_prefixlength 0(.|\\n)*lookup 51820")


@pytest.mark.one_release
def test_link_absent_at_start_renamed_and_back(
    machine: Machine, topology: Topology, byway: Byway
) -> None:
    """It is blocked while its link is not there, and goes as soon as it is."""
    byway.configure(CONFIG)
    topology.vpn_up()
    machine.run("ip link set wwan0 down; ip link set wwan0 name away0")
    byway.start()
    in_slice = ["systemd-run", "-q", "--wait", "--pipe", "--slice=byway.slice", "probe"]
    assert seen_from(machine, in_slice) == "none"
    assert "wwan0 is absent" in byway.run("status", check=False).stdout
    machine.run(f"ip link set away0 name wwan0; ip link set wwan0 up; {LINK_BACK}")
    byway.settle("$['profiles'][0]['state'] == 'up'")
    assert seen_from(machine, in_slice) == "wwan0"


def test_slice_stopped_and_started(
    machine: Machine, running: Byway, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has a new cgroup id then, and the old one would match nothing."""
    machine.put("/etc/systemd/system/byway.slice.d/stop.conf", "[Unit]\nRefuseManualStop=no\n")
    machine.run(["systemctl", "daemon-reload"])
    before = running.status()["profiles"][0]["cgroup_id"]
    event = "systemctl stop byway.slice; systemctl start byway.slice byway-gate.service"
    pings = running.heal(event, joins="/sys/fs/cgroup/byway.slice")
    report("slice stopped and started", time_to_heal(pings), capsys)
    assert pings[-1][1] == "direct"
    running.settle(f"$['profiles'][0]['cgroup_id'] not in (None, {before})")
    in_slice = ["systemd-run", "-q", "--wait", "--pipe", "--slice=byway.slice", "probe"]
    assert seen_from(machine, in_slice) == "wwan0"
    machine.run("rm -r /etc/systemd/system/byway.slice.d; systemctl daemon-reload")


@pytest.mark.one_release
def test_timer_repairs_without_the_daemon(
    machine: Machine, topology: Topology, byway: Byway
) -> None:
    """Hung, the daemon answers nobody: the timer's service does the work itself."""
    byway.configure('interface = "wwan0"\nreconcile = "1s"\n')
    topology.vpn_up()
    machine.put("/etc/systemd/system/byway.service.d/hang.conf", "[Service]\nWatchdogSec=0\n")
    byway.start()
    pid = byway.main_pid()
    machine.run(
        f"kill -STOP {pid}; touch -d '-1 minute' /run/byway/daemon.pid; nft delete table inet byway"
    )
    machine.wait_until(
        "b'inet byway' in __import__('subprocess').check_output(['nft', 'list', 'tables'])",
        timeout=40,
    )
    machine.run(f"kill -CONT {pid}")
