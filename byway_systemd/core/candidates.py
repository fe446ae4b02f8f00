"""What a traffic section could list: subnets, units, users and links there are, and presets."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from byway_systemd.core.links import is_tunnel
from byway_systemd.core.network import MAIN_TABLE, RouteKind

if TYPE_CHECKING:
    from byway_systemd.core.network import Link
    from byway_systemd.core.observed import Observed

# How container engines, libvirt and CNI plugins call the links that their networks are behind.
_CONTAINER_LINKS = ("docker*", "br-*", "veth*", "cni*", "podman*", "virbr*", "lxc*", "lxd*")


@dataclass(frozen=True, slots=True)
class RunningUnit:
    """A service or scope that runs, and its cgroup, as ``cgroups`` takes it."""

    name: str
    cgroup: str


@dataclass(frozen=True, slots=True)
class RunningUser:
    """A user id with processes, the user's name (empty without one) and some of what they run."""

    uid: int
    name: str
    programs: tuple[str, ...]


def is_container_link(link: Link) -> bool:
    """Whether a link has the name of one that containers or virtual machines are behind."""
    return any(fnmatchcase(link.name, pattern) for pattern in _CONTAINER_LINKS)


def list_subnets(observed: Observed) -> list[dict[str, str]]:
    """Return the connected prefixes of the main table, both families, but tunnels' and loopback's.

    Link-local ones are no candidates.
    """
    links = {link.index: link for link in observed.links}
    found: dict[str, dict[str, str]] = {}
    for route in observed.routes:
        link = links.get(route.link)
        connected = route.table == MAIN_TABLE and route.kind is RouteKind.UNICAST
        if link is None or not connected or route.gateway or route.is_default:
            continue
        if link.loopback or is_tunnel(link) or route.destination.startswith("fe80:"):
            continue
        kind = "container" if is_container_link(link) else "lan"
        found.setdefault(
            route.destination, {"subnet": route.destination, "link": link.name, "kind": kind}
        )
    return list(found.values())


def list_links(observed: Observed) -> list[dict[str, str]]:
    """Return the tunnels, and the links that a default route of the main table leads out by."""
    return [link for link in list_all_links(observed) if link["kind"] != "other"]


def list_all_links(observed: Observed) -> list[dict[str, str]]:
    """Return every link but loopback; an ``uplink`` has a default route of the main table."""
    uplinks = {
        route.link
        for route in observed.routes
        if route.table == MAIN_TABLE and route.is_default and route.kind is RouteKind.UNICAST
    }
    return [
        {
            "link": link.name,
            "kind": _kind(link, uplinks),
            "state": "up" if link.up else "down",
        }
        for link in observed.links
        if not link.loopback
    ]


def _kind(link: Link, uplinks: set[int]) -> str:
    if is_tunnel(link):
        return "tunnel"
    return "uplink" if link.index in uplinks else "other"


def build_candidates(
    observed: Observed, units: tuple[RunningUnit, ...], users: tuple[RunningUser, ...]
) -> dict[str, Any]:
    """Return all candidates as a JSON value; ``presets`` are values of force_direct.subnets."""
    subnets = list_subnets(observed)
    of_kind = {
        kind: [subnet["subnet"] for subnet in subnets if subnet["kind"] == kind]
        for kind in ("lan", "container")
    }
    return {
        "subnets": subnets,
        "units": [{"unit": unit.name, "cgroup": unit.cgroup} for unit in units],
        "users": [
            {"uid": user.uid, "user": user.name, "programs": list(user.programs)} for user in users
        ],
        "links": list_links(observed),
        "presets": [
            {"name": "Keep LAN direct", "subnets": of_kind["lan"]},
            {"name": "Keep Docker direct", "subnets": of_kind["container"]},
        ],
    }
