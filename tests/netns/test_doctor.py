"""What byway doctor looks for, where the kernel does to real packets what it says."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.config import Config, Profile
from byway_systemd.core.desired import desire
from byway_systemd.core.doctor import CHECKS
from byway_systemd.core.findings import Case, Finding, Surroundings, TunnelServer
from byway_systemd.core.foreign_filters import DirectPacket, find_dropping
from byway_systemd.core.logins import warn_of_logins
from byway_systemd.core.network import Family, Link
from byway_systemd.core.observed import Login
from byway_systemd.core.traffic import Mode, Overrides, Traffic, Users, WhenVpnDown
from byway_systemd.system.foreign_chains import observe_foreign_chains
from byway_systemd.system.surroundings import observe_surroundings
from byway_systemd.system.sysctls import write_sysctl
from byway_systemd.system.tunnel_servers import observe_tunnel_servers
from netns.crossing import CONTAINER, VPN_TABLE, Crossing, look_around, set_owner
from netns.world import CLIENT_DIRECT, CLIENT_VPN, PORT, SERVERS, Namespace, ip

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = pytest.mark.parametrize("version", [4, 6])
USER = 12345
_TUNSETIFF, _IFF_TUN = 0x400454CA, 1  # include/uapi/linux/if_tun.h
OUTPUT = "type filter hook output priority 0"
CLOSED = f"{OUTPUT}; policy drop"
AFTER = "type filter hook postrouting priority 0"
Chains = dict[str, tuple[str, ...]]
# What each does to what is led to the direct link: whether it drops it, and its chains.
FILTERS: dict[str, tuple[bool, Chains]] = {
    "by policy": (True, {"out": (CLOSED, 'oifname "lo" accept')}),
    "as wg-quick's manual has it": (
        True,
        {"out": (OUTPUT, 'oifname != "vpn0" mark != 0xca6c fib daddr type != local reject')},
    ),
    "in another chain": (
        True,
        {"rest": ("counter drop",), "out": (OUTPUT, 'oifname != "vpn0" jump rest')},
    ),
    "behind a goto": (
        True,
        {"few": ("udp dport 9 accept",), "out": (CLOSED, "goto few", "accept")},
    ),
    "all but a set of links": (True, {"out": (CLOSED, 'oifname { "lo", "vpn0" } accept')}),
    "after routing": (True, {"out": (AFTER, 'oifname "direct*" ct state new drop')}),
    "but lets the link pass": (False, {"out": (CLOSED, 'oifname { "lo", "direct0" } accept')}),
    "but lets the mark pass": (
        False,
        {"out": (CLOSED, "mark & 0x3f000000 == 0x01000000 accept")},
    ),
    "but lets new flows pass": (False, {"out": (CLOSED, "ct state new accept")}),
    "some port": (False, {"out": (OUTPUT, "tcp dport 25 drop", "udp dport 9 reject")}),
    "invalid packets": (False, {"out": (OUTPUT, "ct state invalid drop")}),
    "returned": (
        False,
        {"rest": ("meta mark 0x01000000 return", "drop"), "out": (OUTPUT, "jump rest")},
    ),
    "what comes in": (False, {"in": ("type filter hook input priority 0; policy drop",
                                     "ct state established accept", "icmpv6 type > 0 accept")}),
}  # fmt: skip


@pytest.fixture
def direct_user(crossing: Crossing) -> Iterator[Crossing]:
    """USER is led to the direct link, and all else to the VPN."""
    traffic = Traffic(Mode.FULL_TUNNEL, "vpn0", force_direct=Overrides(uids=(Users(USER, USER),)))
    crossing.steer(traffic)
    yield crossing
    remove = ["nft", "add table inet test; delete table inet test"]
    crossing.machine.run(lambda: subprocess.run(remove, check=True).returncode)


@BOTH
@pytest.mark.parametrize("name", FILTERS)
def test_kill_switches(direct_user: Crossing, name: str, version: int) -> None:
    drops, chains = FILTERS[name]
    crossing = direct_user
    assert crossing.way(version, uid=USER) == "direct"

    def install() -> None:
        text = "\n".join(
            f"chain {chain} {{\n{chr(10).join(rules)}\n}}" for chain, rules in chains.items()
        )
        table = f"table inet test {{\n{text}\n}}\n"
        subprocess.run(["nft", "-f", "-"], input=table, text=True, check=True)

    crossing.machine.run(install)
    link = next(link for link in look_around(crossing).links if link.name == "direct0")
    family = Family.IPV4 if version == 4 else Family.IPV6
    packet = DirectPacket(link.index, link.name, 0x01000000, family)
    found = find_dropping(crossing.machine.run(observe_foreign_chains), packet)
    assert bool(found) is drops, found
    assert all(chain.startswith("inet test ") for chain, _ in found)
    ways = (crossing.way(version, uid=USER) for _ in range(1 if drops else 3))
    assert ("direct" not in ways) is drops  # an answer may take too long


def test_the_remedy_of_a_kill_switch(direct_user: Crossing) -> None:
    crossing, traffic = direct_user, Traffic(Mode.FULL_TUNNEL, "vpn0")
    table = "add table inet test; add chain inet test out { type filter hook output priority 0; "
    crossing.machine.run(lambda: subprocess.run(["nft", table + "policy drop; }"], check=True).args)
    (finding,) = _examine(crossing, traffic, "kill-switches")
    command = finding.remedy.partition(": sudo ")[2].split()
    crossing.machine.run(lambda: subprocess.run(command, check=True).args)
    assert _examine(crossing, traffic, "kill-switches") == []
    assert "direct" in [crossing.way(4, uid=USER) for _ in range(3)]


def _examine(crossing: Crossing, traffic: Traffic, name: str) -> list[Finding]:
    """Return what a check finds on the machine as the kernel shows it."""
    (check,) = (check for check in CHECKS if check.name == name)
    desired = desire(Config(profiles=(Profile(interface="direct0"),), traffic=traffic))
    observed = look_around(crossing)
    seen: Surroundings = crossing.machine.run(
        lambda: observe_surroundings(Path("/"), observed.links, is_root=True)
    )
    return list(check.find(Case(desired, observed, seen)))


def _set(crossing: Crossing, **values: str) -> None:
    def write() -> None:
        for setting, value in values.items():
            write_sysctl(f"net/ipv4/conf/direct0/{setting}", value)

    crossing.machine.run(write)


def test_strict_reverse_path_filter(direct_user: Crossing) -> None:
    crossing, traffic = direct_user, Traffic(Mode.FULL_TUNNEL, "vpn0")
    set_owner(crossing, "halves")  # what main has for the server is not by the direct link
    try:
        for strict, marked, passes in (("1", "0", False), ("1", "1", True), ("2", "0", True)):
            _set(crossing, rp_filter=strict, src_valid_mark=marked)
            findings = _examine(crossing, traffic, "reverse-filters")
            assert (not findings) is passes, findings
            ways = [crossing.way(4, uid=USER) for _ in range(3 if passes else 1)]
            assert ("direct" in ways) is passes, (strict, marked)
    finally:
        _set(crossing, rp_filter="0", src_valid_mark="0")


@BOTH
def test_foreign_rule_in_front(direct_user: Crossing, version: int) -> None:
    crossing = direct_user
    traffic = Traffic(Mode.FULL_TUNNEL, "vpn0", force_direct=Overrides(uids=(Users(USER, USER),)))
    rule = ("-n", crossing.machine.name, f"-{version}", "rule")
    assert _examine(crossing, traffic, "rules") == []
    ip(*rule, "add", "pref", 100, "lookup", VPN_TABLE)
    try:
        (finding,) = _examine(crossing, traffic, "rules")
        assert "100: lookup 51820" in finding.what
        assert crossing.way(version, uid=USER) != "direct"
        crossing.steer(traffic)  # as the remedy says
        assert _examine(crossing, traffic, "rules") == []
        assert crossing.way(version, uid=USER) == "direct"
    finally:
        ip(*rule, "delete", "pref", 100)


def _run_tunnel(version: int) -> None:
    """A VPN's client: a tun device, and a socket that is not connected."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", b"tun7", _IFF_TUN))
    ip("link", "set", "tun7", "up")
    kind = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
    with socket.socket(kind, socket.SOCK_DGRAM) as talk:
        while True:
            with suppress(OSError):
                talk.sendto(b"?", (SERVERS[version], PORT))
            time.sleep(0.05)


