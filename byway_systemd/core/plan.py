"""The plan: what must be done so that what is observed becomes what is desired.

``plan`` is pure, and everything byway shows or does goes through it. Order of building up: unit
files, reload, units, sysctls, routes, rules, nftables, markers, open sockets, processes, and the
rules of the mode last: until then all that is excepted from it is in place. Order of
taking down: the reverse, so that marked traffic never meets a missing route; open sockets are let
go once nothing marks them any more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from byway_systemd.core.config import DEFAULT_PROFILE, GATE_SERVICE
from byway_systemd.core.desired import RECONCILE_TIMER, TABLE_NAME, TABLES
from byway_systemd.core.firewall import build_table
from byway_systemd.core.links import Uplink, steering_uplinks, table_routes
from byway_systemd.core.name_servers import find_name_servers, sysctls_for
from byway_systemd.core.network import Family, RouteKind
from byway_systemd.core.operations import (
    AddRoute,
    AddRule,
    AttachMarker,
    CutOver,
    DeleteRoute,
    DeleteRule,
    DeleteTable,
    DetachMarker,
    Operation,
    PinMarker,
    ReloadManager,
    ReloadUserManager,
    RemoveCgroup,
    RemoveUnitFile,
    ReplaceTable,
    StartUnit,
    StopUnit,
    UnpinMarker,
    UpdateSet,
    WriteUnitFile,
)
from byway_systemd.core.placement import plan_process, wanted_executables
from byway_systemd.core.rules import describe_purpose, is_base_rule, is_own_rule, plan_rules
from byway_systemd.core.selection import find_selection
from byway_systemd.core.steering import find_steering, is_below, starts_holder
from byway_systemd.core.sysctls import filter_sysctls, plan_sysctls, router_sysctls
from byway_systemd.core.users import holder_unit, is_holder_unit
from byway_systemd.core.vpn import WAYS_OUT, Vpn, find_vpn, vpn_routes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.network import Route
    from byway_systemd.core.nftables import NftTable, TableOutline
    from byway_systemd.core.observed import Observed
    from byway_systemd.core.steering import Steering

_CLEARED = "the routes are cleared"


def plan(desired: Desired, observed: Observed) -> tuple[Operation, ...]:
    """Return the operations, in order; none when everything is in sync."""
    uplinks = steering_uplinks(desired, observed)
    vpn = find_vpn(desired, observed)
    up_files, down_files = _plan_unit_files(desired, observed)
    up_routes, down_routes = _plan_routes(desired, uplinks, vpn, observed)
    up_rules, down_rules, modes = _plan_rules(desired, uplinks, vpn, observed)
    steering = find_steering(desired, observed)
    up_table, down_table = _plan_table(desired, (uplinks, vpn), steering, observed)
    needed = filter_sysctls(uplinks, vpn) | router_sysctls(uplinks)
    up_sysctls, down_sysctls = plan_sysctls(needed, observed)
    # Only behind the rules that stand in for what the kernel drops without them.
    asking = find_name_servers(uplinks, observed)
    opened, closed = plan_sysctls(sysctls_for(asking), observed, guarded=True)
    attached, detached = _plan_markers(desired, steering, observed)
    followed, let_go = _plan_open_sockets(desired, steering, observed)
    return (
        *up_files,
        *_plan_user_managers(desired, observed),
        *_plan_units(desired, observed),
        *up_sysctls,
        *up_routes,
        *up_rules,
        *up_table,
        *opened,
        *attached,
        *followed,
        *plan_placement(desired, steering, observed),
        *modes,
        *detached,
        *closed,
        *down_table,
        *let_go,
        *down_rules,
        *down_routes,
        *down_sysctls,
        *down_files,
    )


def _plan_unit_files(
    desired: Desired, observed: Observed
) -> tuple[list[Operation], list[Operation]]:
    wanted, seen = dict(desired.unit_files), dict(observed.unit_files)
    up: list[Operation] = []
    down: list[Operation] = []
    differing = sorted(path for path in wanted if seen.get(path) != wanted[path])
    if desired.has_generator:
        stale = [p for p in seen if p not in wanted and p not in observed.runtime_files]
        if changed := sorted({*differing, *stale}):
            up.append(ReloadManager(f"the generated {changed[0]} is out of date"))
        differing = []
    up += [WriteUnitFile(path, wanted[path], "it is configured") for path in differing]
    removed = [
        path for path in observed.runtime_files if desired.has_generator or path not in wanted
    ]
    down += [RemoveUnitFile(path, "nothing asks for it any more") for path in sorted(removed)]
    if differing:
        up.append(ReloadManager("unit files were written"))
    if removed:
        down.append(ReloadManager("unit files were removed"))
    return up, down


def _plan_user_managers(desired: Desired, observed: Observed) -> Iterator[Operation]:
    """Each manager once for each configuration: what it then has is its user's own.

    What its generator wrote is not looked at, as the user may put anything in its place, a file
    system of his own that never answers included.
    """
    for manager in observed.user_managers:
        ready = manager.state == "active"  # before, SIGHUP would end it, and it reads all anyway
        if desired.exits and ready and manager.placements != desired.user_placements:
            because = "the drop-ins of user sessions have changed"
            yield ReloadUserManager(manager.uid, desired.user_placements, because)


def _plan_units(desired: Desired, observed: Observed) -> Iterator[Operation]:
    running = {path for path, _ in observed.cgroup_ids}
    for exit_ in desired.exits:
        if exit_.profile.slice_cgroup not in running:
            yield StartUnit(exit_.profile.slice, "it has no cgroup to match")
    keeps = desired.runs_holders  # PID 1 stops it with the user's manager
    wanted = {
        RECONCILE_TIMER: desired.runs_timer,
        GATE_SERVICE: desired.runs_gate,
        **{unit: keeps for unit in observed.active_units if is_holder_unit(unit)},
        **{
            holder_unit(manager.uid): True
            for manager in observed.user_managers
            if starts_holder(manager, desired, observed)
        },
    }
    for unit, runs in wanted.items():
        if runs and unit not in (*observed.active_units, *observed.failed_units):
            yield StartUnit(unit, "it is switched on")
        if unit in observed.active_units and not runs:
            yield StopUnit(unit, "it is switched off")
    for scope in observed.empty_scopes:
        yield StopUnit(scope, "its processes are gone")
    for cgroup in observed.empty_homes:
        yield RemoveCgroup(cgroup, "its processes are gone")


def _plan_routes(
    desired: Desired, uplinks: tuple[Uplink, ...], vpn: Vpn | None, observed: Observed
) -> tuple[list[Operation], list[Operation]]:
    wanted: list[Route] = []
    if not desired.cleared:
        wanted += [route for uplink in uplinks for route in table_routes(uplink, observed)]
    if vpn and not desired.cleared:
        wanted += vpn_routes(vpn, observed, keeps_near=desired.traffic.auto_local_bypass)
    present = [route for route in observed.routes if route.table in TABLES]
    occupied = {route.slot for route in present if route.family is Family.IPV4}
    there = set(present)
    missing = [route for route in wanted if route not in there]
    up: list[Operation] = [
        AddRoute(route, route.slot in occupied, _why_route(route, uplinks)) for route in missing
    ]
    taken = {route.slot for route in missing if route.slot in occupied}
    keep = set(wanted)
    down: list[Operation] = [
        DeleteRoute(route, _CLEARED if desired.cleared else "it is not, or no longer, a way out")
        for route in reversed(present)
        if route not in keep and route.slot not in taken
    ]
    return up, down


def _why_route(route: Route, uplinks: tuple[Uplink, ...]) -> str:
    names = (uplink.exit.profile.name for uplink in uplinks if uplink.exit.table == route.table)
    if route.kind is RouteKind.THROW:
        return "the tunnel's own packets must not enter it again"
    if route.is_default and not route.link:
        return "the last resort: nothing falls through"
    if route.destination in WAYS_OUT:
        return "the way out"
    return f"{route.destination} stays near for {next(names, 'the VPN')}"


def _plan_rules(
    desired: Desired, uplinks: tuple[Uplink, ...], vpn: Vpn | None, observed: Observed
) -> tuple[list[Operation], list[Operation], list[Operation]]:
    """Return what adds, what deletes, and what does both to the rules of the mode.

    Added from the first to the last, deleted from the last to the first: no rule ever stands in
    front of another without those that are to come before both.
    """
    exits = tuple(uplink.exit for uplink in uplinks)
    wanted = () if desired.cleared else plan_rules(desired, exits, vpn, observed)
    present = [rule for rule in observed.rules if is_own_rule(rule)]
    up = [AddRule(rule, describe_purpose(rule, desired)) for rule in wanted if rule not in present]
    gone = _CLEARED if desired.cleared else "it is not wanted, or not at this preference"
    down = [
        DeleteRule(rule, gone)
        for rule in sorted(present, key=lambda rule: (rule.family, -rule.preference))
        if rule not in wanted or present.count(rule) > 1
    ]
    return (
        [operation for operation in up if not is_base_rule(operation.rule)],
        [operation for operation in down if not is_base_rule(operation.rule)],
        [
            *(operation for operation in up if is_base_rule(operation.rule)),
            *(operation for operation in down if is_base_rule(operation.rule)),
        ],
    )


def _plan_table(
    desired: Desired,
    ways: tuple[tuple[Uplink, ...], Vpn | None],
    steering: Steering,
    observed: Observed,
) -> tuple[list[Operation], list[Operation]]:
    uplinks, vpn = ways
    if not uplinks and not vpn:
        gone = "no profile is steered" if desired.exits else "byway stops"
        return [], [DeleteTable(TABLE_NAME, gone)] if observed.table is not None else []
    steered = any(uplink.exit.profile.name == DEFAULT_PROFILE for uplink in uplinks)
    selection = find_selection(desired, vpn, observed, is_steered=steered)
    table = build_table(uplinks, steering, observed, selection)
    if observed.table is None:
        return [ReplaceTable(table, "there is none")], []
    wanted = table.outline()
    if wanted.chains != observed.table.chains:
        return [ReplaceTable(table, "its rules differ")], []
    return _plan_sets(table, wanted, observed.table), []


def _plan_sets(table: NftTable, wanted: TableOutline, seen: TableOutline) -> list[Operation]:
    if [(s.name, s.kind) for s in wanted.sets] != [(s.name, s.kind) for s in seen.sets]:
        return [ReplaceTable(table, "its sets differ")]
    return [
        UpdateSet(
            table.name,
            want.name,
            want.kind,
            _without(want.elements, have.elements),
            _without(have.elements, want.elements),
            "its elements differ",
        )
        for want, have in zip(wanted.sets, seen.sets, strict=True)
        if want.elements != have.elements
    ]


def _without(elements: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is not among the others, in order; both may be 100,000."""
    known = frozenset(others)
    return tuple(element for element in elements if element not in known)


