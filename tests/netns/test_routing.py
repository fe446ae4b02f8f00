"""Links, routes, rules, events and settings against the kernel."""

from __future__ import annotations

import errno
import select
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.network import (
    LAST_METRIC,
    Family,
    Route,
    RouteKind,
    RoutingRule,
)
from byway_systemd.system.netlink_events import ROUTING_EVENTS, EventKind, drain, open_event_socket
from byway_systemd.system.routing import Routing
from byway_systemd.system.sysctls import observe_sysctl, write_sysctl
from netns.world import CLIENT_DIRECT, SERVERS, TABLE, World, ip

if TYPE_CHECKING:
    from pathlib import Path

OWN = 4242  # a table of these tests
ROUTES = {
    "unreachable": Route(Family.IPV4, OWN, "0.0.0.0/0", RouteKind.UNREACHABLE, metric=LAST_METRIC),
    "unreachable6": Route(Family.IPV6, OWN, "::/0", RouteKind.UNREACHABLE, metric=LAST_METRIC),
    "throw": Route(Family.IPV4, OWN, "192.168.7.0/24", RouteKind.THROW),
    "gateway": Route(Family.IPV4, OWN, "0.0.0.0/0", gateway="10.1.0.2", metric=7),
    "gateway6": Route(Family.IPV6, OWN, "::/0", gateway="2001:db8:1::2", metric=7),
    "other family": Route(Family.IPV4, OWN, "203.0.113.0/24", gateway="2001:db8:1::2"),
    "onlink": Route(Family.IPV4, OWN, "203.0.113.0/24", gateway="172.16.0.1", onlink=True),
    "mtu and source": Route(
        *(Family.IPV4, OWN, "203.0.113.7/32"), gateway="10.1.0.2", mtu=1280, source="10.1.0.1"
    ),
    "connected": Route(Family.IPV4, OWN, "10.1.0.0/24", source="10.1.0.1", scope=253),
    "connected6": Route(Family.IPV6, OWN, "2001:db8:1::/64", metric=256),
}
RULES = {
    "mark": RoutingRule(Family.IPV4, 11590, OWN, 0x1000000, 0x3F000000),
    "mark6": RoutingRule(Family.IPV6, 11590, OWN, 0x1000000, 0x3F000000),
    "source": RoutingRule(Family.IPV4, 11600, OWN, source="172.18.0.0/16"),
    "users": RoutingRule(Family.IPV6, 11680, OWN, first_uid=1000, last_uid=2000),
    "rest": RoutingRule(
        *(Family.IPV4, 11900, OWN), destination="10.9.0.0/16", input_link="direct0", inverted=True
    ),
    "suppress": RoutingRule(Family.IPV6, 11901, 254, output_link="v0", suppress_prefix_length=0),
}


@pytest.mark.parametrize("name", ROUTES)
def test_a_route_is_seen_as_it_was_added(world: World, name: str) -> None:
    route = ROUTES[name]
    if route.kind is RouteKind.UNICAST:
        route = replace(route, link=world.direct_index)

    def change() -> tuple[tuple[Route, ...], bool, tuple[Route, ...]]:
        with Routing() as routing:
            routing.add_route(route)
            routing.add_route(route)
            seen = routing.observe_routes(OWN)
            everywhere = route in routing.observe_routes()
            routing.replace_route(route)
            routing.delete_route(route)
            routing.delete_route(route)
            return seen, everywhere, routing.observe_routes(OWN)

    assert world.client.run(change) == ((route,), True, ())


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_seen_as_it_was_added(world: World, name: str) -> None:
    rule = RULES[name]

    def change() -> tuple[list[RoutingRule], bool]:
        with Routing() as routing:
            routing.add_rule(rule)
            routing.add_rule(rule)
            seen = [
                seen
                for seen in routing.observe_rules()
                if seen.preference == rule.preference and seen.table == rule.table
            ]
            routing.delete_rule(rule)
            routing.delete_rule(rule)
            return seen, rule in routing.observe_rules()

    assert world.client.run(change) == ([rule], False)


