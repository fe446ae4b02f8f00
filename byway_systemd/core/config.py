"""The configuration as a value, and the one table of its settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from byway_systemd.core.apps import (
    App,
    RefusedError,
    parse_app,
    parse_app_table,
    refuse_control_characters,
)
from byway_systemd.core.durations import parse_duration
from byway_systemd.core.traffic import (
    VPN_TABLE_NAME,
    Mode,
    Traffic,
    WhenVpnDown,
    read_boolean,
    read_cgroup,
    read_destination,
    read_subnet,
    read_users,
    read_vpn_table,
    split_values,
)

if TYPE_CHECKING:
    from collections.abc import Callable

AUTO = "auto"
DEFAULT_PROFILE = "default"
MOST_PROFILES = 32
LINKS_OWN_DNS = "direct"
_MOST_SERVERS = 8
GATE_SERVICE = "byway-gate.service"
GATE_CGROUP = f"/byway.slice/{GATE_SERVICE}"
GATE_OWN_CGROUP = f"{GATE_CGROUP}/gate"
HOLDER_SERVICE = "byway-apps.service"  # of a user's manager
HOLDER_CGROUP = f"/byway.slice/{HOLDER_SERVICE}"  # below the manager's


class WhenDown(StrEnum):
    """What bypassed traffic does while the direct link is down."""

    BLOCK = "block"
    VPN = "vpn"


class OnMove(StrEnum):
    """What becomes of a running app's open connections when it changes sides."""

    RESET = "reset"
    KEEP = "keep"


class Switch(StrEnum):
    """Whether something is used where the kernel can do it."""

    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Profile:
    """A way out: a link, what uses it, and a slice of its own.

    ``interface`` is a link's name or ``auto``; ``gateway``/``gateway6`` an address or ``auto``.
    ``dns`` are the servers that its programs' questions are led to, or (LINKS_OWN_DNS,), or nothing
    where names are looked up as ever.
    """

    name: str = DEFAULT_PROFILE
    interface: str = AUTO
    apps: tuple[App, ...] = ()
    gateway: str = AUTO
    gateway6: str = AUTO
    when_down: WhenDown = WhenDown.BLOCK
    dns: tuple[str, ...] = ()

    @property
    def slice(self) -> str:
        """The slice unit's name (systemd.slice(5): a dash makes a child)."""
        return "byway.slice" if self.name == DEFAULT_PROFILE else f"byway-{self.name}.slice"

    @property
    def slice_cgroup(self) -> str:
        """The slice's cgroup below the root of the hierarchy."""
        return "/byway.slice" if self.name == DEFAULT_PROFILE else f"/byway.slice/{self.slice}"

    @property
    def gate_cgroup(self) -> str:
        """Where the exec gate puts the profile's processes: delegated to it, below byway.slice."""
        return f"{GATE_CGROUP}/{self.name}"

    @property
    def cgroups(self) -> tuple[str, ...]:
        """The cgroups whose sockets leave by this profile's link."""
        if self.name == DEFAULT_PROFILE:
            return (self.slice_cgroup,)  # the gate's is below it
        return (self.slice_cgroup, self.gate_cgroup)

    @property
    def user_cgroups(self) -> tuple[str, ...]:
        """The same below a user's manager: a slice, and what the holder has of the profile."""
        if self.name == DEFAULT_PROFILE:
            return (self.slice_cgroup,)
        return (self.slice_cgroup, f"{HOLDER_CGROUP}/{self.name}")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything configured. ``reconcile`` is in microseconds, 0 switches the timer off."""

    profiles: tuple[Profile, ...] = (Profile(),)
    reconcile: int = 5_000_000
    mark_mask: int = 0x3F000000
    priority: int = 11600
    gate: Switch = Switch.AUTO
    on_move: OnMove = OnMove.RESET
    socket_marker: Switch = Switch.AUTO
    traffic: Traffic = field(default_factory=Traffic)


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: its dotted name (``*`` for a profile's name), how it reads, and what it means.

    ``is_list`` settings append across files and are read element by element; with ``splits`` a text
    of several elements may stand for a list.
    """

    key: str
    read: Callable[[object], object]
    default: str
    meaning: str
    is_list: bool = False
    splits: bool = False


