"""The main job: what is listed leaves by the direct link, what is not by the VPN."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from booted.laptop import LISTED, RUNNING, Byway
from booted.topology import (
    INTERNET,
    Topology,
    curl_from,
    probe_command,
    seen_from,
    seen_from_all,
    way_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.machine import Machine, Process

CONFIG = """
interface = "{link}"
reconcile = "1m30s"
apps = [
  "/opt/app/listed",
  "/opt/app/link",      # a symbolic link to the program
  "/opt/app/script",    # a script that runs a program that is not listed
  "/usr/bin/curl",
  "/opt/app/upgraded",  # a program whose file is replaced
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
    "upgraded": ["/opt/app/upgraded"],
}
# `systemctl start job` with the probe's arguments, printing what the probe printed.
RUN_JOB = """#!/bin/sh
exec 9>/run/job.lock
flock 9
echo "ARGUMENTS=$*" >/run/job.env
systemctl start job
cat /run/job.out
"""

# A new file in the place of the old one.
UPGRADE = "cp /usr/local/bin/probe /opt/app/new; mv /opt/app/new /opt/app/upgraded"
OWN_ADDRESS = {"wwan0": ("10.64.0.2", "2001:db8:2::2"), "wlan0": ("192.168.1.10", "2001:db8:1::10")}
FROM_OUTSIDE = ["nsenter", "--net=/run/netns/internet", "probe"]
# Packets the strict filter has dropped so far.
FILTERED = """
names, values = [line.split() for line in open("/proc/net/netstat") if line.startswith("TcpExt")]
result = int(dict(zip(names, values))["IPReversePathFilter"])
"""


@pytest.mark.parametrize(
    ("link", "order"),
    [
        ("wwan0", "vpn first"),  # a link for byway alone
        pytest.param("wwan0", "byway first", marks=pytest.mark.one_release),
        pytest.param("wwan0", "vpn restarted", marks=pytest.mark.one_release),
        pytest.param("wlan0", "byway first", marks=pytest.mark.one_release),  # one the VPN uses too
    ],
)
def test_every_way(
    machine: Machine, topology: Topology, byway: Byway, link: str, order: str
) -> None:
    """IPv4 and IPv6, TCP and UDP, however the program is started and in whichever order."""
    machine.put("/etc/systemd/system/job.service", JOB)
    machine.put("/opt/app/job", RUN_JOB, 0o755)
    byway.configure(CONFIG.format(link=link))
    old = start_old_file(machine)
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
    machine.run(f"{UPGRADE}; sleep 0.3")
    with topology.capture("wg0") as tunnel:
        assert_outbound(machine, link, WAYS)
        assert {case: way_of_old_file(process) for case, process in old.items()} == dict.fromkeys(
            old, link
        )
        assert [curl_from(machine, family=family) for family in (4, 6)] == [link, link]
        assert_inbound(machine, link)
        with strict_filter(machine, link):
            assert_outbound(machine, link, {"listed": [LISTED]})
            assert_inbound(machine, link)
    for port in (7001, 7200):
        listed = [*tunnel.packets(destination_port=port), *tunnel.packets(source_port=port)]
        assert not listed, "a listed program's packet was in the tunnel"
    # The positive control: what was not listed was in the tunnel.
    assert tunnel.packets(destination_port=7000)


def commands_for(ways: dict[str, list[str]], port: int) -> dict[str, list[str]]:
    """Each of ``ways`` over both families and protocols."""
    return {
        f"{name}, IPv{family}, {protocol}": probe_command(
            argv, family=family, protocol=protocol, port=port
        )
        for name, argv in ways.items()
        for family in (4, 6)
        for protocol in ("tcp", "udp")
    }


def assert_outbound(machine: Machine, link: str, ways: dict[str, list[str]]) -> None:
    """All of ``ways`` lead out by the link, and what is not listed by the VPN."""
    listed = commands_for(ways, 7001)
    unlisted = commands_for({"unlisted": ["probe"]}, 7000)
    wanted = dict.fromkeys(listed, link) | dict.fromkeys(unlisted, "vpn")
    assert seen_from_all(machine, listed | unlisted) == wanted


def start_old_file(machine: Machine) -> dict[str, Process]:
    """Start programs of a file that is then replaced; they wait before they make their sockets."""
    machine.run(UPGRADE)
    commands = commands_for({"old file": ["/opt/app/upgraded", "-i"]}, 7001)
    started = {case: machine.spawn(argv) for case, argv in commands.items()}
    machine.run(UPGRADE)
    links = " ".join(f"/proc/{process.pid}/exe" for process in started.values())
    assert machine.run(f"readlink {links}").stdout.count("/upgraded (deleted)\n") == len(started)
    return started


def way_of_old_file(process: Process) -> str:
    """Let it go on; the link it takes."""
    process.write("\n")
    process.wait(10)
    return way_in(process.stop())


