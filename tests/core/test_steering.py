"""Which cgroups are steered where: slices, what is adopted, what is released."""

from __future__ import annotations

from dataclasses import replace

import pytest
from worlds import CURL, laptop

from byway_systemd.core.apps import parse_app
from byway_systemd.core.config import Config, Profile, WhenDown
from byway_systemd.core.desired import Desired, desire
from byway_systemd.core.observed import Group, Observed, Process, Service, UserManager
from byway_systemd.core.operations import (
    AttachMarker,
    CutOver,
    PlaceProcess,
    ReloadUserManager,
    RemoveCgroup,
    ReplaceTable,
    SocketVerdict,
    StartUnit,
    StopUnit,
)
from byway_systemd.core.placement import bound_groups, find_groups, may_be_adopted
from byway_systemd.core.plan import plan
from byway_systemd.core.status import build_status, find_warnings
from byway_systemd.core.steering import RELEASED, Steered, find_steering
from byway_systemd.core.traffic import Mode, Traffic

UNIT = parse_app("unit:a.service")
DEFAULT = Profile(interface="wwan0", apps=(CURL.app, UNIT))
DESIRED = desire(Config(profiles=(DEFAULT,)))
DIRECT, VPN = 0x01000000, 0x02000000
MANAGER = "/user.slice/user-1000.slice/user@1000.service"
SCOPE = "/user.slice/user-1000.slice/app-x.scope"


def steered(observed: Observed, desired: Desired = DESIRED) -> dict[str, tuple[str, int]]:
    found = find_steering(desired, observed).cgroups
    return {s.cgroup: (s.profile, s.mark) for s in found}


def test_the_slices_of_the_system_and_of_every_user() -> None:
    users = (UserManager(1000, "/user.slice/user-1000.slice/user@1000.service"),)
    assert steered(replace(laptop(), user_managers=users)) == {
        "/byway.slice": ("default", DIRECT),
        f"{users[0].cgroup}/byway.slice": ("default", DIRECT),
        f"{users[0].cgroup}/byway.slice/byway-apps.service/-": (RELEASED, VPN),
    }


def test_the_slices_of_a_named_profile() -> None:
    lte = Profile(name="lte", interface="wlan0")
    manager = "/user.slice/user-1000.slice/user@1000.service"
    observed = replace(laptop(), user_managers=(UserManager(1000, manager),))
    both = desire(Config(profiles=(DEFAULT, lte)))
    of_user = {k: name for k, (name, _) in steered(observed, both).items() if "user" in k}
    assert of_user == {
        f"{manager}/byway.slice": "default",
        f"{manager}/byway.slice/byway-lte.slice": "lte",
        f"{manager}/byway.slice/byway-apps.service/lte": "lte",
        f"{manager}/byway.slice/byway-apps.service/-": RELEASED,
    }
    # None of them is there: nothing is asked of what only its user can make.
    assert not [o for o in plan(both, observed) if manager in str(getattr(o, "path", ""))]
    tables = [o.table for o in plan(both, observed) if isinstance(o, ReplaceTable)]
    elements = [element for s in tables[0].sets for element in s.elements]
    assert not [element for element in elements if manager in element]


def test_a_holder_is_started_once_for_every_running_manager() -> None:
    manager = UserManager(1000, "/user.slice/user-1000.slice/user@1000.service")
    wanted = replace(DESIRED, runs_holders=True)

    def holders(desired: Desired, **changes: object) -> list[tuple[type, str]]:
        observed = replace(laptop(), **{"user_managers": (manager,), **changes})  # type: ignore[arg-type]
        found = (o for o in plan(desired, observed) if isinstance(o, StartUnit | StopUnit))
        return [(type(o), o.name) for o in found if "holder" in o.name]

    unit = "byway-holder@1000.service"
    assert holders(wanted) == [(StartUnit, unit)]
    assert holders(wanted, active_units=(unit,)) == []
    assert holders(wanted, failed_units=(unit,)) == []
    assert holders(DESIRED) == []
    for state in ("activating", "deactivating", "reloading", "failed"):
        assert holders(wanted, user_managers=(replace(manager, state=state),)) == []
    assert holders(Desired.empty(), active_units=(unit,)) == [(StopUnit, unit)]
    gone = replace(laptop(), active_units=(unit,))
    assert [o for o in plan(wanted, gone) if isinstance(o, StopUnit)] == []  # PID 1 does it
    failed = replace(laptop(), user_managers=(manager,), failed_units=(unit,))
    assert any(f"systemctl restart {unit}" in w for w in find_warnings(wanted, failed))


