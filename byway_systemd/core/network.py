"""Links, addresses, routes and routing rules as values.

Numbers are the kernel's (rtnetlink(7), ``include/uapi/linux/rtnetlink.h`` and ``fib_rules.h``).
Addresses and prefixes are text in canonical form, prefixes always with their length:
``192.0.2.0/24``, ``0.0.0.0/0``, ``2001:db8::/32``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

LOOPBACK_INDEX = 1  # LOOPBACK_IFINDEX in include/net/flow.h: lo is index 1 in every namespace
MAIN_TABLE = 254  # RT_TABLE_MAIN
LOCAL_TABLE = 255  # RT_TABLE_LOCAL
PROTOCOL_KERNEL = 2  # RTPROT_KERNEL
SCOPE_LINK = 253  # RT_SCOPE_LINK
LAST_METRIC = 0xFFFFFFFF


class Family(IntEnum):
    """An address family, by the kernel's number (AF_INET, AF_INET6)."""

    IPV4 = 2
    IPV6 = 10

    @property
    def default(self) -> str:
        """The prefix of the default route."""
        return "0.0.0.0/0" if self is Family.IPV4 else "::/0"

    @property
    def version(self) -> int:
        """The protocol's version, as ipaddress counts it."""
        return 4 if self is Family.IPV4 else 6


class RouteKind(StrEnum):
    """What a route does with a packet (RTN_* in rtnetlink.h)."""

    UNICAST = "unicast"
    LOCAL = "local"
    BROADCAST = "broadcast"
    ANYCAST = "anycast"
    MULTICAST = "multicast"
    BLACKHOLE = "blackhole"
    UNREACHABLE = "unreachable"
    PROHIBIT = "prohibit"
    THROW = "throw"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface.

    ``kind`` is IFLA_INFO_KIND (``wireguard``, ``tun``, ``bridge`` ...; empty for hardware, ``ppp``
    for a PPP device). ``up`` means administratively up with a carrier (IFF_UP and IFF_LOWER_UP).
    ``addresses`` are ``address/length``, every family. ``awaits_ipv6`` says that it has IPv6
    addresses beyond its own network, and none of them may be used yet (IFA_F_TENTATIVE).
    """

    index: int
    name: str
    kind: str = ""
    up: bool = True
    point_to_point: bool = False
    loopback: bool = False
    alternative_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    awaits_ipv6: bool = False

    def is_called(self, name: str) -> bool:
        """Whether ``name`` is the link's name or one of its alternative names."""
        return name == self.name or name in self.alternative_names


@dataclass(frozen=True, slots=True)
class LinkBytes:
    """What a link has carried since it was made."""

    index: int
    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class Route:
    """One route. ``gateway`` may be of the other family (RTA_VIA); ``link`` is an index or 0."""

    family: Family
    table: int
    destination: str
    kind: RouteKind = RouteKind.UNICAST
    gateway: str = ""
    link: int = 0
    metric: int = 0
    source: str = ""
    scope: int = 0
    protocol: int = PROTOCOL_KERNEL
    onlink: bool = False
    mtu: int = 0

    @property
    def is_default(self) -> bool:
        """Whether the route's destination is everything."""
        return self.destination == self.family.default

    @property
    def slot(self) -> tuple[int, int, str, int]:
        """What a table holds one of: family, table, destination and metric."""
        return (self.family, self.table, self.destination, self.metric)


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """One routing rule (ip-rule(8)).

    ``mask`` 0 means no mark selector; ``table`` 0 means an action other than a table look-up.
    ``suppress_prefix_length`` is -1 when absent. ``has_other_selectors`` stands for selectors byway
    does not model (ports, protocol, tunnel id, l3mdev ...).
    """

    family: Family
    preference: int
    table: int
    mark: int = 0
    mask: int = 0
    source: str = ""
    destination: str = ""
    input_link: str = ""
    output_link: str = ""
    first_uid: int = -1
    last_uid: int = -1
    suppress_prefix_length: int = -1
    inverted: bool = False
    protocol: int = PROTOCOL_KERNEL
    has_other_selectors: bool = False


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A WireGuard link: the mark of its encrypted packets (0 for none), and its peers' endpoints.

    ``endpoints`` are prefixes of full length, sorted.
    """

    link: int
    mark: int = 0
    endpoints: tuple[str, ...] = ()
