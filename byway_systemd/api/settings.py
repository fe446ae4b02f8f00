"""The routes of the settings that have one value: links, and what becomes of the VPN's traffic."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from byway_systemd.api.message import answer
from byway_systemd.api.problem import ProblemError
from byway_systemd.api.reads import read_config, show_files
from byway_systemd.api.writes import change
from byway_systemd.core.apps import RefusedError
from byway_systemd.core.candidates import list_all_links
from byway_systemd.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from byway_systemd.api.configuration import Snapshot, Texts
    from byway_systemd.api.message import Request, Response
    from byway_systemd.api.service import Service


async def get_settings(service: Service, request: Request) -> Response:
    """Return what is in effect of all files, and the links that there are to choose from."""
    from byway_systemd.core.settings import present_settings  # noqa: PLC0415 - with tomlkit

    snapshot = await show_files(service, request)
    config = await asyncio.to_thread(read_config, snapshot)
    links = list_all_links(service.engine.view.observed)
    shown = {**present_settings(config), "interfaces": links}
    return answer(shown, headers={"ETag": snapshot.tag})


async def patch_settings(service: Service, request: Request) -> Response:
    """Change the settings that the body has; null takes one back to its default (RFC 7396)."""
    from byway_systemd.core.settings import change_settings  # noqa: PLC0415

    wanted = _read_body(request.json())

    def edit(snapshot: Snapshot) -> Texts:
        return {snapshot.main.name: change_settings(snapshot.files_with({}), wanted)}

    return await change(service, request, edit)


def _read_body(body: Any) -> dict[str, Any]:
    """Return the values of a body by name; raise ConfigError with all that is wrong in them."""
    from byway_systemd.core.settings import FIELDS  # noqa: PLC0415

    if not isinstance(body, dict):
        raise ProblemError(400, "not an object", 'write {"interface": "wwan0"}', key="body")
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in body.items():
        try:
            if name not in FIELDS:
                raise RefusedError("unknown key", f"known: {', '.join(FIELDS)}")
            found[name] = None if value is None else FIELDS[name].read(value)
        except RefusedError as error:
            problems.append(Problem("request", 0, name, str(error), error.remedy))
    if problems:
        raise ConfigError(tuple(problems))
    return found
