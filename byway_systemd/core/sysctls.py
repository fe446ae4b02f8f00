"""The kernel's settings that byway needs, and what they were before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byway_systemd.core.network import Family
from byway_systemd.core.operations import Operation, RestoreSysctl, WriteSysctl

if TYPE_CHECKING:
    from byway_systemd.core.links import Uplink
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.vpn import Vpn

SETTINGS = {  # of net/FAMILY/conf/LINK
    "ipv4": ("src_valid_mark", "route_localnet"),
    "ipv6": ("router_probe_interval",),
}
_BECAUSE = {
    "src_valid_mark": "strict rp_filter must look at the mark",
    "route_localnet": "DNS answers go back to the loopback",
    "router_probe_interval": "a router that was away is asked again at once",
}


def filter_sysctls(uplinks: tuple[Uplink, ...], vpn: Vpn | None = None) -> dict[str, str]:
    """Return the settings that reverse path filters need: they must look at the mark."""
    links = [uplink.link for uplink in uplinks] + ([vpn.link] if vpn else [])
    return {f"net/ipv4/conf/{link.name}/src_valid_mark": "1" for link in links if link}


def router_sysctls(uplinks: tuple[Uplink, ...]) -> dict[str, str]:
    """Return the setting that lets IPv6 come back when its router does.

    Where a router has not answered, the kernel takes the next route of a higher metric: in byway's
    tables that is the last resort, and so all is unreachable until the router is probed again (RFC
    4191, 3.5; ``rt6_probe`` of net/ipv6/route.c). By default that takes a minute.
    """
    return {
        f"net/ipv6/conf/{uplink.link.name}/router_probe_interval": "1"  # seconds
        for uplink in uplinks
        if uplink.link
        and any(route.gateway and route.family is Family.IPV6 for route in uplink.defaults)
    }


def plan_sysctls(
    wanted: dict[str, str], observed: Observed, *, guarded: bool = False
) -> tuple[list[Operation], list[Operation]]:
    """Return the operations that set ``wanted``, and those that put back what is wanted no more.

    ``guarded`` ones are those that are safe only while byway's table is there.
    """
    seen = dict(observed.sysctls)
    saved = {
        key: value
        for key, value in observed.saved_sysctls
        if key.endswith("/route_localnet") is guarded
    }
    up: list[Operation] = [
        WriteSysctl(key, value, key not in saved, _BECAUSE[key.rpartition("/")[2]])
        for key, value in wanted.items()
        if key in seen and seen[key] != value
    ]
    down: list[Operation] = [
        RestoreSysctl(key, value, "byway does not need it any more")
        for key, value in saved.items()
        if key not in wanted
    ]
    return up, down
