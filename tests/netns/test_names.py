"""DNS of what is steered: questions go to the direct link's server, answers come back right."""

from __future__ import annotations

import secrets
import select
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.config import Config, Profile
from byway_systemd.core.desired import Desired, desire
from byway_systemd.core.traffic import Overrides, Traffic
from byway_systemd.system.nftables import Nftables
from byway_systemd.system.sysctls import write_sysctl
from netns.crossing import Crossing, build, look_around, own_nothing
from netns.world import CLIENT_DIRECT, FAMILIES, SERVERS, Child, Namespace, answer, find_cgroup2, ip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PREFIX = f"byway-test-{secrets.token_hex(4)}"
STUB = "127.0.0.53"
OWN = {version: f"{CLIENT_DIRECT[version][:-1]}2" for version in (4, 6)}
TYPES = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
KINDS = pytest.mark.parametrize("kind", TYPES)
STEERED = 1
DNS, DOT = 53, 853


def resolve(name: str, *addresses: str) -> None:
    """Answer every question at port 53 (and 853) of ``addresses`` with NAME and who asked."""
    sockets = []
    for address in addresses:
        for port in (DNS, DOT):
            for kind in TYPES.values():
                server = socket.socket(FAMILIES[6 if ":" in address else 4], kind)
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind((address, port))
                if kind is socket.SOCK_STREAM:
                    server.listen()
                sockets.append(server)
    while True:
        for ready in select.select(sockets, [], [])[0]:
            if ready.type is socket.SOCK_DGRAM:
                _, peer = ready.recvfrom(99)
                ready.sendto(f"{name} {peer[0]}".encode(), peer)
            else:
                with suppress(OSError), ready.accept()[0] as connection:
                    connection.recv(99)
                    connection.send(f"{name} {connection.getpeername()[0]}".encode())


def question(address: str, kind: str = "udp", port: int = DNS, *, connected: bool = True) -> str:
    """Ask, and return the answer; empty when none comes."""
    with socket.socket(FAMILIES[6 if ":" in address else 4], TYPES[kind]) as asking:
        asking.settimeout(0.5)
        try:
            if not connected:
                asking.sendto(b"?", (address, port))
                text, peer = asking.recvfrom(99)
                assert peer[0] == address
                return text.decode()
            asking.connect((address, port))
            asking.send(b"?")
            return asking.recv(99).decode()
        except TimeoutError:
            return ""


@pytest.fixture(scope="module")
def network(cgroups: tuple[Path, ...]) -> Iterator[Crossing]:
    """The machine with a stub resolver, and servers behind both links."""
    names = ("machine", "container", "direct", "vpn")
    made = {name: Namespace(f"{_PREFIX}-{name}") for name in names}
    servers: list[Child] = []

    def start(namespace: Namespace, name: str) -> Child:
        servers.append(namespace.start(lambda: answer(name)))
        return servers[-1]

    try:
        for namespace in made.values():
            ip("netns", "add", namespace.name)
            ip("-n", namespace.name, "link", "set", "lo", "up")
        build(made.__getitem__, start)
        servers.append(made["machine"].start(lambda: resolve("stub", STUB)))
        servers.append(made["direct"].start(lambda: resolve("own", *OWN.values())))
        servers.append(made["direct"].start(lambda: resolve("direct", *SERVERS.values())))
        servers.append(made["vpn"].start(lambda: resolve("vpn", *SERVERS.values())))
        _wait(made["machine"])
        yield Crossing(made["machine"], made["container"], made["direct"], cgroups, find_cgroup2())
    finally:
        for server in servers:
            server.stop()
        for namespace in made.values():
            with suppress(AssertionError):
                ip("netns", "delete", namespace.name)


def _wait(machine: Namespace) -> None:
    end = time.monotonic() + 5
    for address in (STUB, *OWN.values()):
        while not machine.run(lambda where=address: _try(where)) and time.monotonic() < end:
            time.sleep(0.02)


def _try(address: str) -> str:
    try:
        return question(address)
    except OSError:
        return ""


