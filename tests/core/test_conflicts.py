"""Warnings about what the traffic section asks for and cannot have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from worlds import laptop

from byway_systemd.core.config import Config, Profile, WhenDown
from byway_systemd.core.conflicts import find_conflicts
from byway_systemd.core.desired import Desired, desire
from byway_systemd.core.traffic import Mode, Overrides, Traffic, Users, WhenVpnDown

if TYPE_CHECKING:
    from byway_systemd.core.observed import Observed

THERE = replace(
    laptop(),
    cgroup_ids=(("/byway.slice", 7), ("/a.slice", 8), ("/a.slice/b.service", 9)),
    named_cgroups=(("b.service", "/a.slice/b.service"),),
    host_addresses=(("known.example", "192.0.2.1/32"),),
)


def found(observed: Observed = THERE, **fields: object) -> list[str]:
    traffic = Traffic(**fields)  # type: ignore[arg-type]
    profile = Profile(interface="wwan0", when_down=WhenDown.VPN)
    return find_conflicts(desire(Config(profiles=(profile,), traffic=traffic)), observed)


def test_none_by_default_nor_when_byway_stops() -> None:
    assert found() == []
    assert find_conflicts(Desired.empty(), THERE) == []


def test_none_where_all_is_well() -> None:
    assert (
        found(
            mode=Mode.FULL_TUNNEL,
            force_direct=Overrides(
                ("10.1.0.0/16",), (Users(5, 9),), ("b.service",), ("known.example", "192.0.2.0/24")
            ),
            force_vpn=Overrides(("10.0.0.0/8",), (Users(9, 20),), ("/a.slice",), ("0.0.0.0/2",)),
        )
        == []
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mode": Mode.FULL_TUNNEL, "vpn_interface": "tun9"}, "tun9 is absent: its traffic is bl"),
        (
            {
                "mode": Mode.SELECTIVE,
                "vpn_interface": "tun9",
                "when_vpn_down": WhenVpnDown.DIRECT,
            },
            "goes direct",
        ),
        ({"force_direct": Overrides(uids=(Users(0, 9),))}, "force_direct.uids: 0-9 holds root"),
        ({"force_vpn": Overrides(uids=(Users(0, 0),))}, "force_vpn.uids: 0-0 holds root"),
        ({"force_vpn": Overrides(cgroups=("/gone",))}, "/gone: there is no such cgroup"),
        ({"force_direct": Overrides(cgroups=("c.scope",))}, "c.scope: there is no such cgroup"),
        ({"force_direct": Overrides(destinations=("new.example",))}, "new.example: no address"),
        (
            {"force_vpn": Overrides(cgroups=("/byway.slice",))},
            "is inside of /byway.slice, and goes direct",
        ),
    ],
)
def test_warns(fields: dict[str, object], said: str) -> None:
    (warning,) = found(**fields)
    assert said in warning


def test_warns_of_what_never_counts() -> None:
    direct = Overrides(("10.0.0.0/8",), (Users(5, 9),), ("/a.slice",), ("2001:db8::/32",))
    vpn = Overrides(
        ("10.1.0.0/16", "10.0.0.0/7"), (Users(6, 7),), ("b.service",), ("2001:db8::/48",)
    )
    assert found(force_direct=direct, force_vpn=vpn) == [
        "force_vpn.subnets: 10.1.0.0/16 is inside of what is forced direct, and goes direct",
        "force_vpn.destinations: 2001:db8::/48 is inside of what is forced direct, and goes direct",
        "force_vpn.uids: 6-7 is inside of what is forced direct, and goes direct",
        "force_vpn.cgroups: /a.slice/b.service is inside of /a.slice, and goes direct",
    ]


def test_warns_when_the_direct_link_is_left_to_the_vpn() -> None:
    down = replace(THERE, links=tuple(link for link in THERE.links if link.name != "wwan0"))
    assert found(down) == []
    (warning,) = found(down, mode=Mode.DIRECT)
    assert "left to the VPN while that link is down" in warning