def _text(value: object, what: str = "text") -> str:
    if not isinstance(value, str):
        raise RefusedError(f"not {what}: {value!r}", 'write it in quotes: "..."')
    refuse_control_characters(value)
    return value


def _read_interface(value: object) -> str:
    name = _text(value, "an interface name")
    # dev_valid_name() in net/core/dev.c; IFLA_ALT_IFNAME allows 127 bytes.
    if not name or len(name.encode()) > 127 or name in (".", "..") or re.search(r"[\s/:]", name):
        raise RefusedError(
            f"not an interface name: {name!r}", 'write a name as `ip link` shows it, or "auto"'
        )
    return name


def _read_reconcile(value: object) -> int:
    if not isinstance(value, str):
        raise RefusedError(
            f"not a duration: {value!r}", 'write a number and a unit in quotes, such as "5s"'
        )
    try:
        return parse_duration(value)
    except ValueError as error:
        raise RefusedError(
            str(error), 'write a number and a unit, such as "5s" or "1m30s"; "0" switches it off'
        ) from None


def _read_app(value: object) -> App:
    return parse_app(_text(value, "an app"))


def _read_gateway(family: type[IPv4Address | IPv6Address]) -> Callable[[object], str]:
    version = "IPv4" if family is IPv4Address else "IPv6"

    def read(value: object) -> str:
        text = _text(value, "an address")
        if text == AUTO:
            return text
        try:
            address = family(text)
        except ValueError:
            raise RefusedError(
                f"not an {version} address: {text!r}", f'write an {version} address or "auto"'
            ) from None
        if address.is_unspecified or address.is_loopback or address.is_multicast:
            raise RefusedError(f"cannot be a gateway: {text!r}", "write the router's address")
        return str(address)

    return read


def _read_choice(choices: type[StrEnum]) -> Callable[[object], StrEnum]:
    *others, last = (f'"{choice}"' for choice in choices)
    names = f"{', '.join(others)} or {last}"

    def read(value: object) -> StrEnum:
        try:
            return choices(_text(value))
        except ValueError:
            raise RefusedError(f"unknown value: {value!r}", f"write {names}") from None

    return read


def _read_dns(value: object) -> tuple[str, ...]:
    if value in ("system", LINKS_OWN_DNS):
        return () if value == "system" else (LINKS_OWN_DNS,)
    texts = split_values(value) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not texts or len(texts) > _MOST_SERVERS:
        remedy = f'write "system", "{LINKS_OWN_DNS}" or up to {_MOST_SERVERS} addresses'
        raise RefusedError(f"not DNS servers: {value!r}", remedy)
    return tuple(dict.fromkeys(_read_server(text) for text in texts))


def _read_server(value: object) -> str:
    text = _text(value, "an address")
    try:
        address = ip_address(text)
    except ValueError:
        remedy = f'write addresses, "system" or "{LINKS_OWN_DNS}"'
        raise RefusedError(f"not an address: {text!r}", remedy) from None
    useless = address.is_unspecified or address.is_multicast or address.is_link_local
    if address.is_loopback or useless:
        raise RefusedError(
            f"cannot be reached by the direct link: {text!r}", "write the server's own address"
        )
    return str(address)


