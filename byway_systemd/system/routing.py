"""Links, routes and routing rules of the calling thread's network namespace (rtnetlink(7)).

Observed by struct (``route_codec``), changed through pyroute2's codecs (``route_messages``).
"""

from __future__ import annotations

import errno
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from byway_systemd.core.network import Family, RouteKind
from byway_systemd.system.netlink import (
    FLAG_APPEND,
    FLAG_CREATE,
    FLAG_EXCLUSIVE,
    FLAG_REPLACE,
    NETLINK_ROUTE,
    KernelError,
    Message,
    NetlinkSocket,
    render_attribute,
)
from byway_systemd.system.route_codec import (
    REFUSALS,
    parse_address,
    parse_link,
    parse_link_bytes,
    parse_route,
    parse_rule,
)

if TYPE_CHECKING:
    from byway_systemd.core.network import Link, LinkBytes, Route, RoutingRule
    from byway_systemd.system.route_codec import LinkAddress

_RTM_GETLINK, _RTM_GETADDR = 18, 22
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTM_NEWRULE, _RTM_DELRULE, _RTM_GETRULE = 32, 33, 34
_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS = 29, 8
_RTA_TABLE = 15
_U32 = struct.Struct("=I")
_LINK_REQUEST = bytes(16) + render_attribute(_IFLA_EXT_MASK, _U32.pack(_RTEXT_FILTER_SKIP_STATS))
_ADDRESS_REQUEST = bytes(8)
_FAMILY_REQUESTS = tuple(bytes([family]) + bytes(11) for family in Family)  # rtmsg, fib_rule_hdr
_IPV6_DEFAULT_METRIC = 1024  # IP6_RT_PRIO_USER: what the kernel makes of metric 0


class Routing:
    """One rtnetlink socket. Every method raises KernelError, which is an OSError."""

    def __init__(self) -> None:
        """Open the socket in the network namespace of the calling thread."""
        self._netlink = NetlinkSocket(NETLINK_ROUTE)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket."""
        self.close()

    def observe_links(self) -> tuple[Link, ...]:
        """Return every link by index, with its addresses in the kernel's order."""
        addresses: dict[int, list[LinkAddress]] = {}
        for reply in self._netlink.dump(_RTM_GETADDR, _ADDRESS_REQUEST, "list addresses"):
            address = parse_address(reply.payload)
            addresses.setdefault(address.link, []).append(address)
        links = (
            # struct ifinfomsg: family, padding, type, then the index
            parse_link(reply.payload, addresses.get(_index(reply.payload), ()))
            for reply in self._netlink.dump(_RTM_GETLINK, _LINK_REQUEST, "list links")
        )
        return tuple(sorted(links, key=lambda link: link.index))

    def observe_link_bytes(self) -> tuple[LinkBytes, ...]:
        """Return the counters of every link, by index."""
        replies = self._netlink.dump(_RTM_GETLINK, bytes(16), "count what links carry")
        found = (parse_link_bytes(reply.payload) for reply in replies)
        return tuple(sorted(found, key=lambda one: one.index))

    def observe_routes(self, table: int = 0) -> tuple[Route, ...]:
        """Return the routes of ``table``, or of every table but ``local`` for 0.

        A multipath route gives one Route for each next hop; a route that names a next hop object
        gives the gateway and link the kernel shows beside it (``net.ipv4.nexthop_compat_mode``,
        on by default). Left out: cached routes, IPv6 multicast, and routes limited to a source
        prefix or a TOS. IPv4 first, then in the kernel's order.
        """
        chosen = render_attribute(_RTA_TABLE, _U32.pack(table)) if table else b""
        routes: list[Route] = []
        for request in _FAMILY_REQUESTS:
            try:
                replies = self._netlink.dump(_RTM_GETROUTE, request + chosen, "list routes")
            except KernelError as error:
                # With a filter the kernel says ENOENT for a table that never had a route.
                if table and error.errno == errno.ENOENT:
                    continue
                raise
            for reply in replies:
                routes.extend(parse_route(reply.payload))
        return tuple(routes)

    def observe_rules(self) -> tuple[RoutingRule, ...]:
        """Return the IPv4 rules, then the IPv6 rules, each in the order they are tried."""
        return tuple(
            rule
            for request in _FAMILY_REQUESTS
            for reply in self._netlink.dump(_RTM_GETRULE, request, "list routing rules")
            if (rule := parse_rule(reply.payload)) is not None
        )

    def add_route(self, route: Route) -> None:
        """Add ``route``; one that is there already is fine.

        EEXIST when its slot (family, table, destination, metric) holds another route.
        """
        # IPv6 keeps one route a link at the same metric, such as fe80::/64, but refuses the second
        # when asked for exclusive: fib6_add_rt2node() in net/ipv6/ip6_fib.c.
        exclusive = FLAG_EXCLUSIVE if route.family is Family.IPV4 else FLAG_APPEND
        try:
            self._send_route(_RTM_NEWROUTE, FLAG_CREATE | exclusive, route, "add")
        except KernelError as error:
            if error.errno != errno.EEXIST or not self._has_route(route):
                raise

    def replace_route(self, route: Route) -> None:
        """Put ``route`` into its slot, whatever the slot holds."""
        self._send_route(_RTM_NEWROUTE, FLAG_CREATE | FLAG_REPLACE, route, "replace")

    def delete_route(self, route: Route) -> None:
        """Delete ``route``; one that is gone (or whose link is) is fine."""
        gone = {errno.ESRCH, errno.ENOENT, errno.ENODEV}
        try:
            self._send_route(_RTM_DELROUTE, 0, route, "delete")
        except KernelError as error:
            if error.errno not in gone:
                raise

    def add_rule(self, rule: RoutingRule) -> None:
        """Add ``rule``; one that is there already is fine."""
        try:
            self._send_rule(_RTM_NEWRULE, FLAG_CREATE | FLAG_EXCLUSIVE, rule, "add")
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise

    def delete_rule(self, rule: RoutingRule) -> None:
        """Delete ``rule``; one that is gone is fine."""
        try:
            self._send_rule(_RTM_DELRULE, 0, rule, "delete")
        except KernelError as error:
            if error.errno not in {errno.ESRCH, errno.ENOENT}:
                raise

    def _send_route(self, kind: int, flags: int, route: Route, verb: str) -> None:
        # Imported here: readers need not pay for pyroute2.
        from byway_systemd.system.route_messages import encode_route  # noqa: PLC0415

        attempt = f"{verb} {describe_route(route)}"
        self._netlink.request(Message(kind, flags, encode_route(route), attempt))

    def _send_rule(self, kind: int, flags: int, rule: RoutingRule, verb: str) -> None:
        # Imported here: readers need not pay for pyroute2.
        from byway_systemd.system.route_messages import encode_rule  # noqa: PLC0415

        attempt = f"{verb} {describe_rule(rule)}"
        self._netlink.request(Message(kind, flags, encode_rule(rule), attempt))

    def _has_route(self, route: Route) -> bool:
        """Whether the table holds ``route``, as the kernel would show it."""
        return _as_observed(route) in self.observe_routes(route.table)


