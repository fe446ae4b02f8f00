"""Traffic: the mode, and what goes its own way by subnet, user, cgroup or destination."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Network, ip_network
from typing import TYPE_CHECKING

from byway_systemd.core.apps import RefusedError, refuse_control_characters
from byway_systemd.core.network import Family
from byway_systemd.core.prefixes import collapse, read_plain_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VPN_TABLE_NAME = "agvpn"
VPN_TABLE = 11653  # the last of byway's own routing tables, `agvpn` in rt_tables.d
SPARE_TABLES = range(11622, VPN_TABLE + 1)  # byway's own, behind those of the most profiles
_TABLE_REMEDY = (
    f'write "{VPN_TABLE_NAME}", a registered name,'
    f" or a number from {SPARE_TABLES[0]} to {SPARE_TABLES[-1]}"
)
LAST_UID = 0xFFFFFFFE  # (uid_t) -1 is nobody's
_MAPPED = IPv6Network("::ffff:0:0/96")  # RFC 4291, 2.5.5.2: IPv4 on the wire
_SEPARATORS = re.compile(r"[,;\n]")
# RFC 1123: labels of letters, digits and hyphens, at most 253 characters; `_` as DNS has it, too.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)
_USER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,255}\$?", re.ASCII)
_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_UIDS = re.compile(r"([0-9]{1,10})(?:\s*-\s*([0-9]{1,10}))?", re.ASCII)


class Mode(StrEnum):
    """Where traffic goes that nothing else decides about."""

    BYPASS = "bypass"
    FULL_TUNNEL = "full_tunnel"
    SELECTIVE = "selective"
    DIRECT = "direct"

    @property
    def meaning(self) -> str:
        """What the mode does, in a few words."""
        return {
            Mode.BYPASS: "as the VPN client has it, less what is direct",
            Mode.FULL_TUNNEL: "everything by the VPN, less what is direct",
            Mode.SELECTIVE: "only what is forced to it by the VPN, the rest direct",
            Mode.DIRECT: "everything direct, less what is forced to the VPN",
        }[self]

    @property
    def leads_direct(self) -> bool:
        """Whether what nothing else decides goes by the direct link."""
        return self in (Mode.SELECTIVE, Mode.DIRECT)


class WhenVpnDown(StrEnum):
    """What traffic for the VPN does while the VPN is down."""

    BLOCK = "block"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True, order=True)
class Users:
    """A range of user ids, both ends in it; ``name`` is a user's whose id is looked up later."""

    first: int
    last: int
    name: str = ""

    def __str__(self) -> str:
        return self.name or (str(self.first) + (f"-{self.last}" if self.last > self.first else ""))