def assert_inbound(machine: Machine, link: str) -> None:
    """Who comes from outside to the link's own address is answered, by a listed program."""
    datagrams = {"tcp": [], "udp": ["-u"]}
    listeners = [machine.spawn([LISTED, *options, "-l", "7200"]) for options in datagrams.values()]
    for listener in listeners:
        listener.wait_for("listening")
    asked, wanted = {}, {}
    for family, address in zip((4, 6), OWN_ADDRESS[link], strict=True):
        for protocol, options in datagrams.items():
            words = [*FROM_OUTSIDE, *options, "-b", INTERNET[family], address, "7200"]
            asked[f"{address}, {protocol}"] = words
            # It is told by what address it was seen.
            wanted[f"{address}, {protocol}"] = INTERNET[family]
    answers = machine.run_all(asked.values())
    for listener in listeners:
        listener.stop()
    assert dict(zip(asked, (told.stdout.split()[0] for told in answers), strict=True)) == wanted


@contextlib.contextmanager
def strict_filter(machine: Machine, link: str) -> Iterator[None]:
    """rp_filter=1 on the direct link, with the proof that it drops what is not byway's."""
    setting = f"net.ipv4.conf.{link}.rp_filter"
    machine.run(["sysctl", "-q", f"{setting}=1"])
    before = machine.python(FILTERED)
    machine.run([*FROM_OUTSIDE, "-t", "1", OWN_ADDRESS[link][0], "7201"], check=False)
    assert machine.python(FILTERED) > before, "the filter is not strict"
    yield
    machine.run(["sysctl", "-q", f"{setting}=0"])


@pytest.mark.usefixtures("running")
@pytest.mark.one_release
def test_near_networks_stay_near(machine: Machine) -> None:
    """The LAN, containers and loopback are reached by listed programs as before."""
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


@pytest.mark.one_release
def test_upgraded_program(machine: Machine, running: Byway) -> None:
    """A new file in the old one's place is listed at once; what still runs the old one too."""
    running.configure(RUNNING.replace("]", ', "/opt/app/later"]'))
    running.settle("len($['apps']) == 2")
    for _ in range(3):
        machine.run("cp /usr/local/bin/probe /opt/app/new; mv /opt/app/new /opt/app/listed")
        machine.run("sleep 0.2")
        assert seen_from(machine, [LISTED]) == "wwan0"
    assert "there is no such file" in running.run("status", check=False).stdout
    machine.run("cp /usr/local/bin/probe /opt/app/later; sleep 0.5")
    assert seen_from(machine, ["/opt/app/later"]) == "wwan0"
    machine.run("rm /opt/app/later")


@pytest.mark.usefixtures("running")
@pytest.mark.one_release
def test_inbound(machine: Machine, topology: Topology) -> None:
    """Who comes by the direct link is answered by it, while the VPN has the default route."""
    listener = machine.spawn([LISTED, "-l", "7200"])
    machine.wait_until("'1C20' in open('/proc/net/tcp6').read() + open('/proc/net/tcp').read()")
    for address in ("10.64.0.2", "2001:db8:2::2"):
        answered = topology.in_namespace("internet", ["probe", address, "7200"], check=False)
        assert answered.rc == 0, answered
    listener.stop()


@pytest.mark.one_release
def test_link_down_blocks_or_takes_the_vpn(
    machine: Machine, topology: Topology, running: Byway
) -> None:
    """`when_down`: block is the default, and nothing is ever in the tunnel."""
    with topology.capture("wg0") as tunnel:
        topology.link_down("wwan0")
        assert seen_from(machine, [LISTED], port=7001) == "none"
        assert seen_from(machine, [LISTED], port=7001, protocol="udp") == "none"
    assert not tunnel.packets(destination_port=7001)
    running.configure(RUNNING + '[direct]\nwhen_down = "vpn"\n')
    running.settle("$['profiles'][0]['when_down'] == 'vpn'")
    assert seen_from(machine, [LISTED]) == "vpn"
    topology.restore()
    running.settle("$['profiles'][0]['state'] == 'up'")
    assert seen_from(machine, [LISTED]) == "wwan0"


@pytest.mark.one_release
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


@pytest.mark.one_release
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


@pytest.mark.one_release
def test_two_profiles(machine: Machine, running: Byway) -> None:
    """Each with its own link, slice and table."""
    home = '[profile.home]\ninterface = "wlan0"\napps = ["/opt/app/link"]\n'
    running.configure(RUNNING + home)
    running.settle("len($['profiles']) == 2")
    in_home = ["systemd-run", "-q", "--wait", "--pipe", "--slice=byway-home.slice", "probe"]
    for family in (4, 6):
        assert seen_from(machine, [LISTED], family=family) == "wwan0"
        assert seen_from(machine, ["/opt/app/real"], family=family) == "wlan0"
        assert seen_from(machine, in_home, family=family) == "wlan0"
        assert seen_from(machine, ["byway", "run", "-p", "home", "probe"], family=family) == "wlan0"
        assert seen_from(machine, family=family) == "vpn"


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
