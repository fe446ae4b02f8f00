"""Bytes by app and link: of the TCP connections that are open, and of the links themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from byway_systemd.core.apps import AppKind
from byway_systemd.core.links import find_uplink
from byway_systemd.core.near import NearAddresses
from byway_systemd.core.placement import is_in_unit_of, match_executable, wanted_executables
from byway_systemd.core.steering import RELEASED, is_below
from byway_systemd.core.vpn import find_vpn_link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.network import LinkBytes
    from byway_systemd.core.observed import Observed, Process
    from byway_systemd.core.steering import Steering

_Key = tuple[str, str]  # an app and its profile


@dataclass(frozen=True, slots=True)
class Connection:
    """An open TCP connection: its ends' addresses, the index of the link it is bound to (or 0).

    ``sent`` and ``received`` are bytes since it was opened, those that were sent again included.
    """

    inode: int
    local: str
    remote: str
    bound: int = 0
    mark: int = 0
    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Owner:
    """A process and the inodes of the sockets that it has open."""

    process: Process
    sockets: frozenset[int]


@dataclass(frozen=True, slots=True)
class Carried:
    """What was seen at one moment: who owns sockets, those that are connections, and the links."""

    owners: tuple[Owner, ...] = ()
    connections: tuple[Connection, ...] = ()
    links: tuple[LinkBytes, ...] = ()


def find_counted(steering: Steering) -> tuple[str, ...]:
    """Return the cgroups whose processes are counted: those that belong to a profile."""
    return tuple(cgroup for cgroup, profile in steering.places if profile != RELEASED)


def build_counters(
    desired: Desired, steering: Steering, observed: Observed, carried: Carried
) -> dict[str, Any]:
    """Return the bytes of every listed app by link, and of every link, as a JSON value.

    A connection that does not leave the machine is not counted.
    """
    apps = _owning_apps(desired, steering, observed, carried)
    ways = _Ways(desired, steering, observed)
    names = {link.index: link.name for link in observed.links}
    kept = {0, *(link.index for link in observed.links if not link.loopback)}
    sums: dict[_Key, dict[int, Counter[str]]] = {
        (str(app), profile.name): {} for profile in desired.profiles for app in profile.apps
    }
    for one in carried.connections:
        key = apps.get(one.inode)
        link = ways.link_of(one, key[1]) if key else 0
        if key in sums and link in kept and one.local != one.remote:
            sums[key].setdefault(link, Counter()).update(
                connections=1, sent=one.sent, received=one.received
            )
    return {
        "apps": [
            {"app": app, "profile": profile, "links": _present(links, names)}
            for (app, profile), links in sums.items()
        ],
        "links": _present_links(desired, observed, carried),
    }


def _present(links: Mapping[int, Counter[str]], names: Mapping[int, str]) -> list[dict[str, Any]]:
    return [
        {"link": names.get(index, "")}
        | {name: counts[name] for name in ("connections", "sent", "received")}
        for index, counts in sorted(links.items())
    ]


def _present_links(desired: Desired, observed: Observed, carried: Carried) -> list[dict[str, Any]]:
    vpn = find_vpn_link(desired, observed)
    roles = {vpn.index: "vpn"} if vpn else {}
    uplinks = (find_uplink(exit_, observed) for exit_ in desired.exits)
    roles |= {uplink.link.index: "direct" for uplink in uplinks if uplink.link}
    counts = {one.index: one for one in carried.links}
    return [
        {
            "link": link.name,
            "role": roles.get(link.index, "other"),
            "state": "up" if link.up else "down",
            "sent": counts[link.index].sent,
            "received": counts[link.index].received,
        }
        for link in observed.links
        if not link.loopback and link.index in counts
    ]


class _Ways:
    """By which link connections leave, as far as their sockets tell."""

    def __init__(self, desired: Desired, steering: Steering, observed: Observed) -> None:
        vpn = find_vpn_link(desired, observed)
        uplinks = (find_uplink(exit_, observed) for exit_ in desired.exits)
        self._by_mark = {desired.vpn_mark: vpn.index} if vpn else {}
        self._by_mark |= {u.exit.mark: u.link.index for u in uplinks if u.link}
        self._by_address = {
            address.partition("/")[0]: link.index
            for link in observed.links
            for address in link.addresses
        }
        self._mask = desired.mark_mask
        self._near = NearAddresses(steering.near)
        # Where sockets are not marked, their packets are, and their source is rewritten.
        marked = desired.marks_sockets and not observed.marker_fault
        names = () if marked else {one.profile for one in steering.cgroups}
        self._assumed = {name: steering.verdict(name).mark for name in names}

    def link_of(self, connection: Connection, profile: str) -> int:
        """Return the link's index, 0 when it cannot be told."""
        if connection.bound:
            return connection.bound
        source = self._by_address.get(connection.local, 0)
        if self._near.holds(connection.remote.partition("%")[0]):
            return source
        mark = connection.mark & self._mask or self._assumed.get(profile, 0)
        return self._by_mark.get(mark, source)


def _owning_apps(
    desired: Desired, steering: Steering, observed: Observed, carried: Carried
) -> dict[int, _Key]:
    """Return (app, profile) by the inode of each socket; one that several share is the first's."""
    executables = wanted_executables(observed)
    found: dict[int, _Key] = {}
    for owner in carried.owners:
        process = owner.process
        match = match_executable(process, executables)
        app = str(match.app) if match else process.app
        app = app or _unit_app(process.cgroup, desired, observed)
        if app:
            key = (app, steering.profile_of(process.cgroup))
            found = dict.fromkeys(owner.sockets, key) | found
    return found


def _unit_app(cgroup: str, desired: Desired, observed: Observed) -> str:
    """Return the app that a cgroup is a unit of, or is adopted for; empty when there is none."""
    parts = frozenset(cgroup.split("/"))
    for app in (app for profile in desired.profiles for app in profile.apps):
        if (app.kind is AppKind.UNIT and app.value in parts) or is_in_unit_of(cgroup, app):
            return str(app)
    return next((group.app for group in observed.groups if is_below(cgroup, group.cgroup)), "")