def _plan_markers(
    desired: Desired, steering: Steering, observed: Observed
) -> tuple[list[Operation], list[Operation]]:
    existing = {path for path, _ in observed.cgroup_ids}
    wanted = {
        (steered.cgroup, steered.mark)
        for steered in steering.cgroups
        if desired.marks_sockets
        and not observed.marker_fault
        # A slice that is missing has been started by then; the gate's cgroups come with the gate.
        and (steered.cgroup in existing or steered.started)
    }
    because = "its sockets take the direct link's own address"
    pinned, unpinned = _plan_pins(desired, wanted, observed)
    for_vpn = "its sockets take the VPN's own address"
    vpn_mark = desired.vpn_mark if desired.traffic.uses_vpn else 0
    up: list[Operation] = [
        AttachMarker(cgroup, mark, desired.mark_mask, for_vpn if mark == vpn_mark else because)
        for cgroup, mark in sorted(wanted - {*observed.markers})
    ]
    down: list[Operation] = [
        DetachMarker(cgroup, mark, "its sockets are not to be marked")
        for cgroup, mark in sorted({*observed.markers} - wanted)
    ]
    return [*up, *pinned], [*unpinned, *down]


def _plan_pins(
    desired: Desired, marked: set[tuple[str, int]], observed: Observed
) -> tuple[list[Operation], list[Operation]]:
    """Pin the slices' markers where the generator can name them to systemd."""
    pins = dict(observed.pins or ())
    wanted = {
        exit_.profile.name: exit_.mark
        for exit_ in desired.exits
        if desired.has_generator
        and observed.pins is not None
        and (exit_.profile.slice_cgroup, exit_.mark) in marked
    }
    up: list[Operation] = [
        PinMarker(name, mark, desired.mark_mask, "systemd attaches it when it makes the slice anew")
        for name, mark in sorted(wanted.items())
        if pins.get(name) != mark
    ]
    down: list[Operation] = [
        UnpinMarker(name, "its sockets are not to be marked")
        for name in sorted({*pins} - {*wanted})
    ]
    return up, down


