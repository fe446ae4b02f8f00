"""The machine byway runs on: the System that reconcile works with, made of the adapters."""

from __future__ import annotations

import errno
import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from byway_systemd.core import operations as op
from byway_systemd.core.app_units import find_unit_groups, user_units
from byway_systemd.core.apps import AppKind
from byway_systemd.core.config import GATE_OWN_CGROUP, GATE_SERVICE, HOLDER_CGROUP, Profile
from byway_systemd.core.desired import PINS
from byway_systemd.core.observed import Group, Observed, Service, UserManager
from byway_systemd.core.placement import bound_groups, may_be_adopted
from byway_systemd.core.steering import find_cgroups, is_below
from byway_systemd.core.sysctls import SETTINGS
from byway_systemd.core.traffic import Traffic
from byway_systemd.core.users import HOLDER_UNITS, is_holder_unit, manager_cgroup
from byway_systemd.system import cgroups, files, homes
from byway_systemd.system.cgroups import Marker
from byway_systemd.system.executables import observe_executables
from byway_systemd.system.link_dns import observe_link_dns
from byway_systemd.system.logins import observe_logins
from byway_systemd.system.manager import Manager
from byway_systemd.system.nftables import Nftables
from byway_systemd.system.processes import (
    descendants,
    observe_groups,
    observe_processes,
    start_time,
)
from byway_systemd.system.resolver import observe_addresses
from byway_systemd.system.routing import Routing
from byway_systemd.system.socket_marker import SocketMarkers
from byway_systemd.system.state import State
from byway_systemd.system.sysctls import observe_sysctl, write_sysctl
from byway_systemd.system.tunnels import observe_tunnels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from typing import Any

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.network import Link
    from byway_systemd.core.nftables import NftTable

log = logging.getLogger("byway")

_TABLE = "byway"
_PINS = Path(PINS)
_RUNNING = ("active", "activating")


