"""Bytes by app and link."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from worlds import ALICE, CURL, configured, laptop

from byway_systemd.core.apps import parse_app
from byway_systemd.core.config import Config, Profile
from byway_systemd.core.counters import (
    Carried,
    Connection,
    Owner,
    build_counters,
    find_counted,
)
from byway_systemd.core.desired import Desired, desire
from byway_systemd.core.network import LinkBytes
from byway_systemd.core.observed import Group, Observed, Process, Service
from byway_systemd.core.steering import find_steering

DIRECT, VPN = 0x01000000, 0x02000000
FAR = "198.51.100.1"
OWN = Process(100, 5, "/usr/bin/curl", 8, 42, "/byway.slice/x.scope")


def count(
    *connections: Connection,
    process: Process = OWN,
    desired: Desired | None = None,
    observed: Observed | None = None,
) -> dict[str, Any]:
    desired, observed = desired or configured(), observed or laptop()
    owner = Owner(process, frozenset(range(1, 50)))
    steering = find_steering(desired, observed)
    return build_counters(desired, steering, observed, Carried((owner,), connections))


def link_of(connection: Connection, **changes: Any) -> list[str]:
    (app,) = count(connection, **changes)["apps"]
    return [one["link"] for one in app["links"]]


@pytest.mark.parametrize(
    ("connection", "links"),
    [
        (Connection(1, "10.64.0.2", FAR, mark=DIRECT), ["wwan0"]),
        (Connection(1, "2001:db8:2::2", "2001:db8:99::1", mark=DIRECT), ["wwan0"]),
        # A wrong source is rewritten: the mark decides.
        (Connection(1, "10.99.0.2", FAR, mark=DIRECT | 5), ["wwan0"]),
        (Connection(1, "192.168.1.10", FAR, mark=VPN), ["wg0"]),
        (Connection(1, "10.64.0.2", FAR, bound=2, mark=DIRECT), ["wlan0"]),
        # What is near stays near, whatever its mark; a foreign mark says nothing.
        (Connection(1, "192.168.1.10", "192.168.1.5", mark=DIRECT), ["wlan0"]),
        (Connection(1, "10.99.0.2", FAR, mark=51820), ["wg0"]),
        (Connection(1, "10.99.0.2", FAR), ["wg0"]),
        (Connection(1, "192.0.2.77", FAR), [""]),
        # What does not leave the machine is not counted, and neither is another's.
        (Connection(1, "127.0.0.1", "127.0.0.1"), []),
        (Connection(1, "192.168.1.10", "192.168.1.10"), []),
        (Connection(99, "10.64.0.2", FAR, mark=DIRECT), []),
    ],
)
def test_the_link_of_a_connection(connection: Connection, links: list[str]) -> None:
    assert link_of(connection) == links


def test_where_sockets_are_not_marked_the_profile_decides() -> None:
    wrong = Connection(1, "10.99.0.2", FAR)
    assert link_of(wrong) == ["wg0"]
    assert link_of(wrong, desired=replace(configured(), marks_sockets=False)) == ["wwan0"]
    assert link_of(wrong, observed=replace(laptop(), marker_fault="no eBPF")) == ["wwan0"]


def test_sums_by_app_and_link() -> None:
    connections = (
        Connection(1, "10.64.0.2", FAR, mark=DIRECT, sent=5, received=7),
        Connection(2, "10.64.0.2", FAR, mark=DIRECT, sent=10, received=0),
        Connection(3, "192.168.1.10", "192.168.1.5", mark=DIRECT, sent=1, received=2),
    )
    assert count(*connections)["apps"] == [
        {
            "app": "/usr/bin/curl",
            "profile": "default",
            "links": [
                {"link": "wlan0", "connections": 1, "sent": 1, "received": 2},
                {"link": "wwan0", "connections": 2, "sent": 15, "received": 7},
            ],
        }
    ]


def test_a_listed_app_without_a_connection_is_there() -> None:
    assert count()["apps"] == [{"app": "/usr/bin/curl", "profile": "default", "links": []}]


@pytest.mark.parametrize(
    ("app", "process"),
    [
        ("/usr/bin/curl", OWN),
        # A child of what byway placed, and of what runs in a unit that is listed or adopted.
        ("/usr/bin/curl", replace(OWN, inode=1, app="/usr/bin/curl")),
        ("unit:a.service", replace(OWN, inode=1, cgroup="/byway.slice/a.service")),
        ("unit:b.service", replace(OWN, inode=1, cgroup="/system.slice/b.service/payload")),
        ("desktop:x.y", replace(OWN, inode=1, cgroup=f"{ALICE}/byway.slice/app-x.y-7.scope")),
        ("snap:s", replace(OWN, inode=1, cgroup="/user.slice/s.scope")),
    ],
)
def test_the_app_of_a_process(app: str, process: Process) -> None:
    apps = ("/usr/bin/curl", "unit:a.service", "unit:b.service", "desktop:x.y", "snap:s")
    profile = Profile(interface="wwan0", apps=tuple(parse_app(one) for one in apps))
    observed = replace(
        laptop(),
        services=(Service("b.service", "/system.slice/b.service"),),
        groups=(Group("/user.slice/s.scope", "default", "snap:s"),),
        executables=(replace(CURL, app=parse_app("/usr/bin/curl")),),
    )
    one = Connection(1, "10.64.0.2", FAR, mark=DIRECT)
    desired = desire(Config(profiles=(profile,)))
    steering = find_steering(desired, observed)
    places = (*steering.places, (f"{ALICE}/byway.slice", "default"))
    owner = Owner(process, frozenset([1]))
    counted = build_counters(
        desired, replace(steering, places=places), observed, Carried((owner,), (one,))
    )
    assert [each["app"] for each in counted["apps"] if each["links"]] == [app]


def test_what_is_not_listed_or_not_placed_is_not_counted() -> None:
    one = Connection(1, "10.64.0.2", FAR, mark=DIRECT)
    assert link_of(one, process=replace(OWN, inode=1)) == []
    assert link_of(one, process=replace(OWN, cgroup="/user.slice")) == []


def test_the_links_and_their_roles() -> None:
    carried = Carried(links=tuple(LinkBytes(n, n, 10 * n) for n in (1, 2, 3, 4, 9)))
    desired, observed = configured(), laptop()
    counted = build_counters(desired, find_steering(desired, observed), observed, carried)
    assert counted["links"] == [
        {"link": "wlan0", "role": "other", "state": "up", "sent": 2, "received": 20},
        {"link": "wwan0", "role": "direct", "state": "up", "sent": 3, "received": 30},
        {"link": "wg0", "role": "vpn", "state": "up", "sent": 4, "received": 40},
    ]


def test_what_is_released_is_not_looked_at() -> None:
    left = Service("x.service", "/byway.slice/x.service", "system.slice")
    observed = replace(laptop(), services=(left,))
    assert find_counted(find_steering(configured(), observed)) == ("/byway.slice",)
