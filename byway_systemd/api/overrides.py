"""The routes of the overrides: what goes its own way by subnet, user, cgroup or destination."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from byway_systemd.api.message import answer
from byway_systemd.api.problem import ProblemError
from byway_systemd.api.reads import read_traffic, show_files
from byway_systemd.api.writes import change, read_values
from byway_systemd.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from byway_systemd.api.configuration import Snapshot, Texts
    from byway_systemd.api.message import Request, Response
    from byway_systemd.api.service import Service
    from byway_systemd.core.overrides import Field, Values


async def get_overrides(service: Service, request: Request) -> Response:
    """Return what the files list, by side and field."""
    from byway_systemd.core.overrides import present_overrides  # noqa: PLC0415 - with tomlkit

    snapshot = await show_files(service, request)
    traffic = await asyncio.to_thread(read_traffic, snapshot)
    return answer(present_overrides(traffic), headers={"ETag": snapshot.tag})


async def put_overrides(service: Service, request: Request) -> Response:
    """Replace all overrides: a field that the body has not is empty then."""
    from byway_systemd.core.overrides import FIELDS  # noqa: PLC0415

    return await _change(service, request, dict.fromkeys(FIELDS, ()) | _read_body(request.json()))


async def patch_overrides(service: Service, request: Request) -> Response:
    """Replace the fields that the body has; null empties one (RFC 7396)."""
    return await _change(service, request, _read_body(request.json(), patch=True))


async def _change(service: Service, request: Request, wanted: Values) -> Response:
    from byway_systemd.core.overrides import replace_overrides  # noqa: PLC0415

    def edit(snapshot: Snapshot) -> Texts:
        return {snapshot.main.name: replace_overrides(snapshot.files_with({}), wanted)}

    return await change(service, request, edit)


def _read_body(body: Any, *, patch: bool = False) -> dict[Field, tuple[Any, ...]]:
    """Return the fields of a body; raise ConfigError with all that is wrong in them."""
    from byway_systemd.core.overrides import FIELDS  # noqa: PLC0415

    if not isinstance(body, dict):
        example = 'write {"force_direct": {"subnets": ["172.18.0.0/16"]}}'
        raise ProblemError(400, "not an object", example, key="body")
    found: dict[Field, tuple[Any, ...]] = {}
    problems: list[Problem] = []
    for side, fields in body.items():
        names = [name for known, name in FIELDS if known == side]
        if patch and fields is None and names:
            fields = dict.fromkeys(names)  # noqa: PLW2901 - of the side, each of them
        if not names or not isinstance(fields, dict):
            remedy = "an object" if names else "known: force_direct, force_vpn"
            problems.append(Problem("request", 0, side, "unknown key", remedy))
            continue
        for name, value in fields.items():
            try:
                found[side, name] = _read_field((side, name), value, patch=patch)
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(tuple(problems))
    return found


def _read_field(field: Field, value: Any, *, patch: bool) -> tuple[Any, ...]:
    from byway_systemd.core.overrides import FIELDS  # noqa: PLC0415

    key = ".".join(field)
    if field not in FIELDS:
        known = ", ".join(name for side, name in FIELDS if side == field[0])
        raise ConfigError((Problem("request", 0, key, "unknown key", f"known: {known}"),))
    if patch and value is None:
        return ()
    if not isinstance(value, list | str):
        remedy = "write a list, or a text of several with commas between them"
        raise ConfigError((Problem("request", 0, key, "not a list", remedy),))
    return read_values(key, value, FIELDS[field].read, splits=True)
