"""Links, addresses, routes and rules from rtnetlink messages (rtnetlink(7)).

By struct and not through pyroute2's codecs: a route takes a quarter of the time and readers are
spared its import, and the daemon observes all of them anew after each event.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from byway_systemd.core.network import (
    LOCAL_TABLE,
    Family,
    Link,
    LinkBytes,
    Route,
    RouteKind,
    RoutingRule,
)
from byway_systemd.system.netlink import (
    list_attributes,
    parse_attributes,
    parse_text,
    render_address,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_U32 = struct.Struct("=I")
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, length, flags, scope, index
# struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_ROUTE = struct.Struct("=8BI")
_LINK_BYTES = struct.Struct("=16x2Q")  # struct rtnl_link_stats64: packets, then bytes
_NEXT_HOP = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, hops, index
# struct fib_rule_hdr: family, dst_len, src_len, tos, table, reserved, reserved, action, flags
_RULE = struct.Struct("=8BI")
_UID_RANGE = struct.Struct("=II")

_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_PROP_LIST, _IFLA_ALT_IFNAME = 3, 18, 52, 53
_IFLA_STATS64 = 23
_IFLA_INFO_KIND = 1
_ARPHRD_PPP = 512
_IFF_UP, _IFF_LOOPBACK, _IFF_POINTOPOINT, _IFF_LOWER_UP = 0x1, 0x8, 0x10, 0x10000
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_OPTIMISTIC, _IFA_F_TENTATIVE = 0x04, 0x40
_SCOPE_UNIVERSE = 0  # RT_SCOPE_UNIVERSE

_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RTA_METRICS, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 8, 9, 15, 18
_RTAX_MTU = 2
_RTNH_F_ONLINK = 4
_RTM_F_CLONED = 0x200

_FRA_DST, _FRA_SRC, _FRA_IIFNAME, _FRA_PRIORITY, _FRA_FWMARK = 1, 2, 3, 6, 10
_FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE, _FRA_FWMASK, _FRA_OIFNAME = 14, 15, 16, 17
_FRA_PAD, _FRA_UID_RANGE, _FRA_PROTOCOL = 18, 20, 21
_MODELLED = frozenset(
    {
        *(_FRA_DST, _FRA_SRC, _FRA_IIFNAME, _FRA_PRIORITY, _FRA_FWMARK, _FRA_SUPPRESS_PREFIXLEN),
        *(_FRA_TABLE, _FRA_FWMASK, _FRA_OIFNAME, _FRA_PAD, _FRA_UID_RANGE, _FRA_PROTOCOL),
    }
)
_FR_ACT_TO_TBL = 1
_FIB_RULE_INVERT = 2

ROUTE_KINDS = {  # RTN_* by number
    1: RouteKind.UNICAST,
    2: RouteKind.LOCAL,
    3: RouteKind.BROADCAST,
    4: RouteKind.ANYCAST,
    5: RouteKind.MULTICAST,
    6: RouteKind.BLACKHOLE,
    7: RouteKind.UNREACHABLE,
    8: RouteKind.PROHIBIT,
    9: RouteKind.THROW,
}
REFUSALS = frozenset(
    {RouteKind.BLACKHOLE, RouteKind.UNREACHABLE, RouteKind.PROHIBIT, RouteKind.THROW}
)
_FAMILIES = {int(family): family for family in Family}


class LinkAddress(NamedTuple):
    """An address of the link ``link``, as ``address/length``.

    ``tentative`` is set while it is looked whether another machine has it as well, and stays when
    one has (IFA_F_TENTATIVE of if_addr.h; RFC 4862). An optimistic one is used meanwhile.
    """

    link: int
    text: str
    tentative: bool
    global_ipv6: bool


def parse_link(payload: bytes, addresses: Sequence[LinkAddress] = ()) -> Link:
    """Return the link of an RTM_NEWLINK message, with ``addresses``."""
    _family, hardware, index, flags, _change = _LINK.unpack_from(payload)
    found = parse_attributes(payload, _LINK.size)
    properties = list_attributes(found.get(_IFLA_PROP_LIST, b""))
    candidates = [address.tentative for address in addresses if address.global_ipv6]
    kind = parse_text(parse_attributes(found.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b""))
    return Link(
        index=index,
        name=parse_text(found[_IFLA_IFNAME]),
        kind=kind or ("ppp" if hardware == _ARPHRD_PPP else ""),
        up=flags & (_IFF_UP | _IFF_LOWER_UP) == _IFF_UP | _IFF_LOWER_UP,
        point_to_point=bool(flags & _IFF_POINTOPOINT),
        loopback=bool(flags & _IFF_LOOPBACK),
        alternative_names=tuple(parse_text(v) for k, v in properties if k == _IFLA_ALT_IFNAME),
        addresses=tuple(address.text for address in addresses),
        awaits_ipv6=any(candidates) and all(candidates),
    )


def parse_link_bytes(payload: bytes) -> LinkBytes:
    """Return the counters of an RTM_NEWLINK message; nothing carried where it has none."""
    found = parse_attributes(payload, _LINK.size).get(_IFLA_STATS64, bytes(_LINK_BYTES.size))
    received, sent = _LINK_BYTES.unpack_from(found)
    return LinkBytes(_LINK.unpack_from(payload)[2], sent, received)


def parse_address(payload: bytes) -> LinkAddress:
    """Return the address of an RTM_NEWADDR message.

    On a point-to-point link IFA_ADDRESS is the peer and IFA_LOCAL the address.
    """
    family, length, flags, scope, index = _ADDRESS.unpack_from(payload)
    found = parse_attributes(payload, _ADDRESS.size)
    address = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    text = f"{render_address(address)}/{length}" if address else ""
    tentative = flags & (_IFA_F_TENTATIVE | _IFA_F_OPTIMISTIC) == _IFA_F_TENTATIVE
    return LinkAddress(index, text, tentative, family == Family.IPV6 and scope == _SCOPE_UNIVERSE)


def parse_route(payload: bytes) -> Iterator[Route]:
    """Yield the routes of an RTM_NEWROUTE message: one for each next hop.

    Nothing for what a Route cannot express and would be mistaken for something wider (a source
    prefix, a TOS), for cached routes, for IPv6 multicast, and for the table ``local``.
    """
    number, length, source_length, tos, table, protocol, scope, kind, flags = _ROUTE.unpack_from(
        payload
    )
    if table == LOCAL_TABLE or source_length or tos or flags & _RTM_F_CLONED:
        return
    family = _FAMILIES.get(number)
    if family is None or (kind == 5 and family is Family.IPV6):
        return
    found = parse_attributes(payload, _ROUTE.size)
    destination = found.get(_RTA_DST)
    route = Route(
        family=family,
        table=_number(found, _RTA_TABLE) or table,
        destination=f"{render_address(destination)}/{length}" if destination else family.default,
        kind=ROUTE_KINDS.get(kind, RouteKind.OTHER),
        metric=_number(found, _RTA_PRIORITY),
        source=_address(found.get(_RTA_PREFSRC)),
        scope=scope,
        protocol=protocol,
        mtu=_mtu(found.get(_RTA_METRICS)),
    )
    if route.kind in REFUSALS:
        # IPv6 shows these on lo, which is where it drops them, not where they lead.
        yield route
    elif _RTA_MULTIPATH in found:
        yield from _split_next_hops(route, found[_RTA_MULTIPATH])
    else:
        yield _with_next_hop(route, found, _number(found, _RTA_OIF), flags)


def parse_rule(payload: bytes) -> RoutingRule | None:
    """Return the rule of an RTM_NEWRULE message; None for a family other than IPv4 and IPv6."""
    number, to, since, tos, table, _, _, action, flags = _RULE.unpack_from(payload)
    family = _FAMILIES.get(number)
    if family is None:
        return None
    found = parse_attributes(payload, _RULE.size)
    users = found.get(_FRA_UID_RANGE)
    first, last = _UID_RANGE.unpack(users) if users else (-1, -1)
    suppress = _number(found, _FRA_SUPPRESS_PREFIXLEN, 0xFFFFFFFF)
    return RoutingRule(
        family=family,
        preference=_number(found, _FRA_PRIORITY),
        table=(_number(found, _FRA_TABLE) or table) if action == _FR_ACT_TO_TBL else 0,
        mark=_number(found, _FRA_FWMARK),
        mask=_number(found, _FRA_FWMASK),
        source=_prefix(found.get(_FRA_SRC), since),
        destination=_prefix(found.get(_FRA_DST), to),
        input_link=parse_text(found.get(_FRA_IIFNAME, b"")),
        output_link=parse_text(found.get(_FRA_OIFNAME, b"")),
        first_uid=first,
        last_uid=last,
        suppress_prefix_length=-1 if suppress == 0xFFFFFFFF else suppress,
        inverted=bool(flags & _FIB_RULE_INVERT),
        protocol=found.get(_FRA_PROTOCOL, b"\0")[0],
        has_other_selectors=bool(tos) or not _MODELLED.issuperset(found),
    )


def _split_next_hops(route: Route, hops: bytes) -> Iterator[Route]:
    """Yield ``route`` once for each struct rtnexthop in ``hops``."""
    offset = 0
    while offset + _NEXT_HOP.size <= len(hops):
        length, flags, _weight, index = _NEXT_HOP.unpack_from(hops, offset)
        if length < _NEXT_HOP.size:
            return
        found = parse_attributes(hops[offset : offset + length], _NEXT_HOP.size)
        yield _with_next_hop(route, found, index, flags)
        offset += (length + 3) & ~3


def _with_next_hop(route: Route, found: dict[int, bytes], link: int, flags: int) -> Route:
    """Return ``route`` with the gateway of ``found`` (RTA_GATEWAY or RTA_VIA)."""
    gateway = _address(found.get(_RTA_GATEWAY))
    via = found.get(_RTA_VIA)
    if via:
        gateway = render_address(via[2:])  # struct rtvia: the family as u16, then the address
    return Route(
        family=route.family,
        table=route.table,
        destination=route.destination,
        kind=route.kind,
        gateway=gateway,
        link=link,
        metric=route.metric,
        source=route.source,
        scope=route.scope,
        protocol=route.protocol,
        onlink=bool(flags & _RTNH_F_ONLINK),
        mtu=route.mtu,
    )


def _number(found: dict[int, bytes], kind: int, absent: int = 0) -> int:
    value = found.get(kind)
    return absent if value is None else int(_U32.unpack(value)[0])


def _address(value: bytes | None) -> str:
    return render_address(value) if value else ""


def _prefix(value: bytes | None, length: int) -> str:
    return f"{render_address(value)}/{length}" if value else ""


def _mtu(metrics: bytes | None) -> int:
    return _number(parse_attributes(metrics), _RTAX_MTU) if metrics else 0
