"""Which link is the direct one, and by which gateway traffic leaves it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from worlds import LO, MAIN, TUNNEL, WLAN, WWAN, laptop

from byway_systemd.core.config import Profile
from byway_systemd.core.desired import FIRST_TABLE, Exit
from byway_systemd.core.links import (
    TUNNEL_KINDS,
    Uplink,
    find_uplink,
    is_tunnel,
    local_routes,
    table_routes,
)
from byway_systemd.core.network import LAST_METRIC, Family, Link, Route, RouteKind
from byway_systemd.core.observed import Observed

V4, V6 = Family
PPP = Link(7, "ppp0", kind="ppp", point_to_point=True, addresses=("10.112.1.2/32",))


def found(observed: Observed, **profile: str) -> Uplink:
    return find_uplink(Exit(Profile(**profile), 1, FIRST_TABLE), observed)  # type: ignore[arg-type]


def default(link: int, gateway: str = "", metric: int = 0, table: int = 254) -> Route:
    return Route(V4, table, "0.0.0.0/0", gateway=gateway, link=link, metric=metric)


def ways(uplink: Uplink) -> list[tuple[int, str]]:
    return [(route.family, route.gateway) for route in uplink.defaults]


def world(*routes: Route, links: tuple[Link, ...] = (LO, WLAN, WWAN, TUNNEL, PPP)) -> Observed:
    return Observed(links=links, routes=routes)


def test_gateways_of_main_of_both_families() -> None:
    uplink = found(laptop(), interface="wwan0")
    assert ways(uplink) == [(V4, "10.64.0.1"), (V6, "2001:db8:2::1")]
    assert uplink.usable
    assert not uplink.shared


def test_alternative_name() -> None:
    named = replace(WWAN, alternative_names=("wwp0s20", "modem"))
    assert found(world(default(3, "10.64.0.1"), links=(named,)), interface="modem").link == named


def test_link_that_is_not_there() -> None:
    uplink = found(laptop(), interface="usb0")
    assert (uplink.link, uplink.defaults, uplink.usable) == (None, (), False)


def test_link_that_is_down_is_not_usable() -> None:
    down = replace(WWAN, up=False)
    uplink = found(world(default(3, "10.64.0.1"), links=(LO, WLAN, down)), interface="wwan0")
    assert uplink.link == down
    assert not uplink.usable


def test_main_goes_before_another_table() -> None:
    uplink = found(
        world(default(3, "10.64.0.9", table=52), default(3, "10.64.0.1")), interface="wwan0"
    )
    assert ways(uplink) == [(V4, "10.64.0.1")]


def test_default_of_another_table_where_main_has_none() -> None:
    uplink = found(world(default(3, "10.64.0.9", table=100)), interface="wwan0")
    assert ways(uplink) == [(V4, "10.64.0.9")]


def test_own_table_is_no_source() -> None:
    assert (
        found(world(default(3, "10.64.0.9", table=FIRST_TABLE + 5)), interface="wwan0").defaults
        == ()
    )


def test_host_route_of_a_vpn_tells_the_old_gateway() -> None:
    server = Route(V4, 254, "203.0.113.9/32", gateway="10.64.0.1", link=3)
    near = Route(V4, 254, "10.50.0.0/16", gateway="10.64.0.77", link=3)
    uplink = found(world(default(4), server, near, near), interface="wwan0")
    assert ways(uplink) == [(V4, "10.64.0.1")]


def test_private_route_alone_is_no_way_out() -> None:
    near = Route(V4, 254, "10.50.0.0/16", gateway="10.64.0.77", link=3)
    assert found(world(near), interface="wwan0").defaults == ()


def test_point_to_point_needs_no_gateway() -> None:
    (route,) = found(world(), interface="ppp0").defaults
    assert (route.family, route.gateway, route.link, route.scope) == (V4, "", 7, 253)
    assert found(world(links=(replace(PPP, up=False),)), interface="ppp0").defaults == ()
    assert (
        found(world(links=(replace(PPP, addresses=("fe80::1/64",)),)), interface="ppp0").defaults
        == ()
    )


@pytest.mark.parametrize(
    ("gateway", "onlink"), [("10.64.0.9", False), ("192.0.2.1", True), ("auto", False)]
)
def test_configured_gateway(gateway: str, onlink: bool) -> None:
    uplink = found(world(default(3, "10.64.0.1")), interface="wwan0", gateway=gateway)
    (route,) = uplink.defaults
    assert route.gateway == (gateway if gateway != "auto" else "10.64.0.1")
    assert route.onlink is onlink


@pytest.mark.parametrize(
    ("gateway", "onlink"), [("fe80::1", False), ("2001:db8:2::9", False), ("2001:db8::1", True)]
)
def test_configured_gateway6(gateway: str, onlink: bool) -> None:
    (route,) = found(world(), interface="wwan0", gateway6=gateway).defaults
    assert (route.family, route.gateway, route.onlink) == (V6, gateway, onlink)


@pytest.mark.parametrize("gateway6", ["auto", "2001:db8:2::1"])
def test_ipv6_waits_for_an_address_that_may_be_used(gateway6: str) -> None:
    waiting = replace(WWAN, awaits_ipv6=True)
    observed = world(default(3, "10.64.0.1"), Route(V6, 254, "::/0", link=3), links=(LO, waiting))
    uplink = found(observed, interface="wwan0", gateway6=gateway6)
    assert ways(uplink) == [(V4, "10.64.0.1")]
    assert uplink.usable


def test_router_advertisement() -> None:
    route = Route(V6, 254, "::/0", gateway="fe80::1", link=3, metric=1024, protocol=9)
    assert ways(found(world(route), interface="wwan0")) == [(V6, "fe80::1")]


def test_gateway_of_the_other_family() -> None:
    assert ways(found(world(default(3, "fe80::1")), interface="wwan0")) == [(V4, "fe80::1")]


def test_auto_takes_the_lowest_metric_that_is_no_tunnel() -> None:
    uplink = found(world(default(4), default(2, "192.168.1.1", 600), default(3, "10.64.0.1", 500)))
    assert uplink.link == WWAN
    assert uplink.shared


def test_auto_takes_ppp_last() -> None:
    assert found(world(default(7, metric=1), default(2, "192.168.1.1", 900))).link == WLAN
    assert found(world(default(7, metric=1), default(4))).link == PPP


def test_auto_takes_ipv4_first() -> None:
    six = Route(V6, 254, "::/0", gateway="fe80::1", link=2, metric=1)
    assert found(world(six, default(3, "10.64.0.1", 900))).link == WWAN
    assert found(world(six)).link == WLAN


def test_auto_passes_over_links_that_are_down_and_other_tables() -> None:
    links = (LO, replace(WLAN, up=False), WWAN)
    routes = (default(2, "192.168.1.1"), default(3, "10.64.0.1", 900))
    assert found(world(*routes, links=links)).link == WWAN
    assert found(world(default(3, "10.64.0.1", table=100))).link is None
    unreachable = replace(default(3), kind=RouteKind.UNREACHABLE)
    assert found(world(unreachable)).link is None


def test_shared_is_the_link_of_the_tunnels_own_packets() -> None:
    assert found(laptop(), interface="wlan0").shared
    assert not found(laptop(), interface="wwan0").shared


@pytest.mark.parametrize("kind", sorted(TUNNEL_KINDS))
def test_kinds_of_tunnels(kind: str) -> None:
    assert is_tunnel(Link(9, "x", kind=kind))


@pytest.mark.parametrize("kind", ["", "ppp", "bridge", "veth", "vlan", "bond"])
def test_kinds_that_are_not(kind: str) -> None:
    assert not is_tunnel(Link(9, "x", kind=kind))


def test_local_routes_leave_out_tunnels_and_far_places() -> None:
    near = Route(V4, 254, "172.17.0.0/16", link=9)
    routed = Route(V4, 254, "10.50.0.0/16", gateway="192.168.1.9", link=2)
    far = Route(V4, 254, "203.0.113.9/32", gateway="192.168.1.1", link=2)
    tunnel = Route(V4, 254, "10.99.0.0/24", link=4)
    other = Route(V4, 100, "172.18.0.0/16", link=9)
    observed = world(default(2, "192.168.1.1"), near, routed, far, tunnel, other)
    assert local_routes(observed, None) == (near, routed)
    assert local_routes(observed, TUNNEL) == (near, routed, tunnel)


def test_table_holds_near_routes_then_defaults_then_the_last_resort() -> None:
    observed = world(*MAIN, Route(V4, 254, "10.50.0.0/16", gateway="192.168.1.9", link=2))
    routes = table_routes(found(observed, interface="wwan0"), observed)
    assert {route.table for route in routes} == {FIRST_TABLE}
    assert {route.protocol for route in routes} == {2}
    assert [route.gateway for route in routes[:4]] == [""] * 4
    assert [(r.destination, r.gateway) for r in routes[4:7]] == [
        ("10.50.0.0/16", "192.168.1.9"), ("0.0.0.0/0", "10.64.0.1"), ("::/0", "2001:db8:2::1"),
    ]  # fmt: skip
    assert [(r.family, r.kind, r.metric) for r in routes[7:]] == [
        (family, RouteKind.UNREACHABLE, LAST_METRIC) for family in Family
    ]


def test_table_keeps_link_local_prefixes_of_every_link() -> None:
    routes = table_routes(found(laptop(), interface="wwan0"), laptop())
    assert [route.link for route in routes if route.destination == "fe80::/64"] == [2, 3]


def test_table_of_an_absent_link_only_blocks() -> None:
    observed = Observed()
    routes = table_routes(found(observed, interface="usb0"), observed)
    assert [route.kind for route in routes] == [RouteKind.UNREACHABLE] * 2
