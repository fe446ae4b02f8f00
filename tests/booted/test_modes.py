"""Every mode, every kind of selector, each of both families and protocols, on the real network."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from booted.laptop import FIRST, LISTED
from booted.rivals import OPENVPN, Rival
from booted.topology import Way, seen_from, way_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.laptop import Byway
    from booted.machine import Machine
    from booted.topology import Topology

pytestmark = pytest.mark.one_release

CONFIG = f"""
interface = "wwan0"
reconcile = "0"
apps = ["{LISTED}"]
[traffic]
mode = "bypass"
bypass = ["198.51.100.20", "2001:db8:f::20"]
[traffic.force_direct]
uids = ["alice"]
cgroups = ["one.service"]
subnets = "172.18.0.10; fd18::10, 192.168.1.77; 2001:db8:1::77"
[traffic.force_vpn]
uids = "1001"
cgroups = ["two.service", "/system.slice/three.service"]
subnets = "172.18.0.11, fd18::11"
destinations = ["198.51.100.30", "2001:db8:f::30"]
"""
# Taken up by the daemon.
FORCED = "$['traffic']['overrides']['force_direct']['uids'] == 1"
WG_CONFIG = "/etc/wireguard/wg0.conf"
WORK_TABLE = "/etc/iproute2/rt_tables.d/work.conf"
# What is to go by the direct link asks port 7001, by the VPN 7002, and what only the mode decides
# about 7000: so they are told apart on the wire.
PORTS = {"direct": 7001, "vpn": 7002, "": 7000}
# By each mode, with wg-quick's own rules beside it.
RESTS: dict[str, Way] = {
    "bypass": "vpn",
    "selective": "wwan0",
    "full_tunnel": "vpn",
    "direct": "wwan0",
}
LINES = ("IPv4 tcp", "IPv6 tcp", "IPv4 udp", "IPv6 udp")
# ask PROGRAM PORT HOST [SOURCE4 SOURCE6]: a line for each of LINES
ASK = """#!/bin/sh
for kind in "" -u; do
    "$1" $kind -t 2 ${4:+-b "$4"} "198.51.100.$3" "$2"
    "$1" $kind -t 2 ${5:+-b "$5"} "2001:db8:f::$3" "$2"
done
"""
# A new cgroup of a name that is forced is taken up a moment after it appears.
SERVICE = """[Service]
Type=oneshot
User={user}
ExecStart=/bin/sh -c 'sleep 1; exec /opt/app/ask probe {port} 10'
StandardOutput=truncate:/run/{name}.out
"""
FORWARDING = """
ip address add fd18::1/64 dev br-lan0 nodad
ip -n container address add 172.18.0.11/24 dev eth0
ip -n container address add 172.18.0.12/24 dev eth0
for host in 10 11 12; do ip -n container address add fd18::$host/64 dev eth0 nodad; done
ip -n container route add default via fd18::1
nft add table ip6 containers
nft 'add chain ip6 containers postrouting { type nat hook postrouting priority srcnat; }'
nft 'add rule ip6 containers postrouting ip6 saddr fd18::/64 oifname != "br-lan0" masquerade'
nft 'add rule ip containers postrouting ip saddr 192.168.1.77 oifname != "wlan0" masquerade'
nft 'add rule ip6 containers postrouting ip6 saddr 2001:db8:1::77 oifname != "wlan0" masquerade'
ip -n lan route add 198.51.100.0/24 via 192.168.1.10
ip -n lan route add 2001:db8:f::/64 via 2001:db8:1::10
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
"""
NOT_FORWARDING = """
echo 0 >/proc/sys/net/ipv6/conf/all/forwarding
nft delete table ip6 containers
nft flush table ip containers
nft -f /usr/local/lib/booted/topology/laptop.nft
ip -n lan route del 198.51.100.0/24 via 192.168.1.10
ip -n lan route del 2001:db8:f::/64 via 2001:db8:1::10
ip -n container address flush dev eth0
ip -n container -6 route flush dev eth0
ip -n container -batch /usr/local/lib/booted/topology/container.batch
ip address del fd18::1/64 dev br-lan0
"""


@dataclass(frozen=True)
class Asker:
    """Who asks: a command before ``ask``, a program, and the internet's host; and its verdict."""

    verdict: str
    command: tuple[str, ...] = ()
    program: str = "probe"
    host: int = 10
    sources: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """The whole command."""
        asked = [self.program, str(PORTS[self.verdict]), str(self.host)]
        return [*self.command, "/opt/app/ask", *asked, *self.sources]