def test_a_user_manager_reads_what_has_changed_once() -> None:
    manager = UserManager(1000, "/user.slice/user-1000.slice/user@1000.service")
    placing = (("a.service.d/50-byway.conf", "x"), ("byway.slice.d/50-byway.conf", "y"))
    config = Config(profiles=(DEFAULT,))

    def reloads(files: tuple[tuple[str, str], ...], **changes: object) -> list[ReloadUserManager]:
        desired = desire(config, (), files, has_generator=True)
        observed = replace(laptop(), user_managers=(replace(manager, **changes),))  # type: ignore[arg-type]
        return [o for o in plan(desired, observed) if isinstance(o, ReloadUserManager)]

    (asked,) = reloads(placing)
    assert asked.uid == 1000
    assert reloads(placing, placements=asked.placements) == []
    assert reloads(placing, state="activating") == []
    assert reloads(placing[1:]) == []  # the slices alone
    assert [o.placements for o in reloads(placing[1:], placements=asked.placements)] == [""]
    stopped = replace(laptop(), user_managers=(replace(manager, placements="x"),))
    assert not [o for o in plan(Desired.empty(), stopped) if isinstance(o, ReloadUserManager)]


def test_empty_homes_are_removed() -> None:
    operations = plan(DESIRED, replace(laptop(), empty_homes=("/x/y",)))
    assert [o.path for o in operations if isinstance(o, RemoveCgroup)] == ["/x/y"]


def test_a_group_is_adopted_where_it_stands() -> None:
    observed = replace(laptop(), groups=(Group(SCOPE, "default", "/usr/bin/curl"),))
    assert steered(observed)[SCOPE] == ("default", DIRECT)
    assert SCOPE not in steered(observed, Desired.empty())


@pytest.mark.parametrize(
    ("service", "verdict"),
    [
        (Service("a.service", "/system.slice/a.service"), ("default", DIRECT)),  # not restarted yet
        (Service("a.service", "/byway.slice/a.service"), None),  # where it belongs
        (Service("a.service", ""), None),  # does not run
        # its drop-in has gone
        (Service("b.service", "/byway.slice/b.service", "system.slice"), (RELEASED, VPN)),
        # somebody's own Slice=byway.slice
        (Service("b.service", "/byway.slice/b.service", "byway.slice"), None),
    ],
)
def test_services(service: Service, verdict: tuple[str, int] | None) -> None:
    found = steered(replace(laptop(), services=(service,)))
    assert found.get(service.cgroup) == verdict


def test_what_is_left_to_the_vpn_is_released_inside_a_steered_slice_only() -> None:
    lte = Profile(name="lte", interface="usb0", when_down=WhenDown.VPN)
    both = desire(Config(profiles=(DEFAULT, lte)))
    assert steered(laptop(), both)["/byway.slice/byway-lte.slice"] == (RELEASED, VPN)
    alone = desire(Config(profiles=(replace(DEFAULT, interface="usb0", when_down=lte.when_down),)))
    assert steered(laptop(), alone) == {}
    assert find_steering(alone, laptop()).profile_of("/byway.slice/x.scope") == "default"