@pytest.fixture
def crossing(network: Crossing) -> Iterator[Crossing]:
    """The machine; nothing of byway's is left on it afterwards."""
    yield network
    network.converge(Desired.empty())
    assert own_nothing(look_around(network))
    network.machine.run(lambda: write_sysctl("net/ipv4/conf/direct0/route_localnet", "0"))


def lead(crossing: Crossing, *servers: str) -> None:
    """Steer a cgroup, with these servers."""
    overrides = Overrides(cgroups=(crossing.cgroup(STEERED),))
    traffic = Traffic(vpn_interface="vpn0", force_direct=overrides)
    profile = Profile(interface="direct0", dns=servers)
    crossing.converge(desire(Config(profiles=(profile,), traffic=traffic)))
    crossing.machine.run(lambda: write_sysctl("net/ipv4/conf/direct0/route_localnet", "1"))


def inside(crossing: Crossing, address: str, kind: str = "udp", **options: object) -> str:
    """Ask from the cgroup."""
    found: str = crossing.machine.run(
        lambda: question(address, kind, **options),  # type: ignore[arg-type]
        crossing.cgroups[STEERED + 1],
    )
    return found


@KINDS
@pytest.mark.parametrize("address", [STUB, "127.0.0.1", SERVERS[4], OWN[4], SERVERS[6], OWN[6]])
def test_questions_go_to_the_links_own_server(crossing: Crossing, address: str, kind: str) -> None:
    """Also those to a stub resolver; the answer comes from whoever was asked."""
    lead(crossing, OWN[4], OWN[6])
    version = 6 if ":" in address else 4
    told = f"own {CLIENT_DIRECT[version]}"
    assert inside(crossing, address, kind) == told
    if kind == "udp":
        assert inside(crossing, address, connected=False) == told


@KINDS
def test_others_ask_as_before(crossing: Crossing, kind: str) -> None:
    before = {
        address: crossing.machine.run(lambda where=address: question(where, kind))
        for address in (STUB, SERVERS[4], SERVERS[6])
    }
    assert before[STUB] == "stub 127.0.0.1"
    lead(crossing, OWN[4], OWN[6])
    for address, told in before.items():
        assert crossing.machine.run(lambda where=address: question(where, kind)) == told


def test_what_is_not_dns_is_left_alone(crossing: Crossing) -> None:
    lead(crossing, OWN[4], OWN[6])
    assert inside(crossing, STUB, "tcp", port=DOT) == "stub 127.0.0.1"
    assert inside(crossing, SERVERS[4], "tcp", port=DOT) == f"direct {CLIENT_DIRECT[4]}"


def test_a_family_without_a_server_asks_as_before(crossing: Crossing) -> None:
    lead(crossing, OWN[6])
    assert inside(crossing, STUB) == "stub 127.0.0.1"
    assert inside(crossing, SERVERS[4]) == f"direct {CLIENT_DIRECT[4]}"
    assert inside(crossing, SERVERS[6]) == f"own {CLIENT_DIRECT[6]}"


def test_nobody_on_the_wire_reaches_the_loopback(crossing: Crossing) -> None:
    """The kernel lets it through once answers may come back to it: byway's rules do not."""
    lead(crossing, OWN[4], OWN[6])
    there = crossing.direct.name
    ip("-n", there, "route", "delete", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
    ip("-n", there, "route", "add", f"{STUB}/32", "via", CLIENT_DIRECT[4], "dev", "eth0")
    crossing.direct.run(lambda: write_sysctl("net/ipv4/conf/eth0/route_localnet", "1"))
    try:
        assert crossing.direct.run(lambda: question(STUB)) == ""
        crossing.machine.run(_without_table)
        assert crossing.direct.run(lambda: question(STUB)) == f"stub {OWN[4]}", "no control"
    finally:
        ip("-n", there, "route", "delete", f"{STUB}/32")
        ip("-n", there, "route", "add", "local", "127.0.0.0/8", "dev", "lo", "table", "local")


def _without_table() -> None:
    with Nftables() as nftables:
        nftables.delete_table("byway")
