"""DNS of what is listed: asked of the direct link's server, also by way of a stub resolver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.laptop import RUNNING
from booted.rivals import manage_only
from booted.topology import way_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.laptop import Byway
    from booted.machine import Machine, Process

pytestmark = pytest.mark.one_release

SERVER = """
import socket, sys
name, *addresses = sys.argv[1:]
kinds = {True: socket.AF_INET6, False: socket.AF_INET}
sockets = [socket.socket(kinds[":" in address], socket.SOCK_DGRAM) for address in addresses]
for server, address in zip(sockets, addresses):
    server.bind((address, 53))
print("ready", flush=True)
import select
while True:
    for server in select.select(sockets, [], [])[0]:
        _, peer = server.recvfrom(512)
        server.sendto(f"{name} {peer[0]}".encode(), peer)
"""
QUESTION = """
import socket, sys
kind = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(kind, socket.SOCK_DGRAM) as asking:
    asking.settimeout(3)
    asking.connect((sys.argv[1], 53))
    asking.send(b"?")
    print(asking.recv(512).decode())
"""
IN_SLICE = ["systemd-run", "-q", "--wait", "--pipe", "--slice=byway.slice"]
SETTING = "/proc/sys/net/ipv4/conf/wwan0/route_localnet"


def serve(machine: Machine, name: str, *addresses: str, namespace: str = "") -> Process:
    """Start a server that answers with its name and who asked."""
    enter = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
    server = machine.spawn([*enter, "python3", "-c", SERVER, name, *addresses])
    server.wait_for("ready")
    return server


def test_the_direct_links_server_is_asked(machine: Machine, running: Byway) -> None:
    """Others ask the stub as ever, and what byway has set goes with it."""
    own = serve(machine, "own", "10.64.0.1", "2001:db8:2::1", namespace="isp")
    stub = serve(machine, "stub", "127.0.0.53")
    before = machine.get(SETTING)
    running.configure(RUNNING + '[direct]\ndns = ["10.64.0.1", "2001:db8:2::1"]\n')
    running.settle("$['profiles'][0]['dns'] == ['10.64.0.1', '2001:db8:2::1']")
    for address in ("127.0.0.53", "198.51.100.10", "2001:db8:f::10"):
        told = machine.run([*IN_SLICE, "python3", "-c", QUESTION, address]).stdout.split()
        assert told[0] == "own", (address, told)
        assert way_of(told[1]) == "wwan0"
    others = machine.run(["python3", "-c", QUESTION, "127.0.0.53"]).stdout
    assert others == "stub 127.0.0.1\n"
    running.configure(RUNNING)
    running.settle("$['profiles'][0]['dns'] == 'system'")
    told = machine.run([*IN_SLICE, "python3", "-c", QUESTION, "127.0.0.53"]).stdout
    assert told == "stub 127.0.0.1\n"
    assert machine.get(SETTING) == before
    own.stop()
    stub.stop()


MANAGER = {
    "/run/NetworkManager/conf.d/names.conf": manage_only("wwan0"),
    "/etc/NetworkManager/system-connections/uplink.nmconnection": """\
[connection]
id=uplink
type=ethernet
interface-name=wwan0
autoconnect=false

[ipv4]
method=manual
address1=10.64.0.2/24,10.64.0.1
dns=10.64.0.1;
route-metric=700

[ipv6]
method=manual
address1=2001:db8:2::2/64,2001:db8:2::1
dns=2001:db8:2::1;
route-metric=700
""",
}


@pytest.fixture
def network_manager(machine: Machine, running: Byway) -> Iterator[None]:
    """NetworkManager's files, with a connection for the direct link; resolved does not run."""
    assert running
    for path, text in MANAGER.items():
        machine.put(path, text, 0o600)
    yield
    machine.run("systemctl stop NetworkManager; rm -f " + " ".join(MANAGER))
    # It marks addresses noprefixroute; they come back as they were when the world is restored.
    # The link-local one, which it does not leave to the kernel, comes back when that is set.
    generation = "net.ipv6.conf.wwan0.addr_gen_mode"
    machine.run(
        f"ip address flush dev wwan0; sysctl -q -w {generation}=1; sysctl -q -w {generation}=0"
    )


@pytest.mark.usefixtures("network_manager")
def test_servers_that_only_networkmanager_knows(machine: Machine, running: Byway) -> None:
    own = serve(machine, "own", "10.64.0.1", "2001:db8:2::1", namespace="isp")
    running.configure(RUNNING + '[direct]\ndns = "direct"\n')
    running.settle("$['profiles'][0]['dns'] == []")
    machine.run("systemctl start NetworkManager; nmcli connection up uplink")
    running.settle("$['profiles'][0]['dns'] == ['10.64.0.1', '2001:db8:2::1']")
    # IPv6 leaves by the link as soon as it is known that nobody else has its address.
    running.settle("$['profiles'][0]['gateways']['ipv6'] == '2001:db8:2::1'")
    for address in ("127.0.0.53", "2001:db8:f::10"):
        told = machine.run([*IN_SLICE, "python3", "-c", QUESTION, address]).stdout.split()
        assert told[0] == "own", (address, told)
        assert way_of(told[1]) == "wwan0"
    own.stop()
    running.configure(RUNNING)
    running.settle("$['profiles'][0]['dns'] == 'system'")