def test_the_deepest_place_decides() -> None:
    service = Service("b.service", "/byway.slice/b.service", "system.slice")
    steering = find_steering(DESIRED, replace(laptop(), services=(service,)))
    assert steering.profile_of("/byway.slice/b.service/sub") == RELEASED
    assert steering.profile_of("/byway.slice/c.service") == "default"
    assert steering.profile_of("/system.slice") == ""
    assert steering.cgroups[0] == Steered("/byway.slice", "default", DIRECT, started=True)


def test_vpn_mark_is_the_masks_second() -> None:
    of_others = desire(Config(mark_mask=0xF0))
    assert (DESIRED.vpn_mark, of_others.vpn_mark) == (VPN, 0x20)


def test_what_is_released_has_a_mark_of_its_own_once_the_vpns_is_led_somewhere() -> None:
    selective = desire(Config(traffic=Traffic(mode=Mode.SELECTIVE)))
    assert (DESIRED.released_mark, selective.released_mark) == (VPN, 0x3F000000)


@pytest.mark.parametrize(
    ("cgroup", "adoptable"),
    [
        (SCOPE, True),
        ("/system.slice/a.service", True),
        ("/user.slice/user-1000.slice/user@1000.service", False),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", False),
        ("/init.scope", False),
        ("/system.slice", False),
        ("/", False),
        ("/system.slice/docker.service/payload", False),
        ("/system.slice/byway.service", False),
        ("/user.slice/u/user@1.service/byway.slice/x.scope", False),
    ],
)
def test_may_be_adopted(cgroup: str, adoptable: bool) -> None:
    assert may_be_adopted(cgroup) is adoptable


def curl(pid: int, parent: int = 1) -> Process:
    return Process(pid, 5, "/usr/bin/curl", CURL.device, CURL.inode, SCOPE, parent=parent)


def other(pid: int, parent: int = 1) -> Process:
    return Process(pid, 5, "/bin/sh", 8, 1, SCOPE, parent=parent)


@pytest.mark.parametrize(
    ("members", "adopted"),
    [
        ((curl(10),), True),
        ((curl(10), other(11, 10), other(12, 11)), True),  # its children, and theirs
        ((other(9), curl(10, 9)), False),  # a shell that started it
        ((curl(10), other(11)), False),  # somebody else
        ((other(9),), False),
        ((), False),
        ((curl(10), other(11, 12), other(12, 11)), False),  # a loop made by pid reuse
    ],
)
def test_find_groups(members: tuple[Process, ...], adopted: bool) -> None:
    found = find_groups({SCOPE: members}, (CURL,))
    assert found == ((Group(SCOPE, "default", "/usr/bin/curl"),) if adopted else ())


def test_a_cgroup_of_two_profiles_apps_is_nobodys() -> None:
    second = replace(CURL, profile="lte", inode=43)
    members = (curl(10), replace(curl(11), inode=43))
    assert find_groups({SCOPE: members}, (CURL, second)) == ()


def test_an_app_whose_children_may_leave_is_moved() -> None:
    mail = replace(CURL, app=replace(CURL.app, exclude=("/usr/bin/firefox",)))
    assert find_groups({SCOPE: (curl(10),)}, (mail,)) == ()


def test_what_a_user_makes_up_is_bounded() -> None:
    manager = "/user.slice/user-1000.slice/user@1000.service"
    own = [Group(f"{manager}/{number}.scope", "default", "/x") for number in range(10)]
    system = Group("/system.slice/a.service", "default", "/x")
    assert bound_groups((*own, system, own[0]), most=3) == (*own[:3], system)
    assert bound_groups((own[0], replace(own[0], profile="lte")), most=1)[0].profile == "lte"


