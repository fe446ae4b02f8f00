"""Names of hosts that are not for the VPN, looked up by the real systemd-resolved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.laptop import RUNNING
from booted.topology import seen_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.laptop import Byway
    from booted.machine import Machine, Process

NAME = "relay.example.net"
# A server that knows one name, whose last number stands in a file. Messages as in RFC 1035.
SERVER = """
import ipaddress, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("192.168.1.1", 53))
    print("ready", flush=True)
    while True:
        asked, peer = server.recvfrom(4096)
        end = asked.index(0, 12) + 5
        name, (kind, _) = asked[12:end - 4], struct.unpack("!HH", asked[end - 4:end])
        host = open("/run/host").read().strip()
        texts = {1: f"198.51.100.{host}", 28: f"2001:db8:f::{host}"}
        known = b"relay" in name.lower() and kind in texts
        answer = asked[:2] + struct.pack("!HHHHH", 0x8580, 1, int(known), 0, 0) + asked[12:end]
        if known:
            data = ipaddress.ip_address(texts[kind]).packed
            answer += struct.pack("!HHHIH", 0xC00C, kind, 1, 5, len(data)) + data
        server.sendto(answer, peer)
"""
RESOLVED = "[Resolve]\nDNS=192.168.1.1\nDNSSEC=no\nDNSOverTLS=no\n"
COUNT = "$['traffic']['bypass_routes']"
# An answer counts for half a minute at least.
OVERDUE = """
import json
path = "/var/lib/byway/hosts.json"
hosts = json.load(open(path))
json.dump({name: [prefixes, 0] for name, (prefixes, due) in hosts.items()}, open(path, "w"))
"""


def ways(machine: Machine, host: int) -> set[str]:
    """By which links the internet's host of this number is reached, IPv4 and IPv6."""
    addresses = (f"198.51.100.{host}", f"2001:db8:f::{host}")
    return {seen_from(machine, to=address) for address in addresses}


@pytest.fixture
def server(machine: Machine, running: Byway) -> Iterator[Process]:
    """The name server, and systemd-resolved, which asks it."""
    assert running
    machine.put("/run/host", "20")
    made = machine.spawn(["nsenter", "--net=/run/netns/isp", "python3", "-c", SERVER])
    made.wait_for("ready")
    machine.put("/run/systemd/resolved.conf.d/test.conf", RESOLVED)
    machine.run(["systemctl", "start", "systemd-resolved"])
    yield made
    made.stop()
    machine.run("systemctl stop systemd-resolved; rm -r /run/systemd/resolved.conf.d")


def test_a_name_whose_address_changes(machine: Machine, running: Byway, server: Process) -> None:
    """It is followed, IPv4 and IPv6; while nobody can tell, the last good answer counts."""
    running.configure(f'{RUNNING}[traffic]\nbypass = ["{NAME}"]\n')
    running.settle(COUNT + " == 2")
    assert ways(machine, 20) == {"wwan0"}
    machine.put("/run/host", "30")
    machine.run(["resolvectl", "flush-caches"])
    ask_again(machine)
    addresses = ["198.51.100.30", "2001:db8:f::30"]
    machine.wait_until(
        "all(a in open('/var/lib/byway/hosts.json').read() for a in args['addresses'])",
        addresses=addresses,
    )
    running.settle(COUNT + " == 2")
    assert ways(machine, 30) == {"wwan0"}
    assert ways(machine, 20) == {"vpn"}
    machine.run(["kill", str(server.pid)])
    machine.run(["resolvectl", "flush-caches"])
    ask_again(machine)
    running.settle(COUNT + " == 2")
    assert ways(machine, 30) == {"wwan0"}
    running.configure(RUNNING)
    running.settle(COUNT + " == 0")


def ask_again(machine: Machine) -> None:
    """Let the time pass for which an answer counts, and start byway anew."""
    machine.run(["systemctl", "stop", "byway"])
    machine.python(OVERDUE)
    machine.run(["systemctl", "start", "byway"])
