"""The traffic section of the status: what is asked for, and what has come of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from byway_systemd.core.conflicts import warn_of_cgroups
from byway_systemd.core.operations import (
    AddRoute,
    AddRule,
    DeleteRoute,
    DeleteRule,
    ReplaceTable,
    UpdateSet,
)
from byway_systemd.core.steering import forced_cgroups
from byway_systemd.core.vpn import find_vpn

if TYPE_CHECKING:
    from byway_systemd.core.describe import JsonObject
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.operations import Operation

_FIELDS = ("subnets", "uids", "cgroups", "destinations")
_OF_THE_MODE = (AddRoute, AddRule, DeleteRoute, DeleteRule, ReplaceTable, UpdateSet)


def present_traffic(
    desired: Desired, observed: Observed, remaining: tuple[Operation, ...]
) -> JsonObject:
    """Return the section as a JSON value; ``remaining`` is what the plan would still do.

    ``applied_mode`` is None while routes, rules or the firewall's table are not as they should be,
    and while the routes are cleared.
    """
    traffic, vpn = desired.traffic, find_vpn(replace(desired, cleared=False), observed)
    counts = {
        side: {name: len(getattr(overrides, name)) for name in _FIELDS}
        for side, overrides in traffic.sides
    }
    bypass = counts["force_direct"]["destinations"]
    applied = not any(isinstance(operation, _OF_THE_MODE) for operation in remaining)
    shown: JsonObject = {
        "mode": str(traffic.mode),
        "applied_mode": str(traffic.mode) if applied and not desired.cleared else None,
        "routes_cleared": desired.cleared,
        "vpn": None,
        "overrides": counts,
        "override_count": sum(sum(one.values()) for one in counts.values()) - bypass,
        "bypass_routes": _count_bypass_routes(desired, observed),
        "resolved_cgroups": _count_cgroups(desired, observed),
        "cgroup_warnings": list(warn_of_cgroups(desired, observed)) if desired.exits else [],
    }
    if vpn:
        shown["vpn"] = {
            "interface": traffic.vpn_interface,
            "link": vpn.link.name if vpn.link else None,
            "usable": vpn.usable,
            "when_down": str(traffic.when_vpn_down),
            "table": vpn.table,
            "endpoints": list(vpn.endpoints),
        }
    return shown


def _count_bypass_routes(desired: Desired, observed: Observed) -> int:
    """Count the prefixes that are bypassed: those that are listed, and the hosts' addresses."""
    listed = desired.traffic.force_direct.destinations
    names = {value for value in listed if "/" not in value}
    return len(listed) - len(names) + sum(name in names for name, _ in observed.host_addresses)


def _count_cgroups(desired: Desired, observed: Observed) -> int:
    """Count the cgroups there are of those that the overrides ask for."""
    there = {path for path, _ in observed.cgroup_ids}
    sides = (overrides for _, overrides in desired.traffic.sides)
    return len({path for side in sides for path in forced_cgroups(side, observed)} & there)
