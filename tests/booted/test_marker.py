"""The mark on the socket itself: its own address, and a way where the main table has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.laptop import LISTED, RUNNING, Byway
from booted.topology import INTERNET, LISTED_PORT, Topology, seen_from, way_in

if TYPE_CHECKING:
    from booted.machine import Machine

pytestmark = pytest.mark.one_release

CONFIG = 'interface = "wwan0"\napps = ["/opt/app/listed"]\n'
IN_SLICE = ["systemd-run", "-q", "--wait", "--pipe", "--slice=byway.slice"]
OWN_ADDRESS = (
    "import socket,sys; s = socket.create_connection((sys.argv[1], 7001));print(s.getsockname()[0])"
)
OBSERVE = (
    "import subprocess; result = subprocess.run(['/usr/lib/byway/bin/python3', '-Ic',"
    "'from byway_systemd.system.socket_marker import *;"
    'print(SocketMarkers().observe("/sys/fs/cgroup/byway.slice"))\'],'
    "capture_output=True, text=True).stdout"
)
# IPPROTO_MPTCP is 262.
MULTIPATH_SERVER = """
import socket
server = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 262)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("::", 7301))
server.listen()
print("ready")
while True:
    client, address = server.accept()
    client.send(address[0].removeprefix("::ffff:").encode() + b" 0\\n")
"""
MULTIPATH_CLIENT = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
client = socket.socket(family, socket.SOCK_STREAM, 262)
client.settimeout(5)
client.connect((sys.argv[1], int(sys.argv[2])))
print(client.recv(100).decode())
"""
# Answers to a SYN that was offered more than one path.
MULTIPATH_ANSWERS = """
names, values = [line.split() for line in open("/proc/net/netstat") if line.startswith("MPTcpExt")]
result = int(dict(zip(names, values))["MPCapableSYNACKRX"])
"""
# Allows the tunnel, the loopback and what carries byway's mark, as a VPN's kill switch may.
KILL_SWITCH = """
table inet killswitch {
  chain output {
    type filter hook output priority 0; policy drop;
    oifname { "lo", "wg0" } accept
    meta mark 0xca6c accept
    meta mark & 0x3f000000 != 0 accept
  }
}
"""


@pytest.mark.usefixtures("captured")
def test_the_socket_has_the_direct_links_address(machine: Machine) -> None:
    """getsockname(2) names it: nothing was translated on the way."""
    for family, address in ((4, "10.64.0.2"), (6, "2001:db8:2::2")):
        shown = machine.run([*IN_SLICE, "python3", "-c", OWN_ADDRESS, INTERNET[family]])
        assert shown.stdout.strip() == address


@pytest.mark.usefixtures("captured")
def test_kill_switch(machine: Machine, topology: Topology) -> None:
    """Marked sockets pass it, and nobody else does once the tunnel is gone."""
    machine.put("/run/killswitch.nft", KILL_SWITCH)
    machine.run(["nft", "-f", "/run/killswitch.nft"])
    for protocol in ("tcp", "udp"):
        assert seen_from(machine, [LISTED], protocol=protocol, port=LISTED_PORT) == "wwan0"
    topology.vpn_down()
    assert seen_from(machine, [LISTED], port=LISTED_PORT) == "wwan0"
    assert seen_from(machine) == "none"
    machine.run(["nft", "delete", "table", "inet", "killswitch"])


