"""The outside world over a value: applies operations to an Observed."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from byway_systemd.core.nftables import NftSet, NftTable, TableOutline
from byway_systemd.core.users import holder_unit, is_holder_unit, name_home

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.core import operations as op
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed


class FakeSystem:
    """A System whose world is ``observed``. ``refuse`` makes an operation fail."""

    def __init__(
        self, observed: Observed, refuse: Callable[[op.Operation], bool] = lambda _: False
    ) -> None:
        self.observed = observed
        self.generated: dict[str, str] = {}
        self.applied: list[op.Operation] = []
        self._refuse = refuse
        self._lock = threading.Lock()
        self._next_id = 1000

    def observe(self, desired: Desired, previous: Observed | None = None) -> Observed:
        self.generated = dict(desired.unit_files) if desired.has_generator else {}
        return self.observed

    def apply(self, operation: op.Operation) -> None:
        if self._refuse(operation):
            raise OSError(1, "refused")
        with self._lock:  # what takes long is applied in a thread
            changes: Any = getattr(self, "_" + type(operation).__name__)(operation)
            self.observed = replace(self.observed, **changes)
        self.applied.append(operation)

    def _WriteUnitFile(self, o: op.WriteUnitFile) -> dict[str, Any]:  # noqa: N802
        files = {**dict(self.observed.unit_files), o.path: o.text}
        runtime = {*self.observed.runtime_files, o.path}
        return {"unit_files": tuple(sorted(files.items())), "runtime_files": tuple(sorted(runtime))}

    def _RemoveUnitFile(self, o: op.RemoveUnitFile) -> dict[str, Any]:  # noqa: N802
        files = {k: v for k, v in self.observed.unit_files if k != o.path}
        runtime = tuple(path for path in self.observed.runtime_files if path != o.path)
        return {"unit_files": tuple(sorted(files.items())), "runtime_files": runtime}

    def _ReloadManager(self, _: op.ReloadManager) -> dict[str, Any]:  # noqa: N802
        runtime = {k: v for k, v in self.observed.unit_files if k in self.observed.runtime_files}
        files = {**self.generated, **runtime}
        return {"unit_files": tuple(sorted(files.items()))}

    def _ReloadUserManager(self, o: op.ReloadUserManager) -> dict[str, Any]:  # noqa: N802
        managers = (
            replace(m, placements=o.placements) if m.uid == o.uid else m
            for m in self.observed.user_managers
        )
        return {"user_managers": tuple(managers)}

    def _StartUnit(self, o: op.StartUnit) -> dict[str, Any]:  # noqa: N802
        if is_holder_unit(o.name):
            managers = tuple(
                replace(m, holds=m.holds or holder_unit(m.uid) == o.name)
                for m in self.observed.user_managers
            )
            active = (*self.observed.active_units, o.name)
            return {"user_managers": managers, "active_units": active}
        if not o.name.endswith(".slice"):
            return {"active_units": (*self.observed.active_units, o.name)}
        self._next_id += 1
        path = "/byway.slice" if o.name == "byway.slice" else f"/byway.slice/{o.name}"
        return {"cgroup_ids": (*self.observed.cgroup_ids, (path, self._next_id))}

    def _StopUnit(self, o: op.StopUnit) -> dict[str, Any]:  # noqa: N802
        return {
            "active_units": tuple(u for u in self.observed.active_units if u != o.name),
            "empty_scopes": tuple(u for u in self.observed.empty_scopes if u != o.name),
        }

    def _RemoveCgroup(self, o: op.RemoveCgroup) -> dict[str, Any]:  # noqa: N802
        return {"empty_homes": tuple(c for c in self.observed.empty_homes if c != o.path)}

    def _WriteSysctl(self, o: op.WriteSysctl) -> dict[str, Any]:  # noqa: N802
        before = dict(self.observed.sysctls)
        saved = dict(self.observed.saved_sysctls)
        if o.save:
            saved[o.key] = before[o.key]
        return {
            "sysctls": tuple(sorted({**before, o.key: o.value}.items())),
            "saved_sysctls": tuple(sorted(saved.items())),
        }

    def _RestoreSysctl(self, o: op.RestoreSysctl) -> dict[str, Any]:  # noqa: N802
        now = {k: o.value if k == o.key else v for k, v in self.observed.sysctls}
        saved = {k: v for k, v in self.observed.saved_sysctls if k != o.key}
        return {
            "sysctls": tuple(sorted(now.items())),
            "saved_sysctls": tuple(sorted(saved.items())),
        }

    def _AddRoute(self, o: op.AddRoute) -> dict[str, Any]:  # noqa: N802
        kept = [r for r in self.observed.routes if not (o.replace and r.slot == o.route.slot)]
        return {"routes": (*kept, o.route)}

    def _DeleteRoute(self, o: op.DeleteRoute) -> dict[str, Any]:  # noqa: N802
        return {"routes": tuple(r for r in self.observed.routes if r != o.route)}

    def _AddRule(self, o: op.AddRule) -> dict[str, Any]:  # noqa: N802
        rules = sorted((*self.observed.rules, o.rule), key=lambda rule: rule.preference)
        return {"rules": tuple(rules)}

    def _DeleteRule(self, o: op.DeleteRule) -> dict[str, Any]:  # noqa: N802
        rules = list(self.observed.rules)
        rules.remove(o.rule)
        return {"rules": tuple(rules)}

    def _ReplaceTable(self, o: op.ReplaceTable) -> dict[str, Any]:  # noqa: N802
        return {"table": self.resolve(o.table).outline()}

    def _UpdateSet(self, o: op.UpdateSet) -> dict[str, Any]:  # noqa: N802
        table = self.observed.table
        assert table is not None
        added = {self.identify(element) for element in o.add}
        sets = tuple(
            NftSet(s.name, s.kind, tuple(sorted(({*s.elements} | added) - {*o.remove})))
            if s.name == o.name
            else s
            for s in table.sets
        )
        return {"table": TableOutline(table.chains, sets)}

    def _DeleteTable(self, _: op.DeleteTable) -> dict[str, Any]:  # noqa: N802
        return {"table": None}

    def _AttachMarker(self, o: op.AttachMarker) -> dict[str, Any]:  # noqa: N802
        return {"markers": (*self.observed.markers, (o.path, o.mark))}

    def _DetachMarker(self, o: op.DetachMarker) -> dict[str, Any]:  # noqa: N802
        kept = (marker for marker in self.observed.markers if marker != (o.path, o.mark))
        return {"markers": tuple(kept)}

    def _PinMarker(self, o: op.PinMarker) -> dict[str, Any]:  # noqa: N802
        pins = dict(self.observed.pins or ()) | {o.name: o.mark}
        return {"pins": tuple(sorted(pins.items()))}

    def _UnpinMarker(self, o: op.UnpinMarker) -> dict[str, Any]:  # noqa: N802
        kept = (pin for pin in self.observed.pins or () if pin[0] != o.name)
        return {"pins": tuple(kept)}

    def _CutOver(self, o: op.CutOver) -> dict[str, Any]:  # noqa: N802
        kept = {path: profile for path, profile in self.observed.cut_over if path != o.path}
        if o.profile:
            kept[o.path] = o.profile
        return {"cut_over": tuple(sorted(kept.items()))}

    def _PlaceProcess(self, o: op.PlaceProcess) -> dict[str, Any]:  # noqa: N802
        slice_ = "" if o.slice == "byway.slice" else f"/{o.slice}"
        cgroup = f"/byway.slice{slice_}/byway-{o.pid}.scope"
        if o.home:
            cgroup = f"{o.home}/{name_home(o.app, o.origin, by_gate=False)}"
        return self._move(o.pid, cgroup, o.origin, o.app)

    def _ReturnProcess(self, o: op.ReturnProcess) -> dict[str, Any]:  # noqa: N802
        return self._move(o.pid, o.origin, "", "")

    def _move(self, pid: int, cgroup: str, origin: str, app: str) -> dict[str, Any]:
        processes = tuple(
            replace(p, cgroup=cgroup, origin=origin, app=app) if p.pid == pid else p
            for p in self.observed.processes
        )
        return {"processes": processes}

    def identify(self, element: str) -> str:
        return str(dict(self.observed.cgroup_ids)[element]) if element[0] == "/" else element

    def resolve(self, table: NftTable) -> NftTable:
        sets = (
            replace(s, elements=tuple(self.identify(element) for element in s.elements))
            for s in table.sets
        )
        return replace(table, sets=tuple(sets))