def test_another_route_in_the_slot_is_an_error(world: World) -> None:
    first = Route(Family.IPV4, OWN, "0.0.0.0/0", gateway="10.1.0.2")

    def change() -> tuple[int, str]:
        with Routing() as routing:
            routing.add_route(first)
            try:
                routing.add_route(replace(first, gateway="10.1.0.3"))
            except OSError as error:
                return error.errno or 0, str(error)
            finally:
                for route in routing.observe_routes(OWN):
                    routing.delete_route(route)
        return 0, ""

    number, message = world.client.run(change)
    assert number == errno.EEXIST
    assert message.startswith("cannot add route 0.0.0.0/0 via 10.1.0.3 table 4242: File exists")


def test_a_refusal_says_what_was_attempted(world: World) -> None:
    def change() -> str:
        with Routing() as routing:
            try:
                routing.add_route(Route(Family.IPV4, OWN, "0.0.0.0/0", gateway="77.7.7.7"))
            except OSError as error:
                return str(error)
        return ""

    assert world.client.run(change).startswith(
        "cannot add route 0.0.0.0/0 via 77.7.7.7 table 4242: Network is unreachable"
    )


def test_links_show_addresses_names_and_kinds(world: World) -> None:
    name = world.client.name
    ip("-n", name, "link", "property", "add", "dev", "direct0", "altname", "wan")

    def observe() -> tuple[object, ...]:
        with Routing() as routing:
            links = {link.name: link for link in routing.observe_links()}
        direct = links["direct0"]
        return (
            direct.index,
            direct.kind,
            direct.up,
            direct.is_called("wan"),
            direct.addresses[:2],
            (links["lo"].loopback),
        )

    addresses = (f"{CLIENT_DIRECT[4]}/24", f"{CLIENT_DIRECT[6]}/64")
    assert world.client.run(observe) == (world.direct_index, "veth", True, True, addresses, True)
    ip("-n", name, "link", "property", "del", "dev", "direct0", "altname", "wan")


@pytest.mark.parametrize("others", ["none", "usable"])
def test_an_ipv6_address_that_may_not_be_used_yet(world: World, others: str) -> None:
    """Until it is known that nobody else has it; the kernel tells when that is so."""
    inside = ("-n", world.client.name)
    ip(*inside, "link", "add", "new0", "type", "veth", "peer", "name", "new1")
    for link in ("new0", "new1"):
        ip(*inside, "link", "set", link, "up")
    if others == "usable":
        ip(*inside, "address", "add", "2001:db8:99::2/64", "dev", "new0", "nodad")

    def awaits(routing: Routing) -> bool:
        return next(link for link in routing.observe_links() if link.name == "new0").awaits_ipv6

    def observe() -> list[bool]:
        with Routing() as routing, open_event_socket(ROUTING_EVENTS) as events:
            seen = [awaits(routing)]
            ip("address", "add", "2001:db8:99::1/64", "dev", "new0")
            seen.append(awaits(routing))
            while awaits(routing):
                assert select.select([events], [], [], 10)[0]
                drain(events)
            return [*seen, awaits(routing)]

    try:
        assert world.client.run(observe) == [False, others == "none", False]
    finally:
        ip(*inside, "link", "delete", "new0")


def test_multipath_and_next_hop_objects_are_understood(world: World) -> None:
    name = world.client.name
    hops = ["nexthop", "via", "10.1.0.2", "nexthop", "via", "10.2.0.2"]
    ip("-n", name, "route", "add", "203.0.113.0/24", "table", OWN, *hops)
    ip("-n", name, "nexthop", "add", "id", 7, "via", "10.1.0.9", "dev", "direct0")
    ip("-n", name, "route", "add", "203.0.114.0/24", "table", OWN, "nhid", 7)
    try:
        with_routing = world.client.run(lambda: _routes(OWN))
    finally:
        for prefix in ("203.0.113.0/24", "203.0.114.0/24"):
            ip("-n", name, "route", "delete", prefix, "table", OWN)
        ip("-n", name, "nexthop", "delete", "id", 7)
    assert [(route.gateway, route.link) for route in with_routing] == [
        ("10.1.0.2", world.direct_index),
        ("10.2.0.2", world.vpn_index),
        ("10.1.0.9", world.direct_index),
    ]