@dataclass(frozen=True, slots=True)
class Table:
    """A routing table of byway's own; ``name`` is one whose number is looked up later."""

    number: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What is forced to one side: prefixes of sources and destinations, users, cgroups.

    ``destinations`` may hold names of hosts. A cgroup is a path from the root of the hierarchy, or
    the bare name of one.
    """

    subnets: tuple[str, ...] = ()
    uids: tuple[Users, ...] = ()
    cgroups: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.subnets or self.uids or self.cgroups or self.destinations)

    def sources(self, family: Family) -> tuple[str, ...]:
        """Return the prefixes of a family, canonical, without overlaps, sorted."""
        return collapse_prefixes(self.subnets, family)

    def resolve_destinations(self, host_addresses: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
        """Return the destinations as they are, and behind them the prefixes of those with names.

        ``host_addresses`` are (name, prefix), also of hosts that are not among them.
        """
        names = {value for value in self.destinations if "/" not in value}
        resolved = (prefix for name, prefix in host_addresses if name in names)
        return (*self.destinations, *resolved)

    def has_user(self, uid: int) -> bool:
        """Whether one of the ranges of ids holds ``uid``."""
        return any(u.first <= uid <= u.last for u in self.uids if not u.name)

    def user_ranges(self) -> tuple[tuple[int, int], ...]:
        """Return (first, last) of the ranges of ids, without overlaps, sorted; no names."""
        joined: list[tuple[int, int]] = []
        for users in sorted(users for users in self.uids if not users.name):
            if joined and users.first <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], users.last))
            else:
                joined.append((users.first, users.last))
        return tuple(joined)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The mode, the VPN's link and table, and the overrides (``bypass`` is of force_direct)."""

    mode: Mode = Mode.BYPASS
    vpn_interface: str = "auto"
    vpn_table: Table = Table(VPN_TABLE)
    auto_local_bypass: bool = True
    when_vpn_down: WhenVpnDown = WhenVpnDown.BLOCK
    force_direct: Overrides = Overrides()
    force_vpn: Overrides = Overrides()

    @property
    def uses_vpn(self) -> bool:
        """Whether byway leads anything to the VPN itself."""
        return self.mode in (Mode.FULL_TUNNEL, Mode.SELECTIVE) or bool(self.force_vpn)

    @property
    def cgroups(self) -> tuple[str, ...]:
        """The cgroups of both sides."""
        return (*self.force_direct.cgroups, *self.force_vpn.cgroups)

    @property
    def bare_names(self) -> frozenset[str]:
        """The names of cgroups that are to be looked for."""
        return frozenset(cgroup for cgroup in self.cgroups if not cgroup.startswith("/"))

    @property
    def host_names(self) -> tuple[str, ...]:
        """The names among the destinations of both sides, sorted."""
        values = (*self.force_direct.destinations, *self.force_vpn.destinations)
        return tuple(sorted({value for value in values if "/" not in value}))

    @property
    def sides(self) -> tuple[tuple[str, Overrides], ...]:
        """The overrides with their names in the configuration."""
        return (("force_direct", self.force_direct), ("force_vpn", self.force_vpn))


@lru_cache(maxsize=16)  # seconds for 100,000 prefixes, and they seldom change
def collapse_prefixes(values: tuple[str, ...], family: Family) -> tuple[str, ...]:
    """Return the prefixes of ``family`` among ``values``, without overlaps, sorted as text."""
    is_ipv6 = family is Family.IPV6
    chosen = tuple(value for value in values if "/" in value and (":" in value) is is_ipv6)
    return collapse(chosen, 128 if is_ipv6 else 32)


def resolve_users(
    traffic: Traffic, look_up: Callable[[str], int | None]
) -> tuple[Traffic, tuple[str, ...]]:
    """Return ``traffic`` with the ids of named users, and the names that nobody has (left out)."""
    unknown: list[str] = []

    def resolve(overrides: Overrides) -> Overrides:
        return replace(overrides, uids=tuple(_resolve(overrides.uids, look_up, unknown)))

    resolved = replace(
        traffic,
        force_direct=resolve(traffic.force_direct),
        force_vpn=resolve(traffic.force_vpn),
    )
    return resolved, tuple(sorted(set(unknown)))


def _resolve(
    uids: tuple[Users, ...], look_up: Callable[[str], int | None], unknown: list[str]
) -> Iterator[Users]:
    for users in uids:
        uid = look_up(users.name) if users.name else None
        if uid is not None:
            yield Users(uid, uid)
        elif users.name:
            unknown.append(users.name)
        else:
            yield users


def split_values(text: str) -> list[str]:
    """Return the parts of a text that commas, semicolons or newlines separate."""
    return [part.strip() for part in _SEPARATORS.split(text) if part.strip()]


