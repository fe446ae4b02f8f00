"""The main job: what is listed leaves by the direct link, what is not by the VPN."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.laptop import LISTED, Byway
from booted.topology import Topology, curl_from, seen_from

if TYPE_CHECKING:
    from booted.machine import Machine

CONFIG = """
interface = "{link}"
reconcile = "1m30s"
apps = [
  "/opt/app/listed",
  "/opt/app/link",      # a symbolic link to the program
  "/opt/app/script",    # a script that runs a program that is not listed
  "/usr/bin/curl",
  "unit:job.service",
]
"""
JOB = """
[Service]
Type=oneshot
EnvironmentFile=/run/job.env
ExecStart=probe $ARGUMENTS
StandardOutput=truncate:/run/job.out
SuccessExitStatus=1
"""
# Each ends in a program that takes the probe's arguments.
WAYS = {
    "listed": [LISTED],
    "symbolic link's target": ["/opt/app/real"],
    "script": ["/opt/app/script"],
    "byway run": ["byway", "run", "--", "probe"],
    "systemd-run": ["systemd-run", "-q", "--wait", "--pipe", "--slice=byway.slice", "probe"],
    "service": ["/opt/app/job"],
}
# `systemctl start job` with the probe's arguments, printing what the probe printed.
RUN_JOB = """#!/bin/sh
echo "ARGUMENTS=$*" >/run/job.env
systemctl start job
cat /run/job.out
"""


@pytest.mark.parametrize("order", ["vpn first", "byway first", "vpn restarted"])
@pytest.mark.parametrize("link", ["wwan0", "wlan0"], ids=["dedicated", "shared"])
def test_every_way(
    machine: Machine, topology: Topology, byway: Byway, link: str, order: str
) -> None:
    """IPv4 and IPv6, TCP and UDP, however the program is started and in whichever order."""
    machine.put("/etc/systemd/system/job.service", JOB)
    machine.put("/opt/app/job", RUN_JOB, 0o755)
    byway.configure(CONFIG.format(link=link))
    if order == "vpn first":
        topology.vpn_up()
    byway.start()
    if order != "vpn first":
        topology.vpn_up()
    if order == "vpn restarted":
        topology.vpn_down()
        topology.vpn_up()
    byway.settle(
        "$['profiles'][0]['sharing'] == " + repr("dedicated" if link == "wwan0" else "shared")
    )
    seen, wanted = {}, {}
    with topology.capture("wg0") as tunnel:
        for family in (4, 6):
            for protocol in ("tcp", "udp"):
                for name, argv in WAYS.items():
                    case = f"{name}, IPv{family}, {protocol}"
                    seen[case] = seen_from(
                        machine, argv, family=family, protocol=protocol, port=7001
                    )
                    wanted[case] = link
                case = f"unlisted, IPv{family}, {protocol}"
                seen[case] = seen_from(machine, family=family, protocol=protocol)
                wanted[case] = "vpn"
            seen[f"curl, IPv{family}"] = curl_from(machine, family=family)
            wanted[f"curl, IPv{family}"] = link
    assert seen == wanted
    assert not tunnel.packets(destination_port=7001), "a listed program's packet was in the tunnel"
    # The positive control: what was not listed was in the tunnel.
    assert tunnel.packets(destination_port=7000)


def test_near_networks_stay_near(machine: Machine, topology: Topology, byway: Byway) -> None:
    """The LAN, containers and loopback are reached by listed programs as before."""
    byway.configure('interface = "wwan0"\napps = ["/opt/app/listed"]\n')
    topology.vpn_up()
    byway.start()
    neighbour = machine.spawn(["nsenter", "--net=/run/netns/lan", "probe", "-l", "7000"])
    machine.wait_until(
        "subprocess.call(['ping', '-c1', '-W1', '192.168.1.77']) == 0".replace(
            "subprocess", "__import__('subprocess')"
        )
    )
    for address in ("192.168.1.77", "2001:db8:1::77"):
        assert seen_from(machine, [LISTED], to=address) == "wlan0"
    neighbour.stop()
    listener = machine.spawn(["probe", "-l", "7100"])
    machine.wait_until("__import__('socket').create_connection(('127.0.0.1', 7100)) and True")
    for address in ("127.0.0.1", "::1"):
        assert machine.run([LISTED, address, "7100"]).stdout.split()[0] in ("127.0.0.1", "::1")
    listener.stop()


def test_upgraded_program(machine: Machine, topology: Topology, byway: Byway) -> None:
    """A new file in the old one's place is listed at once; what still runs the old one too."""
    byway.configure('interface = "wwan0"\napps = ["/opt/app/listed", "/opt/app/later"]\n')
    topology.vpn_up()
    byway.start()
    for _ in range(3):
        machine.run("cp /usr/local/bin/probe /opt/app/new; mv /opt/app/new /opt/app/listed")
        machine.run("sleep 0.2")
        assert seen_from(machine, [LISTED]) == "wwan0"
    assert "there is no such file" in byway.run("status", check=False).stdout
    machine.run("cp /usr/local/bin/probe /opt/app/later; sleep 0.5")
    assert seen_from(machine, ["/opt/app/later"]) == "wwan0"
    machine.run("rm /opt/app/later")


