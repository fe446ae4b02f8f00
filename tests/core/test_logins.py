"""Logins that the traffic section would cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from worlds import MAIN, configs, configured, laptop, observeds

from byway_systemd.core.conflicts import find_conflicts
from byway_systemd.core.desired import Desired, desire
from byway_systemd.core.logins import warn_of_logins
from byway_systemd.core.network import Family, Route
from byway_systemd.core.nftables import ChainOutline, TableOutline
from byway_systemd.core.observed import Login, Observed
from byway_systemd.core.traffic import Mode, Overrides, Traffic, Users

FAR = "198.51.100.9"
BY_WLAN, BY_WWAN, BY_VPN = "192.168.1.10", "10.64.0.2", "10.99.0.2"
FULL, SELECTIVE, DIRECT = (Traffic(m) for m in (Mode.FULL_TUNNEL, Mode.SELECTIVE, Mode.DIRECT))
ROOT = (Users(0, 0),)
DOWN = replace(FULL, vpn_interface="tun9")
MARKS = TableOutline(
    (ChainOutline("prerouting", "filter", "prerouting", -150,
                  ("vpn: new flow that comes in by it [abcd]",)),),
    (),
)  # fmt: skip


def warned(traffic: Traffic, server: str, client: str = FAR, **changes: object) -> list[str]:
    observed = replace(laptop(), logins=(Login(client, server),), **changes)  # type: ignore[arg-type]
    return list(warn_of_logins(configured(traffic=traffic), observed))


@pytest.mark.parametrize(
    ("traffic", "server", "said"),
    [
        (Traffic(), BY_WLAN, ""),
        (FULL, BY_WLAN, "by wlan0 is cut: the mode is full_tunnel, so that it is answered by wg0"),
        (FULL, BY_WWAN, ""),
        (FULL, BY_VPN, ""),
        (DOWN, BY_WWAN, "by wwan0 is cut: the mode is full_tunnel, so that it is not answered whi"),
        (SELECTIVE, BY_WLAN, "the mode is selective, so that it is answered by wwan0"),
        (SELECTIVE, BY_WWAN, ""),
        (SELECTIVE, BY_VPN, "by wg0 is cut: the mode is selective"),
        (DIRECT, BY_VPN, "by wg0 is cut: the mode is direct"),
        (Traffic(force_vpn=Overrides(uids=ROOT)), BY_WLAN, "force_vpn.uids has root"),
        (Traffic(force_vpn=Overrides(uids=ROOT)), BY_WWAN, ""),
        (Traffic(force_direct=Overrides(uids=ROOT)), BY_WLAN, "force_direct.uids has root"),
        (Traffic(force_direct=Overrides(uids=ROOT)), BY_WWAN, ""),
        (Traffic(force_vpn=Overrides(("192.168.1.0/24",))), BY_WLAN, "subnets has 192.168.1.0/24"),
        (Traffic(force_vpn=Overrides(destinations=("198.51.100.0/24",))), BY_WLAN, ""),
        (Traffic(force_vpn=Overrides(uids=(Users(1, 9),))), BY_WLAN, ""),
        (FULL, "203.0.113.99", ""),  # an address that is not here
        (FULL, "127.0.0.1", ""),
    ],
)
def test_by_which_link_it_came(traffic: Traffic, server: str, said: str) -> None:
    warnings = warned(traffic, server)
    assert bool(warnings) is bool(said)
    assert all(said in warning and FAR in warning for warning in warnings)


def test_one_that_is_marked_stays() -> None:
    assert warned(SELECTIVE, BY_VPN, table=MARKS) == []
    assert warned(DIRECT, BY_VPN, table=MARKS) != []  # byway leads nothing to the VPN


def test_what_is_near_stays() -> None:
    assert warned(FULL, BY_WLAN, "192.168.1.77") == []
    assert warned(replace(FULL, auto_local_bypass=False), BY_WLAN, "192.168.1.77") != []
    assert warned(SELECTIVE, BY_WLAN, "192.168.1.77") == []


def test_what_main_has_a_narrower_route_for_stays() -> None:
    route = Route(Family.IPV4, 254, "198.51.100.0/24", gateway="192.168.1.1", link=2)
    assert warned(SELECTIVE, BY_WLAN, routes=(*MAIN, route)) == []
    assert warned(FULL, BY_WLAN, routes=(*MAIN, route)) != []


def test_it_is_among_the_conflicts() -> None:
    observed = replace(laptop(), logins=(Login(FAR, BY_WLAN),))
    assert any(FAR in w for w in find_conflicts(configured(traffic=FULL), observed))
    assert list(warn_of_logins(Desired.empty(), observed)) == []


@given(configs, observeds)
def test_any_configuration(config: object, observed: Observed) -> None:
    logins = (Login(FAR, BY_WLAN), Login("2001:db8:f::1", "2001:db8:2::2"))
    seen = replace(observed, logins=logins)
    assert len(list(warn_of_logins(desire(config), seen))) <= len(logins)  # type: ignore[arg-type]
