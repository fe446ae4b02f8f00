"""Candidates for a traffic section."""

from __future__ import annotations

from dataclasses import replace

import pytest
from worlds import MAIN, TUNNEL, laptop

from byway_systemd.core.candidates import (
    RunningUnit,
    RunningUser,
    build_candidates,
    is_container_link,
)
from byway_systemd.core.network import Family, Link, Route

DOCKER = Link(7, "docker0", kind="bridge")
CONNECTED = (
    Route(Family.IPV4, 254, "172.17.0.0/16", link=7, scope=253),
    Route(Family.IPV6, 254, "fd00:18::/64", link=7, metric=256),
    Route(Family.IPV4, 254, "10.99.0.0/24", link=TUNNEL.index, scope=253),
    Route(Family.IPV4, 254, "10.20.0.0/16", gateway="192.168.1.254", link=2),
    Route(Family.IPV4, 100, "10.30.0.0/16", link=2),
)


def test_all_of_them() -> None:
    observed = replace(laptop(), links=(*laptop().links, DOCKER), routes=(*MAIN, *CONNECTED))
    units = (RunningUnit("a.service", "/system.slice/a.service"),)
    assert build_candidates(observed, units, (RunningUser(0, "root", ("sshd",)),)) == {
        "subnets": [
            {"subnet": "192.168.1.0/24", "link": "wlan0", "kind": "lan"},
            {"subnet": "10.64.0.0/24", "link": "wwan0", "kind": "lan"},
            {"subnet": "172.17.0.0/16", "link": "docker0", "kind": "container"},
            {"subnet": "fd00:18::/64", "link": "docker0", "kind": "container"},
        ],
        "units": [{"unit": "a.service", "cgroup": "/system.slice/a.service"}],
        "users": [{"uid": 0, "user": "root", "programs": ["sshd"]}],
        "links": [
            {"link": "wlan0", "kind": "uplink", "state": "up"},
            {"link": "wwan0", "kind": "uplink", "state": "up"},
            {"link": "wg0", "kind": "tunnel", "state": "up"},
        ],
        "presets": [
            {"name": "Keep LAN direct", "subnets": ["192.168.1.0/24", "10.64.0.0/24"]},
            {"name": "Keep Docker direct", "subnets": ["172.17.0.0/16", "fd00:18::/64"]},
        ],
    }


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("docker0", True), ("br-1a2b", True), ("veth12", True), ("virbr0", True), ("br0", False)],
)
def test_links_of_containers_are_told_by_name(name: str, is_one: bool) -> None:
    assert is_container_link(Link(1, name)) is is_one
