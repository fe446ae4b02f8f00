"""The routes that read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byway_systemd.api.message import Response, answer
from byway_systemd.api.problem import ProblemError
from byway_systemd.core.apps import RefusedError, refuse_control_characters
from byway_systemd.core.errors import ConfigError
from byway_systemd.core.explain import (
    explain_destination,
    explain_process,
    explain_unit,
    knows_unit,
)
from byway_systemd.core.parse import parse_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.api.changes import Changes
    from byway_systemd.api.configuration import Snapshot
    from byway_systemd.api.message import Request
    from byway_systemd.api.service import Engine, Service
    from byway_systemd.core.config import Config
    from byway_systemd.core.traffic import Traffic

_DESCRIPTION = Path(__file__).with_name("openapi.json")
TOML_TYPE = "application/toml"
# The line that a settings page shows of the traffic section.
_LINE = (
    "mode", "applied_mode", "bypass_routes", "override_count", "resolved_cgroups",
    "cgroup_warnings",
)  # fmt: skip
_LARGEST_PID = 2**22  # PID_MAX_LIMIT in include/linux/threads.h
_LONGEST_NAME = 255


async def get_state(service: Service, _request: Request) -> Response:
    """Say what byway is doing, in wireleap_tun's words and some more."""
    return answer(build_state(service.engine, service.changes, service.version))


def build_state(engine: Engine, changes: Changes, version: str) -> dict[str, Any]:
    """Return what byway is doing, and what of it waits to be confirmed."""
    status = engine.status
    return {
        "state": engine.phase,
        "version": version,
        "in_sync": status.get("in_sync", False),
        "links": {
            profile["name"]: {"link": profile["link"], "state": profile["state"]}
            for profile in status.get("profiles", [])
        },
        "traffic": {
            name: value for name, value in status.get("traffic", {}).items() if name in _LINE
        },
        "warnings": len(status.get("warnings", [])),
        "config_problems": status.get("config_problems", []),
        "failures": status.get("failures", []),
        **changes.present(),
    }


async def get_description(_service: Service, _request: Request) -> Response:
    """Return what there is, as OpenAPI has it."""
    return Response(200, _DESCRIPTION.read_bytes())


async def get_status(service: Service, _request: Request) -> Response:
    """Return the status as ``byway status --json`` has it."""
    engine, start = service.engine, {"version": service.version}
    return _rendered(service, "status", lambda: start | {"state": engine.phase} | engine.status)


async def get_plan(service: Service, _request: Request) -> Response:
    """Return what is left to do since byway last looked, which is after every change."""
    status = service.engine.status
    result = {
        "in_sync": status.get("in_sync", False),
        "plan": status.get("drift", []),
        "failures": status.get("failures", []),
    }
    return _rendered(service, "plan", lambda: result)


async def get_apps(service: Service, _request: Request) -> Response:
    """Return what is listed, and what runs of it."""
    return _rendered(service, "apps", lambda: service.engine.status.get("apps", []))


def _rendered(service: Service, name: str, make: Callable[[], Any]) -> Response:
    return Response(200, service.rendered.get(name, service.engine, make))


async def show_files(service: Service, request: Request) -> Snapshot:
    """Return the files as they are, to those who may read them."""
    snapshot = await asyncio.to_thread(service.configuration.read)
    if not snapshot.public:
        await service.authority.require(request.peer)
    return snapshot


def read_config(snapshot: Snapshot) -> Config:
    """Return what the files say; those that are refused say nothing."""
    try:
        return parse_config(snapshot.files_with({}))
    except ConfigError as error:
        first = error.problems[0]
        raise ProblemError(409, str(first), first.remedy, key=first.key) from None


def read_traffic(snapshot: Snapshot) -> Traffic:
    """Return what the files say of the traffic that is not listed."""
    return read_config(snapshot).traffic


async def get_config(service: Service, request: Request) -> Response:
    """Return the configuration's files, or as TOML the main one."""
    snapshot = await show_files(service, request)
    headers = {"ETag": snapshot.tag}
    if tag_matches(request.headers.get("if-none-match", ""), snapshot.tag):
        return Response(304, headers=headers)
    if request.headers.get("accept", "").split(";")[0].strip() == TOML_TYPE:
        return Response(200, snapshot.main.text.encode(), TOML_TYPE, headers)
    return answer(present_snapshot(snapshot, service), headers=headers)


def present_snapshot(snapshot: Snapshot, service: Service) -> dict[str, Any]:
    """Return the files as a JSON value, and whether they are in force."""
    return {
        "file": snapshot.main.name,
        "text": snapshot.main.text,
        "drop_ins": [{"file": file.name, "text": file.text} for file in snapshot.drop_ins],
        "problems": service.engine.status.get("config_problems", []),
    }


def tag_matches(header: str, tag: str) -> bool:
    """Whether an If-Match or If-None-Match (RFC 9110, 13.1) names ``tag``."""
    names = [name.strip().removeprefix("W/") for name in header.split(",")]
    return "*" in names or tag in names


async def get_explain(service: Service, request: Request) -> Response:
    """Say where a process, a unit or a destination goes, and why."""
    if len(request.parameters) != 1:
        raise ProblemError(
            400, "explain one thing", "write pid=, unit= or destination=", key="query"
        )
    ((name, value),) = request.parameters
    try:
        refuse_control_characters(value)
        if len(value) > _LONGEST_NAME:
            raise RefusedError("too long", "write a pid, a unit's name or an address")
    except RefusedError as error:
        raise ProblemError(400, str(error), error.remedy, key=name) from None
    view = service.engine.view
    match name:
        case "pid":
            return answer(_explain_pid(service, value))
        case "unit":
            return answer(await _explain_unit(service, value))
        case _:
            return answer(explain_destination(view.desired, view.steering, view.observed, value))


async def _explain_unit(service: Service, name: str) -> dict[str, Any]:
    view = service.engine.view
    seen = (view.desired, view.steering, view.observed)
    unit = name if "." in name else f"{name}.service"
    # With a slash it would lead out of the directories that units are looked for in.
    is_name = "/" not in unit and len(unit.encode()) <= _LONGEST_NAME
    known = knows_unit(*seen, unit) or (
        is_name and await asyncio.to_thread(service.outside.has_unit, unit)
    )
    if not known:
        remedy = "write a unit's name as systemctl shows it"
        raise ProblemError(404, f"no such unit: {unit}", remedy, key="unit")
    return explain_unit(*seen, unit)


def _explain_pid(service: Service, text: str) -> dict[str, Any]:
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) <= _LARGEST_PID:
        raise ProblemError(400, f"not a pid: {text!r}", "write a process's number", key="pid")
    process = service.engine.observe_process(int(text))
    if process is None:
        raise ProblemError(404, f"no such process: {text}", "it may have ended", key="pid")
    view = service.engine.view
    return explain_process(view.desired, view.steering, process, view.executables)
