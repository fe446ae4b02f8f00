"""Cgroups that are forced to a side."""

from __future__ import annotations

from dataclasses import replace

from fake_system import FakeSystem
from worlds import laptop

from byway_systemd.core.config import Config, Profile, WhenDown
from byway_systemd.core.desired import Desired, desire
from byway_systemd.core.operations import ReplaceTable, UpdateSet
from byway_systemd.core.plan import plan
from byway_systemd.core.steering import FORCED_VPN, find_cgroups, find_steering
from byway_systemd.core.traffic import Overrides, Traffic
from byway_systemd.reconcile import reconcile

DEFAULT = Profile(interface="wwan0")
DIRECT, VPN = 0x01000000, 0x02000000


def forced(**sides: Overrides) -> Desired:
    return desire(Config(profiles=(DEFAULT,), traffic=Traffic(**sides)))  # type: ignore[arg-type]


FORCED = replace(
    laptop(),
    cgroup_ids=(("/byway.slice", 7), ("/a.slice", 8), ("/system.slice/b.service", 9)),
    named_cgroups=(("b.service", "/system.slice/b.service"), ("c.service", "/c.service")),
)


def test_forced_cgroups_are_steered_as_cgroups_by_path_and_by_name() -> None:
    sides = {
        "force_direct": Overrides(cgroups=("/a.slice",)),
        "force_vpn": Overrides(cgroups=("b.service", "/later.scope")),
    }
    desired = forced(**sides)
    found = {one.cgroup: (one.profile, one.mark) for one in find_steering(desired, FORCED).cgroups}
    assert found["/a.slice"] == ("default", DIRECT)
    assert found["/system.slice/b.service"] == found["/later.scope"] == (FORCED_VPN, VPN)
    assert "/c.service" not in found
    assert find_cgroups(desired, FORCED)[-3:] == (
        "/a.slice", "/later.scope", "/system.slice/b.service",
    )  # fmt: skip
    table = next(o.table for o in plan(desired, FORCED) if isinstance(o, ReplaceTable))
    sets = {s.name: s.elements for s in table.sets}
    assert (sets["cgroups_default"], sets["vpn_cgroups"]) == (("7", "8"), ("9",))


def test_a_cgroup_that_comes_back_has_another_id_and_one_that_comes_is_taken_up() -> None:
    desired = forced(force_vpn=Overrides(cgroups=("b.service", "/later.scope")))
    system = FakeSystem(FORCED)
    reconcile(system, desired)
    ids = (("/byway.slice", 7), ("/system.slice/b.service", 90), ("/later.scope", 91))
    system.observed = replace(system.observed, cgroup_ids=ids)
    (update,) = [o for o in plan(desired, system.observed) if isinstance(o, UpdateSet)]
    assert (update.name, update.add, update.remove) == ("vpn_cgroups", ("90", "91"), ("9",))


def test_direct_beats_vpn_for_cgroups_inside_of_each_other() -> None:
    inside = Overrides(cgroups=("/a.slice/x.service",))
    around = Overrides(cgroups=("/a.slice",))
    steering = find_steering(forced(force_direct=around, force_vpn=inside), FORCED)
    assert {one.profile for one in steering.cgroups} == {"default"}
    steering = find_steering(forced(force_direct=inside, force_vpn=around), FORCED)
    assert {(one.cgroup, one.profile) for one in steering.cgroups if "a.slice" in one.cgroup} == {
        ("/a.slice/x.service", "default"), ("/a.slice", FORCED_VPN),
    }  # fmt: skip


def test_what_is_byways_own_is_not_forced_to_the_vpn() -> None:
    steering = find_steering(forced(force_vpn=Overrides(cgroups=("/byway.slice",))), FORCED)
    assert {one.profile for one in steering.cgroups} == {"default"}


def test_nothing_is_forced_to_a_direct_link_that_is_left_to_the_vpn() -> None:
    profile = Profile(interface="gone0", when_down=WhenDown.VPN)
    traffic = Traffic(force_direct=Overrides(cgroups=("/a.slice",)))
    steering = find_steering(desire(Config(profiles=(profile,), traffic=traffic)), FORCED)
    assert steering.cgroups == ()