def of_user(name: str) -> tuple[str, ...]:
    """A command's beginning: as somebody else."""
    return ("runuser", "-u", name, "--")


CONTAINER = ("nsenter", "--net=/run/netns/container")
LAN = ("nsenter", "--net=/run/netns/lan")
ASKERS = {
    "a listed program": Asker("direct", program=LISTED),
    "a listed program of a user who is forced": Asker("direct", of_user("bob"), LISTED),
    "a user": Asker("direct", of_user("alice")),
    "the other user": Asker("vpn", of_user("bob")),
    "nobody in particular": Asker(""),
    "a place": Asker("direct", host=20),
    "a place, from the other user": Asker("direct", of_user("bob"), host=20),
    "the other place": Asker("vpn", host=30),
    "the other place, from a user": Asker("direct", of_user("alice"), host=30),
    "the other place, from a listed program": Asker("direct", program=LISTED, host=30),
    "a container": Asker("direct", CONTAINER, sources=("172.18.0.10", "fd18::10")),
    "the other container": Asker("vpn", CONTAINER, sources=("172.18.0.11", "fd18::11")),
    "a place, from the other container": Asker(
        "direct", CONTAINER, host=20, sources=("172.18.0.11", "fd18::11")
    ),
    "a client of the LAN": Asker("direct", LAN, sources=("192.168.1.77", "2001:db8:1::77")),
    "a third container": Asker("", CONTAINER, sources=("172.18.0.12", "fd18::12")),
}
SERVICES = {"one": ("direct", "root"), "two": ("vpn", "root"), "three": ("direct", "alice")}
FEW = ("a listed program", "a user", "the other user", "nobody in particular")


@pytest.fixture
def askers(machine: Machine, topology: Topology) -> Iterator[None]:
    """The services, and the container's network with IPv6."""
    assert topology
    machine.put("/opt/app/ask", ASK, 0o755)
    for name, (verdict, user) in SERVICES.items():
        text = SERVICE.format(name=name, user=user, port=PORTS[verdict])
        machine.put(f"/run/systemd/system/{name}.service", text)
    machine.run("systemctl daemon-reload")
    machine.run(["sh", "-ec", FORWARDING])
    yield
    machine.run(["sh", "-ec", NOT_FORWARDING])
    for name in SERVICES:
        machine.run(["rm", f"/run/systemd/system/{name}.service"])


def ways(machine: Machine, names: tuple[str, ...] | None = None) -> dict[str, Way]:
    """Which link each gets its answers by."""
    commands = {name: asker.words() for name, asker in ASKERS.items() if not names or name in names}
    if not names:
        for name in SERVICES:
            script = f"systemctl start {name} && cat /run/{name}.out"
            commands[f"{name}.service"] = ["sh", "-ec", script]
    told = machine.run_all(commands.values())
    return {
        f"{name}, {line}": way_in(answer)
        for name, result in zip(commands, told, strict=True)
        for line, answer in zip(LINES, result.stdout.splitlines(), strict=True)
    }


def expected(
    rest: Way, *, vpn: Way = "vpn", names: tuple[str, ...] | None = None
) -> dict[str, Way]:
    """The same as wanted."""
    links: dict[str, Way] = {"direct": "wwan0", "vpn": vpn, "": rest}
    verdicts = {name: a.verdict for name, a in ASKERS.items() if not names or name in names}
    if not names:
        verdicts |= {f"{name}.service": verdict for name, (verdict, _) in SERVICES.items()}
    return {f"{name}, {line}": links[v] for name, v in verdicts.items() for line in LINES}


@contextmanager
def kept_to_their_ways(topology: Topology) -> Iterator[None]:
    """Until the block ends, no packet is where its port should not be."""
    outside = topology.capture_outside
    with topology.capture("wg0") as tunnel, outside("wwan0") as direct, outside("wlan0") as home:
        yield
    assert not tunnel.packets(destination_port=PORTS["direct"])
    assert not home.packets(destination_port=PORTS["direct"])
    assert not direct.packets(destination_port=PORTS["vpn"])
    assert not home.packets(destination_port=PORTS["vpn"])
    assert direct.packets(destination_port=PORTS["direct"])
    assert tunnel.packets(destination_port=PORTS["vpn"])


