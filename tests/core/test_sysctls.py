"""The kernel's settings: which links get which, and that they are put back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fake_system import FakeSystem
from worlds import configured, laptop

from byway_systemd.core.desired import Desired
from byway_systemd.core.network import Family
from byway_systemd.core.operations import WriteSysctl
from byway_systemd.core.plan import plan
from byway_systemd.reconcile import reconcile

if TYPE_CHECKING:
    from byway_systemd.core.observed import Observed

PROBES = "net/ipv6/conf/wwan0/router_probe_interval"
FILTER = "net/ipv4/conf/wwan0/src_valid_mark"


def with_settings() -> Observed:
    """Each link as the kernel makes it."""
    values = {
        "net/ipv4/conf/{}/src_valid_mark": "0",
        "net/ipv6/conf/{}/router_probe_interval": "60",
    }
    sysctls = [(key.format(n), v) for key, v in values.items() for n in ("wlan0", "wwan0")]
    return replace(laptop(), sysctls=tuple(sysctls))


def written(observed: Observed) -> dict[str, str]:
    return {o.key: o.value for o in plan(configured(), observed) if isinstance(o, WriteSysctl)}


def test_the_direct_link_has_what_it_needs() -> None:
    """IPv6's only where the link has a router of it, and the kernel the setting."""
    observed = with_settings()
    assert written(observed) == {FILTER: "1", PROBES: "1"}
    of_ipv4 = tuple(route for route in observed.routes if route.family is Family.IPV4)
    assert written(replace(observed, routes=of_ipv4)) == {FILTER: "1"}
    assert written(laptop()) == {FILTER: "1"}


def test_what_was_there_is_put_back() -> None:
    system = FakeSystem(with_settings())
    reconcile(system, configured())
    assert dict(system.observed.sysctls)[PROBES] == "1"
    reconcile(system, Desired.empty())
    assert system.observed.sysctls == with_settings().sysctls
    assert not system.observed.saved_sysctls