@BOTH
def test_server_of_a_tunnel(direct_user: Crossing, version: int) -> None:
    """It is found by the device's file and the flows of the socket beside it."""
    crossing, prefix = direct_user, f"{SERVERS[version]}/{32 if version == 4 else 128}"
    client = crossing.machine.start(lambda: _run_tunnel(version))
    try:
        deadline = time.monotonic() + 5
        found: tuple[TunnelServer, ...] = ()
        while not found and time.monotonic() < deadline:
            links = look_around(crossing).links
            found = crossing.machine.run(lambda: observe_tunnel_servers(links))  # noqa: B023
        (server,) = found
        assert (server.prefix, server.uid) == (prefix, 0)
        traffic = Traffic(Mode.FULL_TUNNEL, "tun7")
        (finding,) = _examine(crossing, traffic, "endpoints")
        assert finding.remedy == f"sudo byway bypass add {SERVERS[version]}"
        exempt = replace(traffic, force_direct=Overrides(destinations=(prefix,)))
        assert _examine(crossing, exempt, "endpoints") == []
    finally:
        client.stop()


def _run_ppp(path: Path) -> None:
    """What talks to the server, and what has the device open, which it has started."""
    with path.open("w") as device:
        holder = ["setpriv", "--pdeathsig", "KILL", "sleep", "600"]
        subprocess.Popen(holder, stdin=device, stdout=subprocess.DEVNULL)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as talk:
        talk.connect((SERVERS[4], PORT))
        time.sleep(600)


