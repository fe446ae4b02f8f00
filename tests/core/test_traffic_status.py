"""The traffic section of the status."""

from __future__ import annotations

from dataclasses import replace

import pytest
from worlds import laptop

from byway_systemd.core.config import Config, Profile
from byway_systemd.core.desired import Desired, desire
from byway_systemd.core.operations import DeleteTable, Operation, StopUnit
from byway_systemd.core.plan import plan
from byway_systemd.core.traffic import Mode, Overrides, Traffic, Users
from byway_systemd.core.traffic_status import present_traffic


def wanted(traffic: Traffic) -> Desired:
    return desire(Config(profiles=(Profile(interface="wwan0"),), traffic=traffic))


def test_what_has_come_of_what_is_asked_for() -> None:
    traffic = Traffic(
        Mode.DIRECT,
        force_direct=Overrides(
            cgroups=("/a.slice", "b.service", "c.service"),
            destinations=("192.0.2.0/24", "relay.example", "other.example"),
        ),
        force_vpn=Overrides(uids=(Users(5, 9),), cgroups=("/gone.slice",)),
    )
    observed = replace(
        laptop(),
        cgroup_ids=(("/a.slice", 1), ("/x/b.service", 2), ("/y/b.service", 3), ("/z", 4)),
        named_cgroups=(("b.service", "/x/b.service"), ("b.service", "/y/b.service")),
        host_addresses=(("relay.example", "198.51.100.1/32"), ("relay.example", "2001:db8::1/128")),
    )
    shown = present_traffic(wanted(traffic), observed, ())
    assert (shown["mode"], shown["applied_mode"]) == ("direct", "direct")
    assert shown["bypass_routes"] == 3
    assert shown["override_count"] == 5
    assert shown["resolved_cgroups"] == 3
    missing = [warning.split(":")[1].strip() for warning in shown["cgroup_warnings"]]
    assert missing == ["c.service", "/gone.slice"]


def test_mode_that_could_not_be_applied() -> None:
    desired = wanted(Traffic(Mode.DIRECT))
    remaining = plan(desired, laptop())
    shown = present_traffic(desired, laptop(), remaining)
    assert (shown["mode"], shown["applied_mode"]) == ("direct", None)


@pytest.mark.parametrize("operation", [StopUnit("a.service", "x"), DeleteTable("other", "x")])
def test_what_is_not_of_the_mode(operation: Operation) -> None:
    shown = present_traffic(wanted(Traffic()), laptop(), (operation,))
    assert shown["applied_mode"] == "bypass"


def test_without_a_configuration() -> None:
    shown = present_traffic(Desired.empty(), laptop(), ())
    assert (shown["bypass_routes"], shown["cgroup_warnings"]) == (0, [])
