"""Routes and rules as rtnetlink messages, through pyroute2's codecs.

Imported only where something is changed: readers need not pay for pyroute2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byway_systemd.system.message_classes import FR_ACT_TO_TBL, RTNH_F_ONLINK, fibmsg, rtmsg
from byway_systemd.system.netlink import HEADER
from byway_systemd.system.route_codec import ROUTE_KINDS

if TYPE_CHECKING:
    from byway_systemd.core.network import Route, RoutingRule

_FIB_RULE_INVERT = 2
_TABLE_IN_ATTRIBUTE = 0  # RT_TABLE_UNSPEC in the 8-bit field: RTA_TABLE or FRA_TABLE has it
_KIND_NUMBERS = {kind: number for number, kind in ROUTE_KINDS.items()}


def encode_route(route: Route) -> bytes:
    """Return a struct rtmsg and its attributes. Raise ValueError for a kind without a number."""
    if route.kind not in _KIND_NUMBERS:
        raise ValueError(f"not a kind of route that can be changed: {route.kind}")
    attributes: list[list[Any]] = [["RTA_TABLE", route.table]]
    if not route.is_default:
        attributes.append(["RTA_DST", _host(route.destination)])
    if route.gateway:
        attributes.append(_gateway(route))
    if route.link:
        attributes.append(["RTA_OIF", route.link])
    if route.metric:
        attributes.append(["RTA_PRIORITY", route.metric])
    if route.source:
        attributes.append(["RTA_PREFSRC", route.source])
    if route.mtu:
        attributes.append(["RTA_METRICS", {"attrs": [["RTAX_MTU", route.mtu]]}])
    return _encode(
        rtmsg(),
        {
            "family": int(route.family),
            "dst_len": _length(route.destination),
            "table": _TABLE_IN_ATTRIBUTE,
            "proto": route.protocol,
            "scope": route.scope,
            "type": _KIND_NUMBERS[route.kind],
            "flags": RTNH_F_ONLINK if route.onlink else 0,
        },
        attributes,
    )


def encode_rule(rule: RoutingRule) -> bytes:
    """Return a struct fib_rule_hdr and its attributes.

    Raise ValueError for a rule with parts a RoutingRule does not hold: deleting "the rest of it"
    could hit another rule.
    """
    if rule.has_other_selectors or not rule.table:
        raise ValueError(f"not a rule that can be changed: {rule}")
    attributes: list[list[Any]] = [
        ["FRA_TABLE", rule.table],
        ["FRA_PRIORITY", rule.preference],
        *_selectors(rule),
    ]
    if rule.suppress_prefix_length >= 0:
        attributes.append(["FRA_SUPPRESS_PREFIXLEN", rule.suppress_prefix_length])
    attributes.append(["FRA_PROTOCOL", rule.protocol])
    return _encode(
        fibmsg(),
        {
            "family": int(rule.family),
            "dst_len": _length(rule.destination) if rule.destination else 0,
            "src_len": _length(rule.source) if rule.source else 0,
            "table": _TABLE_IN_ATTRIBUTE,
            "action": FR_ACT_TO_TBL,
            "flags": _FIB_RULE_INVERT if rule.inverted else 0,
        },
        attributes,
    )


def _selectors(rule: RoutingRule) -> list[list[Any]]:
    """Return the attributes that say which packets the rule is for."""
    found: list[list[Any]] = []
    if rule.mask:
        found += [["FRA_FWMARK", rule.mark], ["FRA_FWMASK", rule.mask]]
    if rule.source:
        found.append(["FRA_SRC", _host(rule.source)])
    if rule.destination:
        found.append(["FRA_DST", _host(rule.destination)])
    if rule.input_link:
        found.append(["FRA_IIFNAME", rule.input_link])
    if rule.output_link:
        found.append(["FRA_OIFNAME", rule.output_link])
    if rule.first_uid >= 0:
        found.append(["FRA_UID_RANGE", f"{rule.first_uid}:{rule.last_uid}"])
    return found


def _gateway(route: Route) -> list[Any]:
    """Return the gateway's attribute: RTA_VIA when it is of the other family."""
    is_ipv6 = ":" in route.gateway
    family = 10 if is_ipv6 else 2
    if family == route.family:
        return ["RTA_GATEWAY", route.gateway]
    return ["RTA_VIA", {"family": family, "addr": route.gateway}]


def _host(prefix: str) -> str:
    return prefix.partition("/")[0]


def _length(prefix: str) -> int:
    return int(prefix.partition("/")[2])


def _encode(message: Any, fields: dict[str, int], attributes: list[list[Any]]) -> bytes:
    """Return everything after the netlink header."""
    message.update(fields)
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data)[HEADER.size :]
