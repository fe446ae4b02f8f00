"""The routes for all other traffic: the mode."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from byway_systemd.api.message import answer
from byway_systemd.api.problem import ProblemError
from byway_systemd.api.reads import read_traffic
from byway_systemd.api.writes import change
from byway_systemd.core.traffic import Mode

if TYPE_CHECKING:
    from byway_systemd.api.configuration import Snapshot, Texts
    from byway_systemd.api.message import Request, Response
    from byway_systemd.api.service import Service


async def get_mode(service: Service, _request: Request) -> Response:
    """Return the mode as the files have it, and whether it is for this boot only."""
    snapshot = await asyncio.to_thread(service.configuration.read)
    traffic = await asyncio.to_thread(read_traffic, snapshot)
    result = {
        "mode": str(traffic.mode),
        "meaning": traffic.mode.meaning,
        "runtime": bool(snapshot.texts.get(snapshot.runtime_name)),
    }
    return answer(result, headers={"ETag": snapshot.tag})


async def put_mode(service: Service, request: Request) -> Response:
    """Set the mode: for good, which ends one for this boot, or for this boot."""
    from byway_systemd.core.edit import (  # noqa: PLC0415 - tomlkit, for writers only
        refuse_other_mode,
        render_runtime_mode,
        set_mode,
    )

    mode, runtime = _read_mode(request.json())

    def edit(snapshot: Snapshot) -> Texts:
        name, main = snapshot.runtime_name, snapshot.main
        if runtime and not name:
            detail = "a mode for this boot would not count"
            remedy = "remove zz-byway-mode.toml from /etc/byway/conf.d, and leave --config out"
            raise ProblemError(409, detail, remedy, key="runtime")
        if runtime:
            texts = {name: render_runtime_mode(mode)}
        else:
            texts = {main.name: set_mode(main.text, mode)} | ({name: ""} if name else {})
        refuse_other_mode(snapshot.files_with(texts), mode)
        return texts

    return await change(service, request, edit)


def _read_mode(value: Any) -> tuple[Mode, bool]:
    known = {"mode", "runtime"}
    example = 'write {"mode": "selective", "runtime": false}'
    if not isinstance(value, dict):
        raise ProblemError(400, "no mode", example, key="body")
    if unknown := value.keys() - known:
        raise ProblemError(400, f"unknown key: {min(unknown)}", example, key=min(unknown))
    mode, runtime = value.get("mode"), value.get("runtime", False)
    if not isinstance(runtime, bool):
        raise ProblemError(400, f"not true or false: {runtime!r:.40}", example, key="runtime")
    if not isinstance(mode, str) or mode not in set(Mode):
        raise ProblemError(
            400, f"not a mode: {mode!r:.40}", f"one of {', '.join(Mode)}", key="mode"
        )
    return Mode(mode), runtime
