"""Which process goes where, and what stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from byway_systemd.core.apps import App, AppKind, Children, parse_app
from byway_systemd.core.config import Config, Profile
from byway_systemd.core.desired import Desired, desire
from byway_systemd.core.observed import Executable, FileState, Observed, Process, UserManager
from byway_systemd.core.operations import PlaceProcess, ReturnProcess
from byway_systemd.core.placement import (
    Placement,
    describe_match,
    match_executable,
    plan_process,
    tell_placement,
    wanted_executables,
)
from byway_systemd.core.steering import find_steering, is_below

CURL = Executable(parse_app("/usr/bin/curl"), "default", "/usr/bin/curl", "/opt/curl", 8, 42)
SCRIPT = Executable(
    parse_app("/usr/local/bin/s.py"), "lte", "/usr/local/bin/s.py", "/srv/s.py", 8, 43,
    FileState.SCRIPT,
)  # fmt: skip
GONE = Executable(
    parse_app("/opt/gone"), "default", "/opt/gone", "/opt/gone", state=FileState.MISSING
)
LISTED = (CURL, SCRIPT, GONE)
DEFAULT = Profile(apps=(CURL.app, GONE.app, parse_app("unit:a")))
LTE = Profile(name="lte", apps=(SCRIPT.app,))
DESIRED = desire(Config(profiles=(DEFAULT, LTE)))
STEERING = find_steering(DESIRED, Observed())
HOME = "/user.slice/a.scope"
MANAGER = "/user.slice/user-1000.slice/user@1000.service"
HOLDER = f"{MANAGER}/byway.slice/byway-apps.service"
SESSION = "/user.slice/user-1000.slice/session-1.scope"


def process(path: str = "/bin/sh", inode: int = 1, **changes: object) -> Process:
    return replace(Process(100, 5, path, 8, inode, HOME), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "match"),
    [
        (process("/other/name", 42), CURL),  # a hard link is the same file
        (process("/usr/bin/curl", 41), None),  # the name of another file is not
        (process("/usr/bin/curl", 42, device=9), None),
        (process("/opt/curl (deleted)", 41), CURL),  # upgraded
        (process("/usr/bin/curl (deleted)", 41), CURL),
        (process("/opt/curl (deleted) (deleted)", 41), None),
        (process("/opt/gone (deleted)"), GONE),
        (process("/opt/gone"), None),
        (process("/usr/bin/python3", script="/usr/local/bin/s.py"), SCRIPT),
        (process("/usr/bin/python3", script="/srv/s.py"), SCRIPT),
        (process("/usr/bin/python3", script="/srv/t.py"), None),
        (process("/usr/bin/python3"), None),
        (process("/srv/s.py", 43), None),  # only the interpreter runs
        (process("/usr/bin/curl", 42, in_host_namespace=False), None),
        (process("/opt/curl (deleted)", 41, in_host_namespace=False), None),
    ],
)
def test_match(seen: Process, match: Executable | None) -> None:
    assert match_executable(seen, LISTED) == match


@pytest.mark.parametrize(
    ("cgroup", "ancestor", "below"),
    [
        ("/a", "/a", True),
        ("/a/b", "/a", True),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("/a", "/", True),
    ],
)
def test_is_below(cgroup: str, ancestor: str, below: bool) -> None:
    assert is_below(cgroup, ancestor) is below


@pytest.mark.parametrize(
    ("cgroup", "profile"),
    [
        ("/byway.slice/x.scope", DEFAULT),
        ("/byway.slice/byway-lte.slice/x.scope", LTE),
        ("/byway.slice/byway-gate.service/default/1a", DEFAULT),
        ("/byway.slice/byway-gate.service/lte/1a", LTE),
        ("/byway.slice2/x", None),
        (HOME, None),
    ],
)
def test_profile_of_cgroup_is_the_deepest(cgroup: str, profile: Profile | None) -> None:
    assert STEERING.profile_of(cgroup) == (profile.name if profile else "")


def plan(seen: Process, desired: Desired = DESIRED) -> PlaceProcess | ReturnProcess | None:
    return plan_process(desired, find_steering(desired, Observed()), seen, LISTED)


def test_places_what_is_listed() -> None:
    assert plan(process("/opt/curl", 42)) == PlaceProcess(
        100, 5, "curl", "/usr/bin/curl", "byway.slice", HOME, STEERING.verdict("default"),
        "runs the program /usr/bin/curl",
    )  # fmt: skip


def test_places_a_script_in_its_profile() -> None:
    placed = plan(process("/usr/bin/python3", script="/srv/s.py"))
    assert isinstance(placed, PlaceProcess)
    assert (placed.slice, placed.app) == ("byway-lte.slice", "/usr/local/bin/s.py")
    assert placed.because == "runs the script /usr/local/bin/s.py"


@pytest.mark.parametrize(
    "seen",
    [
        process("/bin/sh"),
        process("/opt/curl", 42, cgroup="/byway.slice/x.scope"),
        process("/opt/curl", 42, cgroup="/byway.slice/byway-gate.service/default/1a"),
        # a child keeps what its parent had, whatever it runs
        process(cgroup="/byway.slice/x.scope", origin=HOME, app="/usr/bin/curl"),
        # run by hand, without a marker
        process(cgroup="/byway.slice/run.scope"),
    ],
)
def test_leaves_alone(seen: Process) -> None:
    assert plan(seen) is None


def test_switches_the_profile_and_keeps_the_origin() -> None:
    placed = plan(process("/opt/curl", 42, cgroup="/byway.slice/byway-lte.slice/x", origin=HOME))
    assert isinstance(placed, PlaceProcess)
    assert (placed.slice, placed.origin) == ("byway.slice", HOME)


def test_a_child_follows_its_apps_profile() -> None:
    child = process(cgroup="/byway.slice/x.scope", origin=HOME, app="/usr/local/bin/s.py")
    placed = plan(child)
    assert isinstance(placed, PlaceProcess)
    assert placed.slice == "byway-lte.slice"


def test_returns_what_is_not_listed_any_more() -> None:
    child = process(cgroup="/byway.slice/x.scope", origin=HOME, app="/usr/bin/old")
    assert plan(child) == ReturnProcess(
        100, 5, HOME, STEERING.verdict(""), "/usr/bin/old is not listed any more"
    )


def test_what_runs_goes_on_where_it_is_when_byway_stops() -> None:
    assert plan(process(cgroup="/byway.slice/x", origin=HOME, app="/a"), Desired.empty()) is None


@pytest.mark.parametrize(
    ("seen", "placement"),
    [
        (process(cgroup="/byway.slice/a.service"), Placement.DROP_IN),
        (process(cgroup="/byway.slice/run.scope"), Placement.LAUNCHER),
        (process(cgroup="/byway.slice/x.scope", origin=HOME), Placement.MOVED),
        (process(cgroup="/byway.slice/byway-gate.service/lte/1", origin=HOME), Placement.GATE),
        (process(cgroup=HOME), Placement.ADOPTED),
        (process(cgroup=f"{HOLDER}/lte/gate-1", origin=SESSION), Placement.GATE),
        (process(cgroup=f"{HOLDER}/lte/moved-1/x", origin=SESSION), Placement.MOVED),
    ],
)
def test_tell_placement(seen: Process, placement: Placement) -> None:
    assert tell_placement(seen, DESIRED) is placement


def test_describe_match_of_a_pattern() -> None:
    matched = Executable(parse_app("/opt/*/bin/app"), "default", "/opt/x/bin/app")
    assert (
        describe_match(matched) == "runs the program /opt/x/bin/app, which matches /opt/*/bin/app"
    )


def test_directories_are_not_wanted() -> None:
    directory = replace(GONE, state=FileState.DIRECTORY)
    assert wanted_executables(Observed(executables=(CURL, directory, GONE))) == (CURL, GONE)


MAIL = App(AppKind.PATH, "/usr/bin/mail", exclude=("/usr/bin/browser",))
STRICT = App(AppKind.PATH, "/usr/bin/strict", children=Children.LISTED)
BROWSER = Executable(MAIL, "default", "/usr/bin/browser", "/usr/bin/browser", 8, 50, excluded=True)
LIMITED = desire(Config(profiles=(Profile(apps=(MAIL, STRICT, CURL.app)),)))


def child(of: App, path: str, inode: int) -> Process:
    return process(path, inode, cgroup="/byway.slice/x.scope", origin=HOME, app=str(of))


@pytest.mark.parametrize(
    ("seen", "because"),
    [
        (child(MAIL, "/usr/bin/browser", 50), "/usr/bin/mail excludes /usr/bin/browser"),
        (child(MAIL, "/usr/bin/other", 51), None),
        (child(STRICT, "/usr/bin/browser", 50), "of what /usr/bin/strict starts only listed"),
        (child(STRICT, "/opt/curl", 42), None),  # listed itself
        (child(CURL.app, "/usr/bin/browser", 50), None),
        (process("/usr/bin/browser", 50), None),  # nobody placed it
    ],
)
def test_what_an_app_starts_may_leave_again(seen: Process, because: str | None) -> None:
    executables = (*LISTED, BROWSER)
    leaves = plan_process(LIMITED, find_steering(LIMITED, Observed()), seen, executables)
    if because is None:
        assert leaves is None
    else:
        assert isinstance(leaves, ReturnProcess)
        assert leaves.because.startswith(because)


def test_what_is_excluded_is_not_listed() -> None:
    assert match_executable(process("/usr/bin/browser", 50), (BROWSER,)) is None


@pytest.mark.parametrize(
    ("origin", "uid", "home"),
    [
        (SESSION, 1000, f"{HOLDER}/default"),
        (f"{MANAGER}/app.slice/app-x-1.scope", 1000, f"{HOLDER}/default"),
        (SESSION, 0, ""),  # behind sudo
        (SESSION, -1, ""),
        ("/user.slice/user-1001.slice/session-2.scope", 1001, ""),  # has no holder
        ("/system.slice/cron.service", 1000, ""),
    ],
)
def test_a_users_process_stays_with_the_session(origin: str, uid: int, home: str) -> None:
    managers = (
        UserManager(1000, MANAGER, holds=True),
        UserManager(1001, MANAGER.replace("1000", "1001")),
    )
    steering = find_steering(DESIRED, Observed(user_managers=managers))
    seen = process("/usr/bin/curl", 42, cgroup=origin, uid=uid)
    operation = plan_process(DESIRED, steering, seen, LISTED)
    assert isinstance(operation, PlaceProcess)
    assert (operation.home, operation.slice, operation.origin) == (home, "byway.slice", origin)


def test_a_holder_that_is_being_started_counts() -> None:
    observed = Observed(user_managers=(UserManager(1000, MANAGER),))
    seen = process("/usr/bin/curl", 42, cgroup=SESSION, uid=1000)
    for runs, home in ((True, f"{HOLDER}/default"), (False, "")):
        desired = replace(DESIRED, runs_holders=runs)
        operation = plan_process(desired, find_steering(desired, observed), seen, LISTED)
        assert isinstance(operation, PlaceProcess)
        assert operation.home == home


def test_what_could_not_go_back_is_placed_again() -> None:
    observed = Observed(user_managers=(UserManager(1000, MANAGER, holds=True),))
    steering = find_steering(DESIRED, observed)
    seen = process("/usr/bin/curl", 42, cgroup=f"{HOLDER}/-/rest", uid=1000)
    operation = plan_process(DESIRED, steering, seen, LISTED)
    assert isinstance(operation, PlaceProcess)
    assert operation.home == f"{HOLDER}/default"
    assert plan_process(DESIRED, steering, replace(seen, path="/bin/sh", inode=1), LISTED) is None