@pytest.mark.usefixtures("captured")
def test_inbound_datagrams(machine: Machine, topology: Topology) -> None:
    """A server on any address answers a datagram from the address it came to."""
    serve = (
        "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM);"
        "s.bind(('::', 7300)); print('ready', flush=True)\n"
        "while True: s.sendto(b'x 1\\n', s.recvfrom(100)[1])"
    )
    server = machine.spawn([*IN_SLICE, "python3", "-c", serve])
    server.wait_for("ready")
    for address in ("10.64.0.2", "2001:db8:2::2"):
        answered = topology.in_namespace("internet", ["probe", "-u", address, "7300"], check=False)
        assert answered.rc == 0, answered
    server.stop()


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize("family", [4, 6])
def test_multipath_tcp(machine: Machine, topology: Topology, family: int) -> None:
    """The kernel makes the subflows' sockets; the other end speaks it too."""
    serve = ["python3", "-u", "-c", MULTIPATH_SERVER]
    server = machine.spawn(["nsenter", "--net=/run/netns/internet", *serve])
    server.wait_for("ready")
    before = machine.python(MULTIPATH_ANSWERS)
    words = ["python3", "-c", MULTIPATH_CLIENT, INTERNET[family], "7301"]
    with topology.capture("wg0") as tunnel:
        told = machine.run([*IN_SLICE, *words])
    assert not tunnel.packets(destination_port=7301)
    assert way_in(told.stdout) == "wwan0"
    assert machine.python(MULTIPATH_ANSWERS) > before, "it was plain TCP"
    server.stop()


def test_no_route_in_main(machine: Machine, topology: Topology, running: Byway) -> None:
    """Where main has no default at all, what is listed still has one."""
    topology.vpn_down()
    running.configure(RUNNING + '[direct]\ngateway = "10.64.0.1"\ngateway6 = "2001:db8:2::1"\n')
    machine.run(["systemctl", "reload", "byway"])
    machine.run("for f in -4 -6; do while ip $f route del default 2>/dev/null; do :; done; done")
    for family in (4, 6):
        assert seen_from(machine, [LISTED], family=family, port=LISTED_PORT) == "wwan0"
        assert seen_from(machine, family=family) == "none"


@pytest.mark.parametrize("setting", ["auto", "off"])
def test_attached_and_detached(machine: Machine, byway: Byway, setting: str) -> None:
    """It is there while byway runs and it is not switched off, and gone when it stops."""
    byway.configure(CONFIG + f'[kernel]\nsocket_marker = "{setting}"\n')
    byway.start()
    expected = "(16777216,)\n" if setting == "auto" else "()\n"
    assert machine.python(OBSERVE) == expected
    shown = byway.run("status").stdout
    assert f"socket marker {'active' if setting == 'auto' else 'off'}" in shown
    assert seen_from(machine, [LISTED], port=LISTED_PORT) == "wwan0"
    byway.stop()
    assert machine.python(OBSERVE) == "()\n"


def test_systemd_attaches_it_too(machine: Machine, byway: Byway, release: str) -> None:
    """A slice that is made anew while byway hangs has it, and after the stop nothing is pinned."""
    # systemd 252 takes it for attached to a cgroup that was there before at the same path.
    by_systemd = "()\n" if release == "12" else "(16777216,)\n"
    folder = "/etc/systemd/system"
    machine.put(f"{folder}/byway.slice.d/stop.conf", "[Unit]\nRefuseManualStop=no\n")
    machine.put(f"{folder}/byway.service.d/hang.conf", "[Service]\nWatchdogSec=0\n")
    byway.configure(CONFIG)
    byway.start()
    machine.run(["systemctl", "daemon-reload"])
    shown = machine.run(["systemctl", "show", "-P", "BPFProgram", "byway.slice"]).stdout
    assert shown == "sock_create:/sys/fs/bpf/byway/default\n"
    pid = byway.main_pid()
    machine.run(f"kill -STOP {pid}; systemctl stop byway.slice; systemctl start byway.slice")
    assert machine.python(OBSERVE) == by_systemd
    machine.run(f"kill -CONT {pid}")
    byway.settle()
    assert machine.python(OBSERVE) == "(16777216,)\n"
    byway.stop()
    assert machine.python(OBSERVE) == "()\n"
    assert machine.run("ls /sys/fs/bpf").stdout == ""
    machine.run(["systemctl", "daemon-reload"])
    told = machine.run("journalctl -b -o cat _PID=1").stdout.splitlines()
    assert [line for line in told if "BPF" in line and "already exists" not in line] == []