def test_running_program_is_moved_and_moved_back(machine: Machine, byway: Byway) -> None:
    """One that runs when byway starts is moved, and returned when it is no longer listed."""
    # It makes its socket after a while: what it opened before stays where it was.
    process = machine.spawn([LISTED, "-w", "60", "198.51.100.10", "7001"])
    home = machine.get(f"/proc/{process.pid}/cgroup")
    byway.configure('interface = "wwan0"\napps = ["/opt/app/listed"]\n')
    byway.start()
    assert "/byway.slice/" in machine.get(f"/proc/{process.pid}/cgroup")
    assert "moved" in byway.run("status").stdout
    byway.configure('interface = "wwan0"\n')
    machine.wait_until(
        "open(args['path']).read() == args['home']", path=f"/proc/{process.pid}/cgroup", home=home
    )
    process.stop()


def test_inbound(machine: Machine, topology: Topology, byway: Byway) -> None:
    """Who comes by the direct link is answered by it, while the VPN has the default route."""
    byway.configure('interface = "wwan0"\napps = ["/opt/app/listed"]\n')
    topology.vpn_up()
    byway.start()
    listener = machine.spawn([LISTED, "-l", "7200"])
    machine.wait_until("'1C20' in open('/proc/net/tcp6').read() + open('/proc/net/tcp').read()")
    for address in ("10.64.0.2", "2001:db8:2::2"):
        answered = topology.in_namespace("internet", ["probe", address, "7200"], check=False)
        assert answered.rc == 0, answered
    listener.stop()


def test_strict_reverse_path_filter(machine: Machine, topology: Topology, byway: Byway) -> None:
    """rp_filter=1 everywhere, and the setting byway needs is put back when it stops."""
    machine.run(
        ["sysctl", "-q", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.wwan0.rp_filter=1"]
    )
    key = "/proc/sys/net/ipv4/conf/wwan0/src_valid_mark"
    before = machine.get(key)
    byway.configure('interface = "wwan0"\napps = ["/opt/app/listed"]\n')
    topology.vpn_up()
    byway.start()
    assert machine.get(key) == "1\n"
    for protocol in ("tcp", "udp"):
        assert seen_from(machine, [LISTED], protocol=protocol) == "wwan0"
    byway.stop()
    assert machine.get(key) == before
    machine.run(
        ["sysctl", "-q", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.wwan0.rp_filter=0"]
    )


def test_two_profiles(machine: Machine, topology: Topology, byway: Byway) -> None:
    """Each with its own link, slice and table."""
    byway.configure(
        'interface = "wwan0"\napps = ["/opt/app/listed"]\n'
        '[profile.home]\ninterface = "wlan0"\napps = ["/opt/app/link"]\n'
    )
    topology.vpn_up()
    byway.start()
    home = ["systemd-run", "-q", "--wait", "--pipe", "--slice=byway-home.slice", "probe"]
    for family in (4, 6):
        assert seen_from(machine, [LISTED], family=family) == "wwan0"
        assert seen_from(machine, ["/opt/app/real"], family=family) == "wlan0"
        assert seen_from(machine, home, family=family) == "wlan0"
        assert seen_from(machine, ["byway", "run", "-p", "home", "probe"], family=family) == "wlan0"
        assert seen_from(machine, family=family) == "vpn"


def test_link_down_blocks_or_takes_the_vpn(
    machine: Machine, topology: Topology, byway: Byway
) -> None:
    """`when_down`: block is the default, and nothing is ever in the tunnel."""
    config = 'interface = "wwan0"\napps = ["/opt/app/listed"]\n'
    byway.configure(config)
    topology.vpn_up()
    byway.start()
    with topology.capture("wg0") as tunnel:
        topology.link_down("wwan0")
        assert seen_from(machine, [LISTED], port=7001) == "none"
        assert seen_from(machine, [LISTED], port=7001, protocol="udp") == "none"
    assert not tunnel.packets(destination_port=7001)
    byway.configure(config + '[direct]\nwhen_down = "vpn"\n')
    byway.settle("$['profiles'][0]['when_down'] == 'vpn'")
    assert seen_from(machine, [LISTED]) == "vpn"
    topology.restore()
    byway.settle("$['profiles'][0]['state'] == 'up'")
    assert seen_from(machine, [LISTED]) == "wwan0"


def test_a_drop_in_is_enough(machine: Machine, topology: Topology, byway: Byway) -> None:
    """`systemctl edit`: Slice=byway.slice in any service, and limits on the slice."""
    machine.put("/etc/systemd/system/other.service", JOB)
    machine.put(
        "/etc/systemd/system/other.service.d/override.conf", "[Service]\nSlice=byway.slice\n"
    )
    machine.put("/etc/systemd/system/byway.slice.d/override.conf", "[Slice]\nCPUWeight=50\n")
    machine.put("/run/job.env", "ARGUMENTS=198.51.100.10 7000\n")
    byway.configure('interface = "wwan0"\n')
    topology.vpn_up()
    byway.start()
    machine.run(["systemctl", "start", "other"])
    assert machine.get("/run/job.out").startswith("10.64.0.2 ")
    shown = machine.run(
        "systemctl show -P CPUWeight byway.slice; systemctl daemon-reload;"
        "systemctl show -P CPUWeight byway.slice"
    )
    assert shown.stdout == "50\n50\n"
    assert machine.get("/sys/fs/cgroup/byway.slice/cpu.weight") == "50\n"