def _plan_open_sockets(
    desired: Desired, steering: Steering, observed: Observed
) -> tuple[list[Operation], list[Operation]]:
    existing = {path for path, _ in observed.cgroup_ids}
    wanted = {
        steered.cgroup: steered.profile
        for steered in steering.cgroups
        if steered.cgroup in existing or steered.started
    }
    done = dict(observed.cut_over)
    up: list[Operation] = [
        CutOver(
            cgroup, profile, _inner(cgroup, wanted), steering.verdict(profile),
            "what is open already follows too",
        )
        for cgroup, profile in sorted(wanted.items())
        if done.get(cgroup) != profile
    ]  # fmt: skip
    # Left behind in a cgroup that is not steered any more. When byway stops, what runs goes on.
    verdict = replace(steering.verdict(""), reset=steering.resets and bool(desired.exits))
    down: list[Operation] = [
        CutOver(cgroup, "", _inner(cgroup, wanted), verdict, "it is not steered any more")
        for cgroup in sorted(done)
        if cgroup not in wanted
    ]
    return up, down


def _inner(cgroup: str, wanted: dict[str, str]) -> tuple[str, ...]:
    """The cgroups below that have a verdict of their own."""
    return tuple(sorted(c for c in wanted if c != cgroup and is_below(c, cgroup)))


def plan_placement(desired: Desired, steering: Steering, observed: Observed) -> Iterator[Operation]:
    """Return the moves of processes into and out of slices."""
    executables = wanted_executables(observed)
    for process in observed.processes:
        if operation := plan_process(desired, steering, process, executables):
            yield operation