def test_a_rule_with_other_selectors_is_flagged_and_not_deleted(world: World) -> None:
    ip("-n", world.client.name, "rule", "add", "ipproto", "tcp", "lookup", OWN, "preference", 77)

    def observe() -> tuple[bool, bool]:
        with Routing() as routing:
            (rule,) = (rule for rule in routing.observe_rules() if rule.preference == 77)
            try:
                routing.delete_rule(rule)
            except ValueError:
                return rule.has_other_selectors, rule in routing.observe_rules()
        return rule.has_other_selectors, False

    assert world.client.run(observe) == (True, True)
    ip("-n", world.client.name, "rule", "delete", "preference", 77)


def test_events_tell_their_kind(world: World) -> None:
    def change() -> list[frozenset[EventKind]]:
        kinds = []
        with Routing() as routing, open_event_socket(ROUTING_EVENTS) as events:
            routing.add_rule(RULES["mark"])
            kinds.append(drain(events).kinds)
            routing.delete_rule(RULES["mark"])
            drain(events)
            routing.add_route(ROUTES["unreachable"])
            kinds.append(drain(events).kinds)
            routing.delete_route(ROUTES["unreachable"])
        return kinds

    expected = [frozenset({EventKind.RULE}), frozenset({EventKind.ROUTE})]
    assert world.client.run(change) == expected


def test_lost_events_are_reported(world: World) -> None:
    def flood() -> tuple[bool, bool]:
        with Routing() as routing, open_event_socket(ROUTING_EVENTS) as events:
            events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(60):
                routing.add_route(ROUTES["unreachable"])
                routing.delete_route(ROUTES["unreachable"])
            return drain(events).lost, drain(events).lost

    assert world.client.run(flood) == (True, False)


def test_settings_are_read_and_written(world: World, tmp_path: Path) -> None:
    def change() -> tuple[str | None, str | None]:
        write_sysctl("net/ipv4/conf/direct0/src_valid_mark", "1")
        return (
            observe_sysctl("net/ipv4/conf/direct0/src_valid_mark"),
            observe_sysctl("net/ipv4/conf/absent/src_valid_mark"),
        )

    assert world.client.run(change) == ("1", None)
    for path in ("net/../../etc/passwd", "/etc/passwd", "", "net//ipv4"):
        with pytest.raises(ValueError, match="not a path below"):
            write_sysctl(path, "1", tmp_path)


def _routes(table: int) -> tuple[Route, ...]:
    with Routing() as routing:
        return routing.observe_routes(table)


@pytest.mark.parametrize(("interval", "reached"), [("1", True), ("60", False)])
def test_a_router_that_has_not_answered(world: World, interval: str, reached: bool) -> None:
    """The last resort is taken until the kernel probes the router again: after byway's second."""
    setting = "net/ipv6/conf/direct0/router_probe_interval"
    last = ("unreachable", "default", "metric", LAST_METRIC, "table", TABLE)
    router = (ROUTES["gateway6"].gateway, "dev", "direct0")
    inside = ("-n", world.client.name, "-6")

    def send() -> int:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x1000000)
            return sender.connect_ex((SERVERS[6], 9))

    def ask() -> int:
        write_sysctl(setting, interval)
        time.sleep(1.2)
        send()  # the probe goes out
        time.sleep(0.3)
        return send()

    before = world.client.run(lambda: observe_sysctl(setting))
    ip(*inside, "route", "add", *last)
    ip(*inside, "neighbour", "replace", *router, "lladdr", "02:00:00:00:00:01", "nud", "failed")
    try:
        assert world.client.run(ask) == (0 if reached else errno.EHOSTUNREACH)
    finally:
        ip(*inside, "route", "delete", *last)
        ip(*inside, "neighbour", "delete", *router)
        world.client.run(lambda: write_sysctl(setting, str(before)))
