"""The mark on the socket itself: its own address, and a way where the main table has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.laptop import LISTED, Byway
from booted.topology import INTERNET, Topology, seen_from

if TYPE_CHECKING:
    from booted.machine import Machine

pytestmark = pytest.mark.one_release

CONFIG = 'interface = "wwan0"\napps = ["/opt/app/listed"]\n'
IN_SLICE = ["systemd-run", "-q", "--wait", "--pipe", "--slice=byway.slice"]
OWN_ADDRESS = (
    "import socket,sys; s = socket.create_connection((sys.argv[1], 7000));print(s.getsockname()[0])"
)
OBSERVE = (
    "import subprocess; result = subprocess.run(['/usr/lib/byway/bin/python3', '-Ic',"
    "'from byway_systemd.system.socket_marker import *;"
    'print(SocketMarkers().observe("/sys/fs/cgroup/byway.slice"))\'],'
    "capture_output=True, text=True).stdout"
)
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


def test_the_socket_has_the_direct_links_address(
    machine: Machine, topology: Topology, byway: Byway
) -> None:
    """getsockname(2) names it: nothing was translated on the way."""
    byway.configure(CONFIG)
    topology.vpn_up()
    byway.start()
    for family, address in ((4, "10.64.0.2"), (6, "2001:db8:2::2")):
        shown = machine.run([*IN_SLICE, "python3", "-c", OWN_ADDRESS, INTERNET[family]])
        assert shown.stdout.strip() == address


def test_kill_switch(machine: Machine, topology: Topology, byway: Byway) -> None:
    """Marked sockets pass it, and nobody else does once the tunnel is gone."""
    byway.configure(CONFIG)
    topology.vpn_up()
    byway.start()
    machine.put("/run/killswitch.nft", KILL_SWITCH)
    machine.run(["nft", "-f", "/run/killswitch.nft"])
    for protocol in ("tcp", "udp"):
        assert seen_from(machine, [LISTED], protocol=protocol) == "wwan0"
    topology.vpn_down()
    assert seen_from(machine, [LISTED]) == "wwan0"
    assert seen_from(machine) == "none"
    machine.run(["nft", "delete", "table", "inet", "killswitch"])


def test_no_route_in_main(machine: Machine, topology: Topology, byway: Byway) -> None:
    """Where main has no default at all, what is listed still has one."""
    byway.configure(CONFIG + '[direct]\ngateway = "10.64.0.1"\ngateway6 = "2001:db8:2::1"\n')
    byway.start()
    machine.run("for f in -4 -6; do while ip $f route del default 2>/dev/null; do :; done; done")
    for family in (4, 6):
        assert seen_from(machine, [LISTED], family=family) == "wwan0"
        assert seen_from(machine, family=family) == "none"
    assert topology


def test_inbound_datagrams(machine: Machine, topology: Topology, byway: Byway) -> None:
    """A server on any address answers a datagram from the address it came to."""
    byway.configure(CONFIG)
    topology.vpn_up()
    byway.start()
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


@pytest.mark.parametrize("setting", ["auto", "off"])
def test_attached_and_detached(machine: Machine, byway: Byway, setting: str) -> None:
    """It is there while byway runs and it is not switched off, and gone when it stops."""
    byway.configure(CONFIG + f'[kernel]\nsocket_marker = "{setting}"\n')
    byway.start()
    expected = "(16777216,)\n" if setting == "auto" else "()\n"
    assert machine.python(OBSERVE) == expected
    shown = byway.run("status").stdout
    assert f"socket marker {'active' if setting == 'auto' else 'off'}" in shown
    assert seen_from(machine, [LISTED]) == "wwan0"
    byway.stop()
    assert machine.python(OBSERVE) == "()\n"