def test_status_of_a_desktop_app() -> None:
    app = parse_app("flatpak:org.x.Y")
    scope = f"{MANAGER}/app.slice/app-flatpak-org.x.Y-7.scope"
    profile = Profile(interface="wwan0", apps=(app,))
    desired = desire(Config(profiles=(profile,)))
    inside = Process(
        7, 5, "/usr/bin/bwrap", cgroup=f"{MANAGER}/byway.slice/app-flatpak-org.x.Y-8.scope"
    )
    observed = replace(
        laptop(),
        user_managers=(UserManager(1000, MANAGER),),
        groups=(Group(scope, "default", str(app)),),
        processes=(replace(inside, pid=8, cgroup=scope), inside),
    )
    shown = build_status(desired, observed, ())
    assert (shown["apps"][0]["state"], shown["apps"][0]["pids"]) == ("running", [8, 7])
    assert {p["pid"]: p["placement"] for p in shown["processes"]} == {8: "adopted", 7: "drop-in"}


def adopted(**changes: object) -> Observed:
    observed = replace(
        laptop(),
        processes=(curl(10),),
        groups=(Group(SCOPE, "default", "/usr/bin/curl"),),
        cgroup_ids=(("/byway.slice", 7), (SCOPE, 8)),
    )
    return replace(observed, **changes)  # type: ignore[arg-type]


def test_adopting_moves_nothing() -> None:
    operations = plan(DESIRED, adopted())
    assert not [o for o in operations if isinstance(o, PlaceProcess)]
    assert [o.path for o in operations if isinstance(o, AttachMarker)] == ["/byway.slice", SCOPE]
    cut_over = {o.path: o for o in operations if isinstance(o, CutOver)}
    near = ("10.64.0.0/24", "192.168.1.0/24", "fe80::/64")
    verdict = SocketVerdict(DIRECT, 0x3F000000, reset=True, near=near)
    assert (cut_over[SCOPE].profile, cut_over[SCOPE].verdict) == ("default", verdict)


def test_open_sockets_are_cut_over_once_and_let_go_when_it_is_not_listed() -> None:
    done = (("/byway.slice", "default"), (SCOPE, "default"))
    assert not [o for o in plan(DESIRED, adopted(cut_over=done)) if isinstance(o, CutOver)]
    not_listed = plan(DESIRED, adopted(cut_over=done, groups=(), processes=()))
    assert [
        (o.path, o.profile, o.verdict.mark, o.verdict.reset) for o in cut_overs(not_listed)
    ] == [(SCOPE, "", 0, True)]
    stopped = plan(Desired.empty(), adopted(cut_over=done))
    assert {(o.path, o.verdict.reset) for o in cut_overs(stopped)} == {
        ("/byway.slice", False),
        (SCOPE, False),
    }


def test_a_cgroup_inside_another_keeps_its_own_verdict() -> None:
    service = Service("b.service", "/byway.slice/b.service", "system.slice")
    ids = (("/byway.slice", 7), (service.cgroup, 8))
    found = {
        o.path: o for o in cut_overs(plan(DESIRED, adopted(services=(service,), cgroup_ids=ids)))
    }
    assert found["/byway.slice"].but == (service.cgroup,)
    assert (found[service.cgroup].profile, found[service.cgroup].verdict.mark) == (RELEASED, VPN)


def cut_overs(operations: tuple[object, ...]) -> list[CutOver]:
    return [o for o in operations if isinstance(o, CutOver)]


def test_keep_resets_nothing() -> None:
    keep = replace(DESIRED, resets_sockets=False)
    assert {o.verdict.reset for o in cut_overs(plan(keep, adopted()))} == {False}


def test_status_tells_what_is_adopted_and_what_is_released() -> None:
    service = Service("b.service", "/byway.slice/b.service", "system.slice")
    observed = adopted(services=(service,))
    shown = build_status(DESIRED, observed, ())
    assert [(p["pid"], p["placement"]) for p in shown["processes"]] == [(10, "adopted")]
    assert shown["apps"][0]["state"] == "running"
    assert any("systemctl restart b.service" in w for w in find_warnings(DESIRED, observed))