def _read_mark_mask(value: object) -> int:
    text = _text(value, "a mask")
    if not re.fullmatch(r"0x[0-9a-fA-F]{1,8}", text):
        raise RefusedError(f"not a mask: {text!r}", 'write eight hex digits, such as "0x3f000000"')
    mask = int(text, 16)
    low = mask & -mask
    if mask == 0 or (mask // low) & (mask // low + 1) or mask.bit_count() < 2:
        raise RefusedError(
            f"not two or more bits in a row: {text!r}", 'write one such as "0x3f000000"'
        )
    return mask


def _read_priority(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 100 <= value <= 32000:
        raise RefusedError(f"not a rule preference: {value!r}", "write a number from 100 to 32000")
    return value


_PROFILE_SETTINGS = (
    Setting("interface", _read_interface, AUTO, "the direct link; auto: the best one not a VPN"),
    Setting("apps", _read_app, "[]", "programs, services and desktop apps that leave by it", True),  # noqa: FBT003
)
_APP_TABLES = Setting(
    "app", parse_app_table, "[]", "apps whose children go their own way: path, children, exclude",
    is_list=True,
)  # fmt: skip
_LINK_SETTINGS = (
    Setting("gateway", _read_gateway(IPv4Address), AUTO, "the direct link's IPv4 router"),
    Setting("gateway6", _read_gateway(IPv6Address), AUTO, "the direct link's IPv6 router"),
    Setting(
        "when_down",
        _read_choice(WhenDown),
        WhenDown.BLOCK,
        "while the direct link is down: block, or use the vpn",
    ),
    Setting(
        "dns",
        _read_dns,
        "system",
        "DNS servers its programs ask: system, direct (the link's own), or addresses",
    ),
)


def _list(key: str, read: Callable[[object], object], meaning: str) -> Setting:
    return Setting(key, read, "[]", meaning, is_list=True, splits=True)


_TRAFFIC_SETTINGS = (
    Setting("mode", _read_choice(Mode), Mode.BYPASS, "where all goes that nothing else decides"),
    Setting("vpn_interface", _read_interface, AUTO, "the VPN's link; auto: the tunnel there is"),
    Setting("vpn_table", read_vpn_table, VPN_TABLE_NAME, "the routing table of the VPN's link"),
    Setting("auto_local_bypass", read_boolean, "true", "keep LANs and containers off the VPN"),
    Setting(
        "when_vpn_down",
        _read_choice(WhenVpnDown),
        WhenVpnDown.BLOCK,
        "while the VPN is down: block what is for it, or let it go direct",
    ),
    _list("bypass", read_destination, "destinations that never use the VPN"),
    *(
        setting
        for side, way in (
            ("force_direct", "leave by the direct link"),
            ("force_vpn", "use the VPN"),
        )
        for setting in (
            _list(f"{side}.subnets", read_subnet, f"sources that {way}"),
            _list(f"{side}.uids", read_users, f"users whose programs {way}"),
            _list(f"{side}.cgroups", read_cgroup, f"cgroups and units that {way}"),
        )
    ),
    _list("force_vpn.destinations", read_destination, "destinations that use the VPN"),
)

SETTINGS: tuple[Setting, ...] = (
    *_PROFILE_SETTINGS,
    _APP_TABLES,
    Setting("reconcile", _read_reconcile, "5s", "how often the timer checks; 0 switches it off"),
    *(Setting(f"direct.{s.key}", s.read, s.default, s.meaning) for s in _LINK_SETTINGS),
    *(
        Setting(f"profile.*.{s.key}", s.read, s.default, s.meaning, s.is_list)
        for s in (*_PROFILE_SETTINGS, _APP_TABLES, *_LINK_SETTINGS)
    ),
    *(replace(setting, key=f"traffic.{setting.key}") for setting in _TRAFFIC_SETTINGS),
    Setting("placement.gate", _read_choice(Switch), Switch.AUTO, "hold an exec until it is placed"),
    Setting(
        "placement.on_move",
        _read_choice(OnMove),
        OnMove.RESET,
        "open connections of a running app that is placed: reset, or keep them until they close",
    ),
    Setting("kernel.mark_mask", _read_mark_mask, "0x3f000000", "the mark bits byway may use"),
    Setting(
        "kernel.socket_marker",
        _read_choice(Switch),
        Switch.AUTO,
        "mark sockets by eBPF when they are made, not only their packets",
    ),
    Setting("kernel.priority", _read_priority, "11600", "where byway's routing rules stand"),
)


def parse_profile_name(text: str) -> str:
    """Return a profile's name; raise RefusedError. It becomes part of a slice's name."""
    if not re.fullmatch(r"[a-z0-9_]{1,32}", text, re.ASCII) or text == DEFAULT_PROFILE:
        raise RefusedError(
            f"not a profile name: {text!r}",
            f"write 1 to 32 of a-z, 0-9 and _, not {DEFAULT_PROFILE!r}",
        )
    return text