class Machine:
    """Observe and change the running system (``root`` is for its files only)."""

    def __init__(self, root: Path) -> None:
        """Open what is needed; raise OSError."""
        self._root = root
        self._routing = Routing()
        self._nftables = Nftables()
        self._manager = Manager()
        self._state = State(root)
        self._markers = SocketMarkers()
        self._marker_fault = self._markers.probe()
        self._apply: dict[type, Callable[[Any], None]] = {
            op.WriteUnitFile: lambda o: files.write_unit_file(root, o.path, o.text),
            op.RemoveUnitFile: lambda o: files.remove_unit_file(root, o.path),
            op.ReloadManager: lambda _: self._manager.reload(),
            op.ReloadUserManager: self._reload_user_manager,
            op.StartUnit: lambda o: self._manager.start(o.name),
            op.StopUnit: lambda o: self._manager.stop(o.name),
            op.WriteSysctl: self._write_sysctl,
            op.RestoreSysctl: self._restore_sysctl,
            op.AddRoute: self._add_route,
            op.DeleteRoute: lambda o: self._routing.delete_route(o.route),
            op.AddRule: lambda o: self._routing.add_rule(o.rule),
            op.DeleteRule: lambda o: self._routing.delete_rule(o.rule),
            op.ReplaceTable: lambda o: self._nftables.replace_table(_resolve(o.table)),
            op.UpdateSet: self._update_set,
            op.DeleteTable: lambda o: self._nftables.delete_table(o.name),
            op.AttachMarker: self._attach_marker,
            op.DetachMarker: lambda o: self._markers.detach(_cgroup(o.path), o.mark),
            op.PinMarker: lambda o: self._markers.pin(_PINS / o.name, o.mark, o.mask),
            op.UnpinMarker: lambda o: self._markers.unpin(_PINS / o.name),
            op.CutOver: self._cut_over,
            op.RemoveCgroup: lambda o: cgroups.remove(o.path),
            op.PlaceProcess: self._place,
            op.ReturnProcess: self._return,
        }

    def follow_ruleset(self, pause: Callable[[], AbstractContextManager[None]]) -> None:
        """Follow nftables' commits; sets of many elements load in ``pause()`` (see Nftables)."""
        self._nftables.pause = pause
        self._nftables.follow(_TABLE)

    def close(self) -> None:
        """Close all connections."""
        self._routing.close()
        self._nftables.close()
        self._manager.close()

    def observe(self, desired: Desired, previous: Observed | None = None) -> Observed:
        """Return the machine as it is; with ``previous``, only the network anew."""
        base = self._observe_processes(desired) if previous is None else previous
        base = self._observe_users(base)
        names = desired.traffic.bare_names if desired.exits else frozenset()
        base = replace(base, named_cgroups=tuple(cgroups.find_named(names)) if names else ())
        links = self._routing.observe_links()
        touched = self._touched_cgroups()
        observed = replace(
            base,
            links=links,
            routes=self._routing.observe_routes(),
            rules=self._routing.observe_rules(),
            host_addresses=observe_addresses(self._root, desired.traffic.host_names),
            tunnels=observe_tunnels(links) if desired.traffic.uses_vpn else (),
            table=self._nftables.observe_table(_TABLE),
            sysctls=_observe_sysctls(links),
            link_dns=tuple(observe_link_dns(self._root, desired.profiles, links)),
            saved_sysctls=tuple(sorted(self._state.saved_sysctls().items())),
            cgroup_ids=_observe_ids(desired, base),
            markers=self._observe_markers(touched),
            marker_fault=self._marker_fault,
            pins=self._markers.observe_pins(_PINS),
            cut_over=tuple((c, p) for c in touched if (p := cgroups.read_profile(c))),
        )
        return observed if previous is None else replace(observed, processes=())

    def apply(self, operation: op.Operation) -> None:
        """Make one change; raise OSError."""
        self._apply[type(operation)](operation)

    def _observe_processes(self, desired: Desired) -> Observed:
        executables = observe_executables(desired.profiles)
        named = _observe_named_groups(desired.profiles)
        places = (*_all_cgroups(desired.profiles), *(group.cgroup for group in named))
        processes = observe_processes(executables, places)
        return replace(
            self._observe_units(desired),
            logins=observe_logins(self._root) if desired.traffic != Traffic() else (),
            executables=executables,
            processes=processes,
            groups=bound_groups((*named, *observe_groups(processes, executables, named))),
        )

    def _observe_units(self, desired: Desired) -> Observed:
        unit_files, runtime = files.observe_unit_files(self._root)
        states = self._manager.states(desired.units)
        return Observed(
            unit_files=unit_files,
            runtime_files=runtime,
            services=tuple(self._observe_services(desired.profiles)),
            active_units=tuple(unit for unit, state in states.items() if state in _RUNNING),
            starting_units=tuple(unit for unit, state in states.items() if state == "activating"),
            failed_units=tuple(unit for unit, state in states.items() if state == "failed"),
            gate_note=self._observe_gate(states.get(GATE_SERVICE, "")),
            empty_scopes=tuple(
                scope
                for profile in desired.profiles
                for scope in cgroups.empty_scopes(profile.slice_cgroup)
            ),
            empty_homes=tuple(cgroups.empty_homes()),
        )

    def _observe_services(self, profiles: tuple[Profile, ...]) -> Iterable[Service]:
        """Find the services of ``unit:`` entries, and those that are in a slice by other means."""
        configured = {
            app.value: profile
            for profile in profiles
            for app in profile.apps
            if app.kind is AppKind.UNIT
        }
        inside = dict(cgroups.services_in(Profile().slice_cgroup))
        for name, profile in configured.items():
            places = (profile.slice_cgroup, "/system.slice", Profile().slice_cgroup)
            paths = (inside.get(name), *(f"{place}/{name}" for place in places))
            running = (p for p in paths if p and cgroups.cgroup_id(p) is not None)
            yield Service(name, next(running, ""))
        for name, cgroup in inside.items():
            if name not in configured:
                with suppress(OSError):  # it has ended meanwhile
                    yield Service(name, cgroup, self._manager.slice_of(name))

    def _observe_users(self, base: Observed) -> Observed:
        """Look at the users' managers: also for the network alone, as they come and go."""
        states = self._manager.states_like("user@*.service", HOLDER_UNITS)
        holders = {unit: state for unit, state in states.items() if is_holder_unit(unit)}
        # One that is being stopped is left to that: PID 1 does it with the user's manager.
        there = (*_RUNNING, "deactivating")
        active = (unit for unit, state in holders.items() if state in there)
        failed = (unit for unit, state in holders.items() if state == "failed")
        return replace(
            base,
            user_managers=tuple(
                UserManager(
                    uid,
                    cgroup,
                    holds=cgroups.cgroup_id(cgroup + HOLDER_CGROUP) is not None,
                    state=states.get(f"user@{uid}.service", "inactive"),
                    placements=self._state.placements(uid, cgroups.cgroup_id(cgroup)),
                )
                for uid, cgroup in cgroups.user_managers()
            ),
            active_units=_update(base.active_units, active),
            failed_units=_update(base.failed_units, failed),
        )

    def _touched_cgroups(self) -> tuple[str, ...]:
        """Return every cgroup that can carry something of byway's."""
        return (*cgroups.steered_cgroups(), *self._state.cgroups())

    def _observe_gate(self, state: str) -> str:
        if state == "failed":
            with suppress(OSError):  # the reason is good to know, no more
                return self._manager.status_text(GATE_SERVICE)
        return ""

    def _observe_markers(self, touched: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
        if self._marker_fault:
            return ()
        return tuple(
            (cgroup, mark) for cgroup in touched for mark in self._markers.observe(_cgroup(cgroup))
        )

    def _reload_user_manager(self, operation: op.ReloadUserManager) -> None:
        uid = operation.uid
        self._manager.reload_user_manager(uid)
        number = cgroups.cgroup_id(manager_cgroup(uid))
        self._state.remember_placements(uid, number, operation.placements)

    def _write_sysctl(self, operation: op.WriteSysctl) -> None:
        if operation.save and (before := observe_sysctl(operation.key)) is not None:
            self._state.save_sysctl(operation.key, before)
        write_sysctl(operation.key, operation.value)

    def _restore_sysctl(self, operation: op.RestoreSysctl) -> None:
        if observe_sysctl(operation.key) is not None:  # else its link has gone
            write_sysctl(operation.key, operation.value)
        self._state.forget_sysctl(operation.key)

    def _add_route(self, operation: op.AddRoute) -> None:
        if operation.replace:
            self._routing.replace_route(operation.route)
        else:
            self._routing.add_route(operation.route)

    def _update_set(self, operation: op.UpdateSet) -> None:
        self._nftables.update_set(
            operation.table,
            operation.name,
            operation.kind,
            _resolve_elements(operation.add),
            operation.remove,
        )

    def _attach_marker(self, operation: op.AttachMarker) -> None:
        self._remember(operation.path)
        self._markers.attach(_cgroup(operation.path), operation.mark, operation.mask)

    def _cut_over(self, operation: op.CutOver) -> None:
        if operation.profile:
            self._remember(operation.path)
        others = (*operation.but, GATE_OWN_CGROUP)
        members = cgroups.members(operation.path)
        pids = [pid for pid, cgroup in members if not any(is_below(cgroup, o) for o in others)]
        if pids:
            _cut_over(pids, operation.verdict)
        cgroups.write_profile(operation.path, operation.profile)
        if not operation.profile:
            self._state.forget_cgroup(operation.path)

    def _remember(self, cgroup: str) -> None:
        if cgroup not in cgroups.steered_cgroups():
            self._state.remember_cgroup(cgroup)

    def _place(self, operation: op.PlaceProcess) -> None:
        marker = Marker(operation.origin, operation.app)
        pid, name = operation.pid, operation.name
        try:
            others = homes.place(pid, operation.start, operation.home, marker)
        except ProcessLookupError:
            raise
        except OSError:  # there is none, or its user has changed it
            self._manager.place(pid, operation.start, name, operation.slice, marker)
            others = ()
        for other in others:  # what is root's in it, behind sudo, is no user's to end
            with suppress(OSError):
                self._manager.place(other, start_time(other), name, operation.slice, marker)
        _cut_over((pid, *descendants(pid)), operation.verdict)

    def _return(self, operation: op.ReturnProcess) -> None:
        pid, start, origin = operation.pid, operation.start, operation.origin
        if not homes.give_back(pid, start, origin):
            self._manager.give_back(pid, start, origin)
        _cut_over((operation.pid,), operation.verdict)


def _cut_over(pids: Iterable[int], verdict: op.SocketVerdict) -> None:
    """Make open sockets follow; what cannot is said, and does not keep the rest from it."""
    from byway_systemd.system.open_sockets import cut_over  # noqa: PLC0415 - most never need it

    try:
        done = cut_over(pids, verdict.mark, verdict.mask, verdict.near, reset=verdict.reset)
    except OSError as error:
        log.warning("tracked flows may stay on their old way until they end: %s", error)
        return
    if done.failed:
        log.warning(
            "open sockets that could not be led over: %d; restart what they belong to", done.failed
        )


def _update(units: tuple[str, ...], holders: Iterable[str]) -> tuple[str, ...]:
    return (*(unit for unit in units if not is_holder_unit(unit)), *sorted(holders))


def _cgroup(path: str) -> str:
    return f"{cgroups.MOUNT}{path}"


def _observe_named_groups(profiles: tuple[Profile, ...]) -> tuple[Group, ...]:
    """Return the units of users' managers that are a listed app's by name, outside of slices."""
    if not any(user_units(app) for profile in profiles for app in profile.apps):
        return ()
    outside = (cgroup for cgroup in cgroups.user_unit_cgroups() if may_be_adopted(cgroup))
    return find_unit_groups(outside, profiles)


def _all_cgroups(profiles: Iterable[Profile]) -> tuple[str, ...]:
    """Return where byway's processes can be: all is below a byway.slice."""
    if not tuple(profiles):
        return ()
    managers = ("", *(cgroup for _, cgroup in cgroups.user_managers()))
    return tuple(f"{manager}{Profile().slice_cgroup}" for manager in managers)


def _observe_sysctls(links: tuple[Link, ...]) -> tuple[tuple[str, str], ...]:
    keys = (
        f"net/{family}/conf/{link.name}/{setting}"
        for link in links
        if not link.loopback
        for family, settings in SETTINGS.items()
        for setting in settings
    )
    values = ((key, observe_sysctl(key)) for key in keys)
    return tuple((key, value) for key, value in values if value is not None)


def _observe_ids(desired: Desired, observed: Observed) -> tuple[tuple[str, int], ...]:
    wanted = find_cgroups(desired, observed)
    ids = ((cgroup, cgroups.cgroup_id(cgroup)) for cgroup in wanted)
    return tuple((cgroup, number) for cgroup, number in ids if number is not None)


def _resolve(table: NftTable) -> NftTable:
    """Put the ids of cgroups in the place of their paths."""
    sets = tuple(replace(s, elements=_resolve_elements(s.elements)) for s in table.sets)
    return replace(table, sets=sets)


def _resolve_elements(elements: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_resolve_element(element) for element in elements)


def _resolve_element(element: str) -> str:
    if not element.startswith("/"):
        return element
    number = cgroups.cgroup_id(element)
    if number is None:
        raise FileNotFoundError(errno.ENOENT, f"the cgroup {element} does not exist")
    return str(number)
