"""Why something goes the way it goes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from worlds import CURL, configured, laptop

from byway_systemd.core.apps import parse_app
from byway_systemd.core.config import Config, Profile, WhenDown
from byway_systemd.core.desired import Desired, desire
from byway_systemd.core.errors import UsageError
from byway_systemd.core.explain import explain_destination, explain_process, explain_unit
from byway_systemd.core.observed import Group, Observed, Process, Service
from byway_systemd.core.steering import find_steering
from byway_systemd.core.traffic import Mode, Overrides, Traffic, Users

RUNNING = laptop().processes[0]


def process(
    one: Process, desired: Desired | None = None, observed: Observed | None = None
) -> dict[str, Any]:
    desired, observed = desired or configured(), observed or laptop()
    return explain_process(desired, find_steering(desired, observed), one, (CURL,))


def unit(name: str, observed: Observed, *apps: str) -> dict[str, Any]:
    profile = Profile(interface="wwan0", apps=tuple(map(parse_app, apps)))
    desired = desire(Config(profiles=(profile,)))
    return explain_unit(desired, find_steering(desired, observed), observed, name)


def destination(desired: Desired, observed: Observed, text: str) -> dict[str, Any]:
    return explain_destination(desired, find_steering(desired, observed), observed, text)


def with_traffic(**fields: Any) -> Desired:
    return configured(traffic=Traffic(**fields))


def test_listed_and_not_placed_yet() -> None:
    said = process(RUNNING)
    assert (said["verdict"], said["profile"], said["placement"]) == ("vpn", None, None)
    assert said["because"] == "it runs the program /usr/bin/curl"
    assert said["change"]["operation"] == "place-process"


def test_placed() -> None:
    said = process(replace(RUNNING, cgroup="/byway.slice/a.scope", origin="/user.slice"))
    assert (said["verdict"], said["profile"], said["placement"]) == ("direct", "default", "moved")
    assert said["change"] is None


def test_while_routes_are_cleared() -> None:
    placed = replace(RUNNING, cgroup="/byway.slice/a.scope", origin="/user.slice")
    said = process(placed, replace(configured(), cleared=True))
    assert (said["verdict"], "by that link or not at all" in said["because"]) == ("direct", True)
    lax = configured(profiles=(Profile(interface="wwan0", when_down=WhenDown.VPN),))
    said = process(placed, replace(lax, cleared=True))
    assert said["because"].endswith("but the routes are cleared and when_down is vpn")
    shell = replace(RUNNING, path="/bin/sh", inode=7)
    said = process(shell, replace(with_traffic(mode=Mode.SELECTIVE), cleared=True))
    assert (said["verdict"], "the main table decides" in said["because"]) == ("vpn", True)


def test_child_of_what_was_placed() -> None:
    said = process(
        Process(7, 1, "/bin/sh", cgroup="/byway.slice/a.scope", origin="/x", app="/usr/bin/curl")
    )
    assert said["because"] == "it belongs to /usr/bin/curl"
    said = process(Process(7, 1, "/bin/sh", cgroup="/byway.slice/a.scope"))
    assert (said["verdict"], said["because"]) == ("direct", "it is in /byway.slice/a.scope")


def test_nothing_selects_it() -> None:
    said = process(Process(7, 1, "/bin/sh", cgroup="/user.slice"))
    assert (said["verdict"], said["because"]) == ("vpn", "nothing that is listed selects it")


def test_container() -> None:
    said = process(replace(RUNNING, in_host_namespace=False))
    assert (said["verdict"], said["change"]) == ("vpn", None)
    assert "network of its own" in said["because"]


@pytest.mark.parametrize(("when", "verdict"), [(WhenDown.BLOCK, "direct"), (WhenDown.VPN, "vpn")])
def test_link_that_is_not_there(when: WhenDown, verdict: str) -> None:
    profile = Profile(interface="usb0", apps=(CURL.app,), when_down=when)
    one = replace(RUNNING, cgroup="/byway.slice/a.scope")
    said = process(one, desire(Config(profiles=(profile,))))
    assert (said["verdict"], said["profile"]) == (verdict, "default")
    assert ("usb0 is down" in said["because"]) == (verdict == "vpn")


def test_units() -> None:
    running = replace(laptop(), services=(Service("a.service", "/system.slice/a.service"),))
    assert unit("a", running, "unit:a") == {
        "unit": "a.service",
        "cgroups": ["/system.slice/a.service"],
        "verdict": "direct",
        "profile": "default",
        "because": "a.service is listed",
    }
    assert unit("a.service", laptop(), "unit:a")["verdict"] == "direct"
    said = unit("b", laptop(), "unit:a")
    assert (said["verdict"], said["cgroups"]) == ("vpn", [])
    assert "neither listed" in said["because"]
    inside = replace(laptop(), services=(Service("b.service", "/byway.slice/b.service"),))
    assert unit("b", inside)["because"] == "it runs in /byway.slice/b.service"
    left = replace(
        laptop(), services=(Service("b.service", "/byway.slice/b.service", "system.slice"),)
    )
    assert unit("b", left)["verdict"] == "vpn"
    assert "not listed any more" in unit("b", left)["because"]
    adopted = replace(laptop(), groups=(Group("/user.slice/app-x.scope", "default", "/usr/bin/x"),))
    assert unit("app-x.scope", adopted)["verdict"] == "direct"


@pytest.mark.parametrize(
    ("text", "verdict"), [("192.168.1.7", "near"), ("fe80::1", "near"), ("198.51.100.1", "vpn")]
)
def test_destinations(text: str, verdict: str) -> None:
    desired = configured()
    said = destination(desired, laptop(), text)
    assert (said["destination"], said["verdict"]) == (text, verdict)
    assert ("wwan0" in said["because"]) == (verdict == "vpn")


@pytest.mark.parametrize("text", ["", "example.net", "10.0.0.0/8", "1", "٣.٣.٣.٣"])
def test_no_address(text: str) -> None:
    with pytest.raises(UsageError):
        destination(configured(), laptop(), text)


@pytest.mark.parametrize(
    ("mode", "verdict"), [("bypass", "vpn"), ("full_tunnel", "vpn"), ("selective", "direct")]
)
def test_the_mode_decides_about_the_rest(mode: str, verdict: str) -> None:
    desired = with_traffic(mode=Mode(mode))
    for said in (
        process(Process(7, 1, "/bin/sh", cgroup="/user.slice"), desired),
        explain_unit(desired, find_steering(desired, laptop()), laptop(), "nginx"),
        destination(desired, laptop(), "198.51.100.1"),
    ):
        assert said["verdict"] == verdict
        assert (f"the mode is {mode}" in said["because"] or mode in said["because"]) == (
            mode != "bypass"
        )


def test_a_mode_that_leads_to_what_is_not_there() -> None:
    profile = Profile(interface="usb0", when_down=WhenDown.VPN)
    desired = desire(Config(profiles=(profile,), traffic=Traffic(mode=Mode.DIRECT)))
    assert destination(desired, laptop(), "198.51.100.1")["verdict"] == "vpn"


@pytest.mark.parametrize(
    ("direct", "vpn", "verdict", "text"),
    [
        (Overrides(uids=(Users(7, 9),)), Overrides(), "direct", "force_direct.uids has the user 8"),
        (Overrides(), Overrides(uids=(Users(8, 8),)), "vpn", "force_vpn.uids has the user 8"),
        (
            Overrides(uids=(Users(8, 8),)),
            Overrides(cgroups=("/a.slice",)),
            "direct",
            "force_direct.uids has the user 8",
        ),
        (
            Overrides(cgroups=("/a.slice", "/a.slice/b.scope")),
            Overrides(uids=(Users(8, 8),)),
            "direct",
            "force_direct.cgroups has /a.slice/b.scope",
        ),
        (Overrides(), Overrides(cgroups=("/a.slice",)), "vpn", "force_vpn.cgroups has /a.slice"),
    ],
)
def test_overrides(direct: Overrides, vpn: Overrides, verdict: str, text: str) -> None:
    desired = with_traffic(mode=Mode.DIRECT, force_direct=direct, force_vpn=vpn)
    said = process(Process(7, 1, "/bin/sh", cgroup="/a.slice/b.scope", uid=8), desired)
    assert (said["verdict"], said["because"], said["profile"]) == (verdict, text, None)


def test_a_unit_that_is_forced() -> None:
    desired = with_traffic(force_vpn=Overrides(cgroups=("/system.slice/nginx.service",)))
    said = explain_unit(desired, find_steering(desired, laptop()), laptop(), "nginx")
    assert (said["verdict"], said["cgroups"]) == ("vpn", ["/system.slice/nginx.service"])
    assert said["because"] == "force_vpn.cgroups has /system.slice/nginx.service"


@pytest.mark.parametrize(
    ("text", "verdict", "holder"),
    [
        ("203.0.113.9", "direct", "bypass has 203.0.113.0/24"),
        ("203.0.114.9", "vpn", "force_vpn.destinations has 203.0.112.0/20; by wwan0"),
        ("2001:db8:f::1", "direct", "bypass has relay.example"),
        ("198.51.100.1", "vpn", "it is not listed"),
    ],
)
def test_listed_destinations(text: str, verdict: str, holder: str) -> None:
    observed = replace(laptop(), host_addresses=(("relay.example", "2001:db8:f::1/128"),))
    desired = with_traffic(
        mode=Mode.FULL_TUNNEL,
        force_direct=Overrides(destinations=("203.0.113.0/24", "relay.example")),
        force_vpn=Overrides(destinations=("203.0.112.0/20",)),
    )
    said = destination(desired, observed, text)
    assert said["verdict"] == verdict
    assert said["because"].startswith(holder)