def read_boolean(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise RefusedError(f"not true or false: {value!r}", "write true or false, without quotes")
    return value


def read_vpn_table(value: object) -> Table:
    """Return a routing table of byway's own, or its name."""
    if value == VPN_TABLE_NAME:
        return Table(VPN_TABLE)
    if isinstance(value, str):
        if _TABLE_NAME.fullmatch(value):
            return Table(VPN_TABLE, value)
        remedy = f"{_TABLE_REMEDY}, without quotes"
        raise RefusedError(f"not the name of a routing table: {value!r}", remedy)
    if isinstance(value, int) and not isinstance(value, bool):
        return own_table(value, repr(value))
    raise RefusedError(f"not a routing table: {value!r}", _TABLE_REMEDY)


def own_table(number: int, shown: str) -> Table:
    """Return the table of that number; raise RefusedError if it is not one of byway's own.

    No route carries byway's marker in a table of others: it could not tell theirs from its own.
    """
    if number in SPARE_TABLES:
        return Table(number)
    raise RefusedError(
        f"not a table of byway's own: {shown}: routes of others in it would be removed",
        _TABLE_REMEDY,
    )


def read_subnet(value: object) -> str:
    """Return a prefix in canonical form; a single address is one of full length."""
    text = _read_text(value, "a subnet")
    if "%" in text:  # ip_network() takes what the kernel does not
        raise RefusedError(f"of one link only: {text!r}", "write it without %LINK")
    try:
        return str(ip_network(text))
    except ValueError:
        pass
    try:
        remedy = f"write the subnet's first address: {ip_network(text, strict=False)}"
    except ValueError:
        remedy = "write one such as 172.18.0.0/16, 192.0.2.7 or 2001:db8::/48"
    raise RefusedError(f"not a subnet: {text!r}", remedy)


def read_destination(value: object) -> str:
    """Return a prefix in canonical form, or a host's name in lower case without a last dot."""
    text = _read_text(value, "a destination")
    if plain := read_plain_prefix(text):
        return plain
    if ":" in text or "/" in text or re.fullmatch(r"[0-9.]+", text):
        prefix = read_subnet(text)
        network = ip_network(prefix)
        if network.prefixlen == 0:
            raise RefusedError(
                f"everything: {text!r}", 'write mode = "direct" or "full_tunnel" for that'
            )
        if network.is_loopback or network.is_multicast or network.is_unspecified:
            raise RefusedError(f"never leaves by any link: {text!r}", "remove it")
        if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
            raise RefusedError(f"never leaves by any link: {text!r}", "write it as IPv4")
        return prefix
    name = text.removesuffix(".").lower()
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise RefusedError(
            f"not an address, a prefix or a host's name: {text!r}",
            "write one such as 203.0.113.7, 2001:db8::/48 or relay.example.net",
        )
    if name == "localhost" or name.endswith(".localhost"):
        raise RefusedError(f"never leaves by any link: {text!r}", "remove it")
    return name


def read_users(value: object) -> Users:
    """Return a range of user ids, from an id, a range or a user's name."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = _read_text(value, "a user")
    if found := _UIDS.fullmatch(text):
        first, last = int(found[1]), int(found[2] or found[1])
        if first > last:
            raise RefusedError(f"ends before it begins: {text!r}", f"write {last}-{first}")
        if last > LAST_UID:
            raise RefusedError(f"not a user id: {text!r}", f"write at most {LAST_UID}")
        return Users(first, last)
    if not _USER_NAME.fullmatch(text):
        raise RefusedError(
            f"not a user: {text!r}", 'write a user id "1000", a range "1000-1010" or a name'
        )
    return Users(0, 0, text)


def read_cgroup(value: object) -> str:
    """Return a cgroup's path from the root of the hierarchy, or its bare name."""
    text = _read_text(value, "a cgroup").removeprefix("/sys/fs/cgroup")
    parts = text.strip("/").split("/")
    if not text.strip("/"):
        raise RefusedError(f"every cgroup: {text!r}", "write one such as /system.slice/NAME")
    if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts):
        raise RefusedError(f"not a cgroup: {text!r}", "write it without //, . and ..")
    if len(text.encode()) > 4000:
        raise RefusedError("the path is too long", "write at most 4000 bytes")
    if "/" in text:
        return "/" + "/".join(parts)
    return parts[0] if "." in parts[0] else f"{parts[0]}.service"


def _read_text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise RefusedError(f"not {what}: {value!r}", 'write it in quotes: "..."')
    refuse_control_characters(value)
    text = value.strip()
    if not text:
        raise RefusedError(f"empty: {value!r}", "remove it")
    return text