def test_server_of_ppp(direct_user: Crossing, tmp_path: Path) -> None:
    """The relatives of pppd do the talking."""
    client = direct_user.machine.start(lambda: _run_ppp(tmp_path / "ppp"))
    link = Link(77, "ppp0", kind="ppp")
    try:
        deadline = time.monotonic() + 5
        found: tuple[TunnelServer, ...] = ()
        while not found and time.monotonic() < deadline:
            found = direct_user.machine.run(
                lambda: observe_tunnel_servers((link,), str(tmp_path / "ppp"))
            )
        assert [(server.link, server.prefix) for server in found] == [(77, f"{SERVERS[4]}/32")]
        other = direct_user.machine.run(lambda: observe_tunnel_servers((link,), "/dev/none"))
        assert other == ()
    finally:
        client.stop()


VPN, GONE = "vpn0", "tun9"
ROOT = (Users(0, 9),)


def _cases(version: int) -> dict[str, Traffic]:
    bits = 32 if version == 4 else 128
    own = Overrides(
        subnets=tuple(f"{client[version]}/{bits}" for client in (CLIENT_DIRECT, CLIENT_VPN))
    )
    return {
        "bypass": Traffic(),
        "full_tunnel": Traffic(Mode.FULL_TUNNEL, VPN),
        "full_tunnel, down": Traffic(Mode.FULL_TUNNEL, GONE),
        "full_tunnel, down, direct": Traffic(
            Mode.FULL_TUNNEL, GONE, when_vpn_down=WhenVpnDown.DIRECT
        ),
        "selective": Traffic(Mode.SELECTIVE, VPN),
        "direct": Traffic(Mode.DIRECT, VPN),
        "root by the VPN": Traffic(vpn_interface=VPN, force_vpn=Overrides(uids=ROOT)),
        "root by a VPN that is down": Traffic(vpn_interface=GONE, force_vpn=Overrides(uids=ROOT)),
        "root direct": Traffic(vpn_interface=VPN, force_direct=Overrides(uids=ROOT)),
        "own by the VPN": Traffic(vpn_interface=VPN, force_vpn=own),
        "own direct": Traffic(vpn_interface=VPN, force_direct=own),
        "client by the VPN": Traffic(
            vpn_interface=VPN,
            force_vpn=Overrides(destinations=(f"{SERVERS[version]}/{bits}",)),
        ),
    }