@pytest.mark.usefixtures("askers")
def test_every_mode(machine: Machine, topology: Topology, running: Byway) -> None:
    """Switched live beside wg-quick; direct beats VPN beats the mode."""
    running.configure(CONFIG)
    running.settle(FORCED)
    for mode, rest in RESTS.items():
        with kept_to_their_ways(topology):
            if mode != "bypass":
                assert running.run(f"mode {mode}").stdout.startswith(mode)
            running.settle(f"$['traffic']['mode'] == {mode!r}")
            assert ways(machine) == expected(rest), mode


@pytest.fixture
def tableless(machine: Machine, topology: Topology) -> Iterator[None]:
    """The tunnel as for others to route: `Table = off`, and no mark of its own."""
    assert topology
    before = machine.get(WG_CONFIG)
    machine.put(WG_CONFIG, before.replace("[Interface]\n", "[Interface]\nTable = off\n", 1), 0o600)
    machine.put(WORK_TABLE, "11640 work\n")
    yield
    machine.put(WG_CONFIG, before, 0o600)
    machine.run(["rm", WORK_TABLE])


@pytest.mark.usefixtures("tableless", "askers")
def test_full_tunnel_is_byways_own(machine: Machine, topology: Topology, byway: Byway) -> None:
    """Nobody else routes to the tunnel; its own packets do not loop, and a dead one blocks.

    The table is one that the administrator has named.
    """
    topology.vpn_up()
    assert seen_from(machine) == "wlan0"
    byway.configure(CONFIG.replace('"bypass"', '"full_tunnel"\nvpn_table = "work"', 1))
    byway.start()
    for family in "46":
        assert "dev wg0" in machine.run(f"ip -{family} route show table work default").stdout
    with kept_to_their_ways(topology):
        assert ways(machine) == expected("vpn")
    topology.vpn_down()
    byway.settle("not $['traffic']['vpn']['usable']")
    assert ways(machine, FEW) == expected("none", vpn="none", names=FEW)
    topology.vpn_up()
    byway.settle("$['traffic']['vpn']['usable']")
    assert seen_from(machine) == "vpn"
    byway.stop()
    assert seen_from(machine) == "wlan0"


def test_a_vpn_that_is_down(machine: Machine, topology: Topology, running: Byway) -> None:
    """In each mode, what is for the VPN waits for it, and what is direct goes on."""
    machine.put("/opt/app/ask", ASK, 0o755)
    running.configure(CONFIG)
    running.settle(FORCED)
    rests: dict[str, Way] = {
        "bypass": "wlan0",  # the VPN client's own business, which has taken its routes away
        "selective": "wwan0",
        "full_tunnel": "none",
        "direct": "wwan0",
    }
    topology.vpn_down()
    for mode, rest in rests.items():
        running.run(f"mode {mode}")
        running.settle(f"$['traffic']['mode'] == {mode!r} and not $['traffic']['vpn']['usable']")
        assert ways(machine, FEW) == expected(rest, vpn="none", names=FEW), mode
    topology.vpn_up()
    running.wait_for_rules(FIRST)  # of both families, which wg-quick took from it one by one
    running.settle("$['traffic']['vpn']['usable']")
    assert ways(machine, FEW) == expected("wwan0", names=FEW)


@pytest.mark.parametrize("redirects", [True, False])
def test_beside_openvpn(
    machine: Machine, topology: Topology, running: Byway, *, redirects: bool
) -> None:
    """With its redirect-gateway and without: its server is on the list, as nothing tells it."""
    topology.vpn_down()
    machine.put("/opt/app/ask", ASK, 0o755)
    client = OPENVPN if redirects else without_redirect(OPENVPN)
    client.start(machine)
    try:
        running.configure(CONFIG.replace("198.51.100.20", "203.0.113.9"))
        running.settle(FORCED)
        rests: dict[str, Way] = {"full_tunnel": "vpn", "selective": "wwan0"}
        for mode, rest in rests.items():
            running.run(f"mode {mode}")
            running.settle(f"$['traffic']['mode'] == {mode!r} and $['traffic']['vpn']['usable']")
            found = of_ipv4(ways(machine, FEW))
            assert found == of_ipv4(expected(rest, names=FEW)), mode
    finally:
        client.stop(machine)


def without_redirect(client: Rival) -> Rival:
    """The same, without a route to anywhere but its server's end of the tunnel."""
    files = {path: text.replace("redirect-gateway", "#") for path, text in client.files.items()}
    return replace(client, files=files, families=())


def of_ipv4(found: dict[str, Way]) -> dict[str, Way]:
    """What OpenVPN's tunnel carries here."""
    return {name: way for name, way in found.items() if "IPv4" in name}
