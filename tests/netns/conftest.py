"""Namespaces, links between them and servers; each test finds the client's rules as new."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.desired import Desired
from byway_systemd.system.nftables import Nftables
from byway_systemd.system.sysctls import write_sysctl
from netns.crossing import Crossing, build, look_around, own_nothing, set_owner
from netns.world import (
    CLIENT_DIRECT,
    CLIENT_VPN,
    SERVERS,
    TABLE,
    Child,
    Namespace,
    World,
    answer,
    find_cgroup2,
    ip,
    wait_for_server,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PREFIX = f"byway-test-{secrets.token_hex(4)}"  # a process number comes back


@pytest.fixture(scope="session")
def namespaces() -> Iterator[dict[str, Namespace]]:
    """Three empty namespaces with their loopback up."""
    assert os.geteuid() == 0, "these tests make network namespaces: run them as root"
    made = {name: Namespace(f"{_PREFIX}-{name}") for name in ("client", "direct", "vpn")}
    try:
        for namespace in made.values():
            ip("netns", "add", namespace.name)
            ip("-n", namespace.name, "link", "set", "lo", "up")
        yield made
    finally:
        for namespace in made.values():
            ip("netns", "delete", namespace.name)


@pytest.fixture(scope="session")
def cgroups() -> Iterator[tuple[Path, ...]]:
    """Four cgroups, each in the one before, from level 1 on."""
    assert os.geteuid() == 0, "these tests make cgroups: run them as root"
    paths = [find_cgroup2() / _PREFIX]
    paths += [paths[0] / "two", paths[0] / "two" / "three", paths[0] / "two" / "three" / "four"]
    for path in paths:
        path.mkdir()
    yield tuple(paths)
    for path in reversed(paths):
        path.rmdir()


@pytest.fixture(scope="session")
def network(namespaces: dict[str, Namespace], cgroups: tuple[Path, ...]) -> Iterator[World]:
    """The whole world, with its servers running."""
    client = namespaces["client"].name
    servers: list[Child] = []
    try:
        for name, addresses in (("direct", CLIENT_DIRECT), ("vpn", CLIENT_VPN)):
            _link(client, namespaces[name].name, name, addresses)
            servers.append(namespaces[name].start(lambda name=name: answer(name)))
        world = World(
            namespaces["client"],
            namespaces["direct"],
            namespaces["vpn"],
            namespaces["client"].run(lambda: socket.if_nametoindex("direct0")),
            namespaces["client"].run(lambda: socket.if_nametoindex("vpn0")),
            cgroups,
        )
        for version in (4, 6):
            wait_for_server(world.client, version)
        yield world
    finally:
        for server in servers:
            server.stop()


def _link(client: str, there: str, name: str, addresses: dict[int, str]) -> None:
    """Join the client and the namespace ``there``, with addresses and the client's route."""
    ip("-n", client, "link", "add", f"{name}0", "type", "veth", "peer", "eth0", "netns", there)
    ip("-n", client, "link", "set", f"{name}0", "up")
    ip("-n", there, "link", "set", "eth0", "up")
    for version, length in ((4, 24), (6, 64)):
        near = addresses[version]
        extra = ["nodad"] if version == 6 else []
        ip("-n", client, "address", "add", f"{near}/{length}", "dev", f"{name}0", *extra)
        ip("-n", there, "address", "add", f"{near[:-1]}2/{length}", "dev", "eth0", *extra)
        ip("-n", there, "address", "add", SERVERS[version], "dev", "lo", *extra)
        table = TABLE if name == "direct" else 254
        via = ("via", f"{near[:-1]}2", "table", table)
        ip("-n", client, f"-{version}", "route", "add", "default", *via)


@pytest.fixture
def world(network: World) -> Iterator[World]:
    """The world with the rule that leads the direct mark to table 11590, and no nft table."""
    mark = ("fwmark", "0x1000000/0x3f000000", "lookup", TABLE, "preference", TABLE)
    for version in (4, 6):
        ip("-n", network.client.name, f"-{version}", "rule", "add", *mark)
    yield network
    for version in (4, 6):
        with suppress(AssertionError):
            ip("-n", network.client.name, f"-{version}", "rule", "delete", *mark)
    network.client.run(_reset)


def _reset() -> None:
    with Nftables() as nftables:
        for name in ("byway", "foreign"):
            nftables.delete_table(name)
    for setting in ("rp_filter", "src_valid_mark"):
        write_sysctl(f"net/ipv4/conf/direct0/{setting}", "0")


@pytest.fixture(scope="session")
def crossing_network(cgroups: tuple[Path, ...]) -> Iterator[Crossing]:
    """The machine with its links and servers."""
    names = ("machine", "container", "direct", "vpn")
    made = {name: Namespace(f"{_PREFIX}-crossing-{name}") for name in names}
    servers: list[Child] = []

    def start(namespace: Namespace, name: str) -> Child:
        servers.append(namespace.start(lambda: answer(name)))
        return servers[-1]

    try:
        for namespace in made.values():
            ip("netns", "add", namespace.name)
            ip("-n", namespace.name, "link", "set", "lo", "up")
        build(made.__getitem__, start)
        machine = made["machine"]
        for version in (4, 6):
            wait_for_server(machine, version)
        yield Crossing(machine, made["container"], made["direct"], cgroups, find_cgroup2())
    finally:
        for server in servers:
            server.stop()
        for namespace in made.values():
            with suppress(AssertionError):
                ip("netns", "delete", namespace.name)


@pytest.fixture
def crossing(crossing_network: Crossing) -> Iterator[Crossing]:
    """The machine without anything of byway's or of a VPN client's but its table."""
    yield crossing_network
    set_owner(crossing_network, "nobody")
    crossing_network.converge(Desired.empty())
    assert own_nothing(look_around(crossing_network))