def _log_in(version: int, address: tuple[str, int], ready: int, told: int) -> bool:
    """Log in from afar; return whether the line is still there when told to go on."""
    with _connect_from_afar(version, address) as client:
        client.send(b"?")
        assert client.recv(1) == b"."
        os.write(ready, b".")
        os.read(told, 1)
        client.settimeout(0.8)
        try:
            client.send(b"?")
            return client.recv(1) == b"."
        except TimeoutError:
            return False


def _connect_from_afar(version: int, address: tuple[str, int]) -> socket.socket:
    """Return a connection from an address that is not near, once there is a server."""
    for _ in range(100):
        client = socket.socket({4: socket.AF_INET, 6: socket.AF_INET6}[version])
        client.bind((SERVERS[version], 0))
        client.settimeout(3)
        try:
            client.connect(address)
        except ConnectionRefusedError:
            client.close()
            time.sleep(0.02)
        else:
            return client
    raise AssertionError("nobody answers")


def _serve_login(version: int, address: tuple[str, int]) -> None:
    family = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
    with socket.create_server(address, family=family) as server:
        connection = server.accept()[0]
        with connection:
            while connection.recv(1):
                connection.send(b".")


PORTS = count(7300)


OF_IPV6 = ("full_tunnel", "full_tunnel, down", "direct", "own direct")


@pytest.mark.parametrize("came", ["direct0", "vpn0", "another"])
@pytest.mark.parametrize(
    ("case", "version"), [*((c, 4) for c in _cases(4)), *((c, 6) for c in OF_IPV6)]
)
def test_logins_that_are_cut(crossing: Crossing, version: int, came: str, case: str) -> None:
    """One that is open is cut where the warning says so, and nowhere else."""
    traffic = _cases(version)[case]
    set_owner(crossing, "halves" if came == "vpn0" else "nobody")
    profile = Profile(interface="direct0")
    if came == "another":  # it is direct0 that is another link then
        gateways = {"gateway": CONTAINER[4], "gateway6": CONTAINER[6]}
        profile = replace(profile, interface="br-test", **gateways)
    local = CLIENT_VPN if came == "vpn0" else CLIENT_DIRECT
    address = (local[version], next(PORTS))
    far = Namespace(crossing.direct.name.replace("direct", "vpn")) if came == "vpn0" else (
        crossing.direct
    )  # fmt: skip
    server = crossing.machine.start(lambda: _serve_login(version, address))
    ready, told = os.pipe(), os.pipe()
    client = far.start(lambda: _log_in(version, address, ready[1], told[0]))
    os.close(ready[1])
    try:
        assert os.read(ready[0], 1) == b".", client.result()
        desired = desire(Config(profiles=(profile,), traffic=traffic))
        login = Login(SERVERS[version], local[version])
        before = replace(look_around(crossing), logins=(login,))
        warnings = list(warn_of_logins(desired, before))
        crossing.converge(desired, forget=False)
        os.write(told[1], b".")
        stays = client.result()
        assert stays is not bool(warnings), warnings
    finally:
        server.stop()
        for end in (ready[0], *told):
            os.close(end)
