"""Precedence: what the rules of any configuration come to, by the kernel's own answer."""

from __future__ import annotations

import json
import subprocess
from ipaddress import ip_address, ip_network
from itertools import product
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byway_systemd.core.traffic import Mode, Overrides, Traffic, Users
from netns.world import CLIENT_DIRECT, CLIENT_VPN, SERVERS

if TYPE_CHECKING:
    from netns.crossing import Crossing

DIRECT, VPN, OTHER = 0x01000000, 0x02000000, 0x00400000
_BITS = {4: 32, 6: 128}
_own = st.sampled_from(
    [f"{of[v]}/{_BITS[v]}" for v in (4, 6) for of in (CLIENT_DIRECT, CLIENT_VPN)]
    + ["10.0.0.0/8", "2001:db8::/32", "203.0.113.0/24"]
)
_users = st.tuples(st.integers(1, 9), st.integers(0, 4)).map(lambda p: Users(p[0], sum(p)))
_overrides = st.builds(
    Overrides,
    subnets=st.lists(_own, max_size=3).map(tuple),
    uids=st.lists(_users, max_size=3).map(tuple),
    destinations=st.sampled_from([(), ("192.0.2.0/24",)]),
)
_traffic = st.builds(
    Traffic,
    mode=st.sampled_from(Mode),
    vpn_interface=st.just("vpn0"),
    force_direct=_overrides,
    force_vpn=_overrides,
)


def decide(traffic: Traffic, version: int, source: str, uid: int, mark: int) -> str:
    """Return the way: direct beats VPN beats the mode, and main leads to the direct link."""

    def holds(overrides: Overrides) -> bool:
        prefixes = (ip_network(prefix) for prefix in overrides.subnets)
        by_source = bool(source) and any(ip_address(source) in p for p in prefixes)
        return by_source or any(users.first <= uid <= users.last for users in overrides.uids)

    if mark == DIRECT or holds(traffic.force_direct):
        return "direct"
    if traffic.uses_vpn and (mark == VPN or holds(traffic.force_vpn)):
        return "vpn"
    return "vpn" if traffic.mode is Mode.FULL_TUNNEL else "direct"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(traffic=_traffic)
def test_the_kernel_decides_as_the_model_does(crossing: Crossing, traffic: Traffic) -> None:
    crossing.steer(traffic)
    asked = [
        (version, source, uid, mark)
        for version in (4, 6)
        for source, uid, mark in product(
            ("", CLIENT_DIRECT[version], CLIENT_VPN[version]), (0, 3, 7), (0, DIRECT, VPN, OTHER)
        )
    ]
    found = crossing.machine.run(lambda: [_ask_kernel(*one) for one in asked])
    wrong = [
        (one, way) for one, way in zip(asked, found, strict=True) if way != decide(traffic, *one)
    ]
    assert not wrong


def _ask_kernel(version: int, source: str, uid: int, mark: int) -> str:
    """Return the way of `ip route get`."""
    words = ["ip", "-json", f"-{version}", "route", "get", SERVERS[version]]
    words += ["from", source] if source else []
    words += ["mark", hex(mark)] if mark else []
    done = subprocess.run([*words, "uid", str(uid)], capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)[0]["dev"]).removesuffix("0")
