"""The machine byway runs on: the System that reconcile works with, made of the adapters."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from byway_systemd.core import operations as op
from byway_systemd.core.apps import AppKind
from byway_systemd.core.config import GATE_SERVICE, Profile
from byway_systemd.core.observed import Observed, Service
from byway_systemd.system import cgroups, files
from byway_systemd.system.cgroups import Marker
from byway_systemd.system.executables import observe_executables
from byway_systemd.system.manager import Manager
from byway_systemd.system.nftables import Nftables
from byway_systemd.system.processes import observe_processes
from byway_systemd.system.routing import Routing
from byway_systemd.system.socket_marker import SocketMarkers
from byway_systemd.system.state import State
from byway_systemd.system.sysctls import observe_sysctl, write_sysctl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Any

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.network import Link
    from byway_systemd.core.nftables import NftTable

_TABLE = "byway"


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
            op.AttachMarker: lambda o: self._markers.attach(_cgroup(o.path), o.mark, o.mask),
            op.DetachMarker: lambda o: self._markers.detach(_cgroup(o.path), o.mark),
            op.PlaceProcess: self._place,
            op.ReturnProcess: lambda o: self._manager.give_back(o.pid, o.start, o.origin),
        }

    def close(self) -> None:
        """Close all connections."""
        self._routing.close()
        self._nftables.close()
        self._manager.close()

    def observe(self, desired: Desired, previous: Observed | None = None) -> Observed:
        """Return the machine as it is; with ``previous``, only the network anew."""
        base = self._observe_units(desired) if previous is None else previous
        links = self._routing.observe_links()
        observed = replace(
            base,
            links=links,
            routes=self._routing.observe_routes(),
            rules=self._routing.observe_rules(),
            table=self._nftables.observe_table(_TABLE),
            sysctls=_observe_sysctls(links),
            saved_sysctls=tuple(sorted(self._state.saved_sysctls().items())),
            cgroup_ids=_observe_ids(desired.profiles),
            markers=self._observe_markers(),
            marker_fault=self._marker_fault,
            processes=(),
        )
        if previous is not None:
            return observed
        executables = observe_executables(desired.profiles)
        processes = observe_processes(executables, _all_cgroups(desired.profiles))
        return replace(observed, executables=executables, processes=processes)

    def apply(self, operation: op.Operation) -> None:
        """Make one change; raise OSError."""
        self._apply[type(operation)](operation)

    def _observe_units(self, desired: Desired) -> Observed:
        unit_files, runtime = files.observe_unit_files(self._root)
        states = self._manager.states(desired.units)
        return Observed(
            unit_files=unit_files,
            runtime_files=runtime,
            services=tuple(_observe_services(desired.profiles)),
            active_units=tuple(
                unit for unit, state in states.items() if state in ("active", "activating")
            ),
            starting_units=tuple(unit for unit, state in states.items() if state == "activating"),
            failed_units=tuple(unit for unit, state in states.items() if state == "failed"),
            gate_note=self._observe_gate(states.get(GATE_SERVICE, "")),
            empty_scopes=tuple(
                scope
                for profile in desired.profiles
                for scope in cgroups.empty_scopes(profile.slice_cgroup)
            ),
        )

    def _observe_gate(self, state: str) -> str:
        if state == "failed":
            with suppress(OSError):  # the reason is good to know, no more
                return self._manager.status_text(GATE_SERVICE)
        return ""

    def _observe_markers(self) -> tuple[tuple[str, int], ...]:
        if self._marker_fault:
            return ()
        return tuple(
            (cgroup, mark)
            for cgroup in cgroups.steered_cgroups()
            for mark in self._markers.observe(_cgroup(cgroup))
        )

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

    def _place(self, operation: op.PlaceProcess) -> None:
        marker = Marker(operation.origin, operation.app)
        self._manager.place(operation.pid, operation.start, operation.name, operation.slice, marker)


def _cgroup(path: str) -> str:
    return f"{cgroups.MOUNT}{path}"


def _all_cgroups(profiles: Iterable[Profile]) -> tuple[str, ...]:
    """Return where byway's processes can be: all is below byway.slice."""
    return (Profile().slice_cgroup,) if tuple(profiles) else ()


def _observe_sysctls(links: tuple[Link, ...]) -> tuple[tuple[str, str], ...]:
    keys = (f"net/ipv4/conf/{link.name}/src_valid_mark" for link in links if not link.loopback)
    values = ((key, observe_sysctl(key)) for key in keys)
    return tuple((key, value) for key, value in values if value is not None)


def _observe_ids(profiles: Iterable[Profile]) -> tuple[tuple[str, int], ...]:
    wanted = (cgroup for profile in profiles for cgroup in profile.cgroups)
    ids = ((cgroup, cgroups.cgroup_id(cgroup)) for cgroup in wanted)
    return tuple((cgroup, number) for cgroup, number in ids if number is not None)


def _observe_services(profiles: tuple[Profile, ...]) -> Iterable[Service]:
    """Find the services of ``unit:`` entries in their own slice or where they were before."""
    for profile in profiles:
        for app in profile.apps:
            if app.kind is AppKind.UNIT:
                places = (profile.slice_cgroup, "/system.slice", "/byway.slice")
                paths = (f"{place}/{app.value}" for place in places)
                running = (path for path in paths if cgroups.cgroup_id(path) is not None)
                yield Service(app.value, next(running, ""))


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