def describe_route(route: Route) -> str:
    """Return the route in the words of ip-route(8)."""
    kind = "" if route.kind is RouteKind.UNICAST else f"{route.kind} "
    words = [f"route {kind}{route.destination}"]
    words += [f"via {route.gateway}"] if route.gateway else []
    words += [f"dev index {route.link}"] if route.link else []
    words += [f"metric {route.metric}"] if route.metric else []
    return " ".join([*words, f"table {route.table}"])


def describe_rule(rule: RoutingRule) -> str:
    """Return the rule in the words of ip-rule(8)."""
    words = [f"IPv{4 if rule.family is Family.IPV4 else 6} rule {rule.preference}:"]
    words += ["not"] if rule.inverted else []
    words.append(f"from {rule.source or 'all'}")
    words += [f"to {rule.destination}"] if rule.destination else []
    words += [f"fwmark {rule.mark:#x}/{rule.mask:#x}"] if rule.mask else []
    words += [f"iif {rule.input_link}"] if rule.input_link else []
    words += [f"oif {rule.output_link}"] if rule.output_link else []
    words += [f"uidrange {rule.first_uid}-{rule.last_uid}"] if rule.first_uid >= 0 else []
    return " ".join([*words, f"lookup {rule.table}"])


def _as_observed(route: Route) -> Route:
    """Return ``route`` as the kernel shows it once it is added."""
    if route.kind in REFUSALS:
        route = replace(route, link=0, gateway="")
    if route.family is Family.IPV6:
        # IPv6 routes have no scope, and metric 0 becomes the default metric.
        route = replace(route, scope=0, metric=route.metric or _IPV6_DEFAULT_METRIC)
    return route


def _index(link_payload: bytes) -> int:
    return int(_U32.unpack_from(link_payload, 4)[0])
