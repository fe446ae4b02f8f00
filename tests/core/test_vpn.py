"""Which link is the VPN's, and what its table holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from worlds import LO, MAIN, TUNNEL, WLAN, WWAN, laptop

from byway_systemd.core.config import Config, Profile
from byway_systemd.core.desired import TABLES, Desired, desire
from byway_systemd.core.network import Family, Link, Route, RouteKind, Tunnel
from byway_systemd.core.observed import Observed
from byway_systemd.core.operations import AddRoute
from byway_systemd.core.plan import plan
from byway_systemd.core.traffic import (
    SPARE_TABLES,
    VPN_TABLE,
    Mode,
    Overrides,
    Traffic,
    WhenVpnDown,
)
from byway_systemd.core.vpn import Vpn, find_vpn, vpn_routes

V4, V6 = Family
DOCKER = Link(7, "docker0", kind="bridge", addresses=("172.17.0.1/16",))
TUN = Link(5, "tun0", kind="tun", point_to_point=True, addresses=("10.8.0.2/24",))


def desired(interface: str = "wwan0", **fields: object) -> Desired:
    traffic = Traffic(**{"mode": Mode.FULL_TUNNEL, **fields})  # type: ignore[arg-type]
    return desire(Config(profiles=(Profile(interface=interface),), traffic=traffic))


def found(*links: Link, routes: tuple[Route, ...] = (), **fields: object) -> str:
    observed = Observed(links=(LO, WLAN, WWAN, *links), routes=(*MAIN, *routes))
    vpn = find_vpn(desired(**fields), observed)  # type: ignore[arg-type]
    assert vpn is not None
    return vpn.link.name if vpn.link else ""


def test_nothing_is_led_to_the_vpn_by_default_nor_when_byway_stops() -> None:
    assert find_vpn(desired(mode=Mode.BYPASS), laptop()) is None
    assert find_vpn(desired(mode=Mode.DIRECT), laptop()) is None
    assert find_vpn(Desired.empty(), laptop()) is None
    forced = Overrides(cgroups=("/a.slice",))
    assert find_vpn(desired(mode=Mode.BYPASS, force_vpn=forced), laptop()) is not None


def half(link: Link, prefix: str = "0.0.0.0/1", table: int = 254) -> Route:
    return Route(V4, table, prefix, link=link.index)


def test_the_one_with_a_default_route_goes_first() -> None:
    assert found(TUNNEL, TUN) == "wg0"
    assert found(TUNNEL, TUN, routes=(half(TUN),)) == "tun0"
    assert found(TUNNEL, TUN, routes=(half(TUN, "0.0.0.0/0", 1234),)) == "tun0"
    assert found(TUNNEL, TUN, routes=(half(TUN), half(TUNNEL, "128.0.0.0/1"))) == "wg0"
    assert found(TUNNEL, TUN, routes=(half(TUN, "0.0.0.0/0", VPN_TABLE),)) == "wg0"


def test_one_that_is_up_goes_before_one_that_is_not() -> None:
    assert found(replace(TUNNEL, up=False), TUN) == "tun0"
    assert found(replace(TUNNEL, up=False)) == "wg0"


def test_what_is_no_way_out_is_not_taken() -> None:
    tap = Link(8, "vnet0", kind="tun", addresses=("fe80::1/64",))
    assert found(tap) == ""
    assert found(DOCKER) == ""
    assert found(Link(8, "ppp0", kind="ppp", addresses=("10.9.0.1/32",))) == "ppp0"


def test_the_direct_link_is_not_the_vpn() -> None:
    assert found(TUNNEL, interface="wg0") == ""
    assert found(TUNNEL, TUN, interface="wg0") == "tun0"


def test_a_named_one_is_it_whatever_it_is() -> None:
    assert found(TUNNEL, vpn_interface="wlan0") == "wlan0"
    assert found(TUNNEL, vpn_interface="gone0") == ""


def routes(observed: Observed, **fields: object) -> list[str]:
    wanted = desired(**fields)  # type: ignore[arg-type]
    vpn = find_vpn(wanted, observed)
    assert vpn is not None
    found = vpn_routes(vpn, observed, keeps_near=wanted.traffic.auto_local_bypass)
    assert {route.table for route in found} == {VPN_TABLE}
    return [f"{r.kind} {r.destination} {r.gateway or r.link or '-'}" for r in found]


CONNECTED = (
    Route(V4, 254, "172.17.0.0/16", link=DOCKER.index, scope=253),
    Route(V4, 254, "10.20.0.0/16", gateway="192.168.1.254", link=WLAN.index),
    Route(V4, 254, "203.0.113.0/24", gateway="192.168.1.254", link=WLAN.index),
    Route(V6, 254, "fd00:18::/64", link=DOCKER.index, metric=256),
)


def test_the_table_holds_what_is_near_then_the_way_out_then_nothing_else() -> None:
    observed = replace(laptop(), links=(*laptop().links, DOCKER), routes=(*MAIN, *CONNECTED))
    assert routes(observed) == [
        "unicast 192.168.1.0/24 2",
        "unicast 10.64.0.0/24 3",
        "unicast fe80::/64 2",
        "unicast fe80::/64 3",
        "unicast 172.17.0.0/16 7",
        "unicast fd00:18::/64 7",
        "unicast 10.20.0.0/16 192.168.1.254",
        "unicast 0.0.0.0/0 4",
        "unreachable 0.0.0.0/0 -",
        "unreachable ::/0 -",
    ]


def test_what_is_near_is_left_out_when_it_is_not_wanted_but_for_the_vpns_own() -> None:
    own = Route(V4, 254, "10.8.0.0/24", link=TUN.index, scope=253)
    way = Route(V4, 254, "0.0.0.0/1", gateway="10.8.0.1", link=TUN.index)
    observed = Observed(links=(LO, WLAN, WWAN, TUN), routes=(*MAIN, *CONNECTED, own, way))
    assert routes(observed, auto_local_bypass=False) == [
        "unicast fe80::/64 2",  # neighbours are found by it
        "unicast fe80::/64 3",
        "unicast 10.8.0.0/24 5",
        "unicast 0.0.0.0/0 10.8.0.1",
        "unreachable 0.0.0.0/0 -",
        "unreachable ::/0 -",
    ]


def test_half_of_a_default_is_a_way_out() -> None:
    observed = Observed(links=(LO, WLAN, WWAN, TUN), routes=(*MAIN, half(TUN)))
    reasons = {
        operation.route.destination: operation.because
        for operation in plan(desired(), observed)
        if isinstance(operation, AddRoute) and operation.route.table == VPN_TABLE
    }
    assert reasons["0.0.0.0/1"] == "the way out"
    assert reasons["192.168.1.0/24"] == "192.168.1.0/24 stays near for the VPN"


def test_endpoints_are_thrown_back() -> None:
    tunnel = Tunnel(TUNNEL.index, 0, ("198.51.100.7/32", "2001:db8:9::9/128"))
    observed = replace(laptop(), tunnels=(Tunnel(99, 7, ("192.0.2.1/32",)), tunnel))
    assert routes(observed)[:2] == ["throw 198.51.100.7/32 -", "throw 2001:db8:9::9/128 -"]


@pytest.mark.parametrize(
    ("when", "link", "last"),
    [
        (WhenVpnDown.BLOCK, TUNNEL, "unreachable"),
        (WhenVpnDown.BLOCK, None, "unreachable"),
        (WhenVpnDown.DIRECT, TUNNEL, "unreachable"),  # IPv6 must not leave by another link
        (WhenVpnDown.DIRECT, replace(TUNNEL, up=False), "unicast"),
        (WhenVpnDown.DIRECT, None, "unicast"),
    ],
)
def test_nothing_falls_through_unless_it_may(
    when: WhenVpnDown, link: Link | None, last: str
) -> None:
    observed = replace(laptop(), links=(LO, WLAN, WWAN, *((link,) if link else ())))
    assert routes(observed, when_vpn_down=when)[-1].startswith(last)


def test_its_tables_are_byways_own_and_no_profiles() -> None:
    assert TABLES[-1] == VPN_TABLE
    assert SPARE_TABLES[0] == TABLES[32]
    assert VPN_TABLE in SPARE_TABLES


def test_a_vpn_without_a_link_is_not_usable() -> None:
    way = Route(V4, 254, "0.0.0.0/0", link=4)
    assert not Vpn(2, VPN_TABLE).usable
    assert not Vpn(2, VPN_TABLE, TUNNEL).usable
    assert Vpn(2, VPN_TABLE, TUNNEL, (way,)).usable
    assert RouteKind.UNICAST is way.kind
