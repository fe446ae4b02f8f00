"""The status: what it says of links, apps and processes, and its warnings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from worlds import CURL, LO, STANDARD_RULES, WWAN, configured, laptop

from byway_systemd.core.apps import parse_app
from byway_systemd.core.config import GATE_SERVICE, Config, Profile, Switch, WhenDown
from byway_systemd.core.desired import FIRST_TABLE, desire
from byway_systemd.core.network import Family, RoutingRule
from byway_systemd.core.observed import Executable, FileState, Observed, Process, Service
from byway_systemd.core.plan import plan
from byway_systemd.core.status import build_status, find_warnings


def status(observed: Observed, *profiles: Profile) -> dict[str, Any]:
    desired = desire(Config(profiles=profiles)) if profiles else configured()
    return build_status(desired, observed, plan(desired, observed))


def test_is_json() -> None:
    assert json.loads(json.dumps(status(laptop()))) == status(laptop())


def test_in_sync_is_an_empty_plan() -> None:
    assert status(laptop())["in_sync"] is False
    assert len(status(laptop())["drift"]) == len(plan(configured(), laptop()))
    assert build_status(configured(), laptop(), ())["in_sync"] is True


def test_profile() -> None:
    (profile,) = status(replace(laptop(), cgroup_ids=(("/byway.slice", 77),)))["profiles"]
    assert profile == {
        "name": "default",
        "interface": "wwan0",
        "link": "wwan0",
        "state": "up",
        "sharing": "dedicated",
        "gateways": {"ipv4": "10.64.0.1", "ipv6": "2001:db8:2::1"},
        "when_down": "block",
        "dns": "system",
        "slice": "byway.slice",
        "cgroup_id": 77,
        "mark": "0x01000000/0x3f000000",
        "table": FIRST_TABLE,
        "preferences": [],
    }


@pytest.mark.parametrize(
    ("observed", "state", "sharing"),
    [
        (Observed(links=(LO,)), "absent", None),
        (Observed(links=(replace(WWAN, up=False),)), "down", "dedicated"),
        (Observed(links=(WWAN,)), "no gateway", "dedicated"),
    ],
)
@pytest.mark.parametrize("when_down", WhenDown)
def test_link_that_cannot_carry(
    observed: Observed, state: str, sharing: str | None, when_down: WhenDown
) -> None:
    profile = Profile(interface="wwan0", when_down=when_down)
    shown = status(observed, profile)
    assert shown["profiles"][0]["state"] == state
    assert shown["profiles"][0]["sharing"] == sharing
    effect = "blocked" if when_down is WhenDown.BLOCK else "by the VPN"
    assert shown["warnings"] == [f"profile default: wwan0 is {state}: its traffic is {effect}"]


def running(cgroup: str) -> Process:
    return Process(100, 5, "/usr/bin/curl", 8, 42, cgroup)


@pytest.mark.parametrize(
    ("changes", "state", "pids"),
    [
        ({"processes": (running("/byway.slice/x.scope"),)}, "running", [100]),
        ({"processes": (running("/user.slice"),)}, "not running", []),
        ({"processes": ()}, "not running", []),
        ({"executables": (replace(CURL, state=FileState.MISSING),)}, "missing", []),
    ],
)
def test_app(changes: dict[str, Any], state: str, pids: list[int]) -> None:
    (app,) = status(replace(laptop(), **changes))["apps"]
    assert app == {"app": "/usr/bin/curl", "profile": "default", "state": state, "pids": pids}


@pytest.mark.parametrize(
    ("cgroup", "state"),
    [
        ("", "not running"),
        ("/byway.slice/a.service", "running"),
        (
            "/system.slice/a.service",
            "running, adopted where it is; in byway.slice from its next start on",
        ),
    ],
)
def test_unit(cgroup: str, state: str) -> None:
    observed = replace(laptop(), services=(Service("a.service", cgroup),))
    (app,) = status(observed, Profile(interface="wwan0", apps=(parse_app("unit:a"),)))["apps"]
    assert (app["app"], app["state"]) == ("unit:a.service", state)


def test_processes_are_those_in_the_slice() -> None:
    observed = replace(laptop(), processes=(running("/user.slice"), running("/byway.slice/x")))
    assert status(observed)["processes"] == [
        {
            "pid": 100,
            "program": "/usr/bin/curl",
            "profile": "default",
            "placement": "launcher",
            "cgroup": "/byway.slice/x",
        }
    ]


def test_no_warning_where_all_is_well() -> None:
    assert find_warnings(configured(), laptop()) == []


@pytest.mark.parametrize(
    ("state", "warning"),
    [
        (FileState.MISSING, "/usr/bin/curl: there is no such file; it is used when it appears"),
        (FileState.DIRECTORY, "/usr/bin/curl: a directory; name the program, or use DIR/*"),
        (
            FileState.SHARED,
            "/usr/bin/curl: /usr/bin/curl is many programs in one file; it is not selected (list "
            "the program that it starts, or a script of your own)",
        ),
        (
            FileState.ESSENTIAL,
            "/usr/bin/curl: /usr/bin/curl is part of byway or of what it works with; it is not "
            "selected (list a script, which is matched as itself, or unit:NAME)",
        ),
    ],
)
def test_warns_of_files(state: FileState, warning: str) -> None:
    observed = replace(laptop(), executables=(replace(CURL, state=state),))
    assert find_warnings(configured(), observed) == [warning]


def test_warns_of_a_moved_rule() -> None:
    moved = RoutingRule(Family.IPV4, 5269, FIRST_TABLE, 1, 1)
    observed = replace(laptop(), rules=(*STANDARD_RULES, moved))
    (warning,) = find_warnings(configured(), observed)
    assert "5269 instead of 11590" in warning


def test_program_of_a_process_is_the_listed_script_or_its_executable() -> None:
    """What stands first in its arguments is a script only when it is a listed one."""
    script = Executable(
        parse_app("/opt/a.py"), "default", "/opt/a.py", "/opt/a.py", state=FileState.SCRIPT
    )
    inside = Process(7, 1, "/usr/bin/python3", 9, 9, "/byway.slice/x", script="/opt/a.py")
    processes = (inside, replace(inside, pid=8, path="/bin/sleep", script="/600"))
    observed = replace(laptop(), executables=(script,), processes=processes)
    shown = build_status(configured(), observed, ())["processes"]
    assert {p["pid"]: p["program"] for p in shown} == {7: "/opt/a.py", 8: "/bin/sleep"}


def test_status_says_how_scripts_are_placed() -> None:
    assert "scripts" not in build_status(configured(), laptop(), ())["placement"]
    script = replace(CURL, state=FileState.SCRIPT)
    shown = build_status(configured(), replace(laptop(), executables=(script,)), ())
    assert "`INTERPRETER FILE` moved when seen" in shown["placement"]["scripts"]
    excluded = replace(script, excluded=True)
    shown = build_status(configured(), replace(laptop(), executables=(excluded,)), ())
    assert "scripts" not in shown["placement"]


def test_warns_of_a_file_of_two_profiles() -> None:
    other = replace(CURL, app=parse_app("/opt/link"), path="/opt/link", profile="lte")
    again = replace(CURL, app=parse_app("/usr/bin/c*"))
    observed = replace(laptop(), executables=(CURL, again, other))
    assert find_warnings(configured(), observed) == [
        "/opt/link of profile lte: the same file as /usr/bin/curl, and goes the way of profile "
        "default (list it once)"
    ]


GATE = (GATE_SERVICE,)
NOT_HERE = "not available: Operation not permitted"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "not running"),
        ({"active_units": GATE}, "active"),
        ({"active_units": GATE, "starting_units": GATE}, "starting"),
        ({"failed_units": GATE, "gate_note": "holds 3 files"}, "failed"),
        ({"failed_units": GATE, "gate_note": NOT_HERE}, NOT_HERE),
    ],
)
def test_gate(changes: dict[str, Any], state: str) -> None:
    desired, observed = desire(Config(), runs_units=True), replace(laptop(), **changes)
    assert build_status(desired, observed, ())["placement"]["exec_gate"] == state
    warnings = [text for text in find_warnings(desired, observed) if "gate" in text]
    if "failed_units" in changes:
        assert warnings[0].startswith(f"the exec gate: {state}; a program's first connections may")
    else:
        assert warnings == []


@pytest.mark.parametrize(
    ("gate", "runs_units", "state"),
    [(Switch.OFF, True, "off (placement.gate)"), (Switch.AUTO, False, "off (--config)")],
)
def test_gate_that_is_off(gate: Switch, runs_units: bool, state: str) -> None:
    desired = desire(Config(gate=gate), runs_units=runs_units)
    assert build_status(desired, laptop(), ())["placement"]["exec_gate"] == state
