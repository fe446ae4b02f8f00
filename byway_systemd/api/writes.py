"""The routes that change something."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from byway_systemd.api.changes import Terms
from byway_systemd.api.message import JSON_TYPE, Response, answer
from byway_systemd.api.problem import ProblemError
from byway_systemd.core.apps import App, RefusedError, parse_app
from byway_systemd.core.config import DEFAULT_PROFILE
from byway_systemd.core.errors import ConfigError, Problem
from byway_systemd.core.parse import parse_config
from byway_systemd.core.traffic import split_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.api.configuration import Snapshot, Texts
    from byway_systemd.api.message import Request
    from byway_systemd.api.service import Service

T = TypeVar("T")
_MOST_APPS = 100  # in one request
_MOST_PROBLEMS = 20  # that one answer names


async def change(service: Service, request: Request, edit: Callable[[Snapshot], Texts]) -> Response:
    """Answer a request that edits the files' texts, with the tag that they have then."""
    result = await service.changes.change(Terms.of(request), edit)
    headers = {"ETag": service.configuration.read().tag}
    return answer(result, result.get("code", 200), headers)


def read_values(
    key: str, value: Any, read: Callable[[object], T], *, splits: bool = False
) -> tuple[T, ...]:
    """Return what ``read`` makes of a value or of those of a list, each once.

    With ``splits`` a text may hold several, as in the configuration. Raises ConfigError with those
    that are refused, by ``key`` and number.
    """
    found: dict[T, None] = {}
    problems: list[Problem] = []
    several = isinstance(value, list) or (splits and isinstance(value, str))
    elements = value if isinstance(value, list) else [value]
    if splits and isinstance(value, str):
        elements = split_values(value)
    for index, element in enumerate(elements):
        try:
            for part in _split(element) if splits else (element,):
                found[_read_value(part, read)] = None
        except RefusedError as error:
            place = f"{key}[{index}]" if several else key
            problems.append(Problem("request", 0, place, str(error), error.remedy))
            if len(problems) == _MOST_PROBLEMS:
                break
    if problems:
        raise ConfigError(tuple(problems))
    return tuple(found)


def _split(element: Any) -> list[Any]:
    return (split_values(element) if isinstance(element, str) else []) or [element]


def _read_value(value: Any, read: Callable[[object], T]) -> T:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RefusedError(f"not a text: {json.dumps(value):.40}", "write it in quotes")
    return read(value)


async def post_apps(service: Service, request: Request) -> Response:
    """List apps."""
    from byway_systemd.core.edit import add_app  # noqa: PLC0415 - tomlkit, for writers only

    apps, profile = _read_apps(request.json())

    def edit(snapshot: Snapshot) -> Texts:
        text = _valid_text(snapshot)
        for app in apps:
            text = add_app(text, app, profile)
        return {snapshot.main.name: text}

    return await change(service, request, edit)


async def delete_apps(service: Service, request: Request) -> Response:
    """Take apps off the list: those of the parameter app, or of the body."""
    from byway_systemd.core.edit import remove_app  # noqa: PLC0415

    apps, _ = _read_apps(request.all("app") or request.json())

    def edit(snapshot: Snapshot) -> Texts:
        text = _valid_text(snapshot)
        for app in apps:
            text = remove_app(text, app)
        return {snapshot.main.name: text}

    return await change(service, request, edit)


async def put_config(service: Service, request: Request) -> Response:
    """Replace the main file by the body: TOML, or JSON with a text."""
    if request.headers.get("content-type", "").split(";")[0].strip() == JSON_TYPE:
        value = request.json()
        text = value.get("text") if isinstance(value, dict) else None
        if not isinstance(text, str):
            raise ProblemError(400, "no text", 'write {"text": "..."}', key="text")
    else:
        try:
            text = request.body.decode()
        except UnicodeDecodeError as error:
            detail = f"not UTF-8 at byte {error.start}"
            raise ProblemError(400, detail, "send it as UTF-8", key="body") from None
    return await change(service, request, lambda snapshot: {snapshot.main.name: text})


async def post_apply(service: Service, request: Request) -> Response:
    """Put everything right, to be taken back unless that is confirmed in time."""
    result = await service.changes.apply(Terms.of(request))
    return answer(result, result.get("code", 200))


async def post_confirm(service: Service, request: Request) -> Response:
    """Keep what was changed."""
    return answer(await service.changes.confirm(Terms.of(request)))


async def post_rollback(service: Service, request: Request) -> Response:
    """Take back the last change."""
    return answer(await service.changes.roll_back(Terms.of(request).by))


def _valid_text(snapshot: Snapshot) -> str:
    """Return the main file's text; raise ConfigError when it cannot be edited."""
    parse_config((snapshot.main, *snapshot.drop_ins))
    return snapshot.main.text


def _read_apps(value: Any) -> tuple[list[App], str]:
    """Return the apps of a body and their profile: a name, names, or an object with app."""
    profile, names, key = DEFAULT_PROFILE, value, "body"
    if isinstance(value, dict):
        if unknown := value.keys() - {"app", "profile"}:
            name = min(unknown)
            raise ProblemError(400, f"unknown key: {name}", "known: app, profile", key=name)
        profile, names, key = value.get("profile", DEFAULT_PROFILE), value.get("app"), "app"
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not names or len(names) > _MOST_APPS:
        remedy = f'write "/usr/bin/curl", or a list of 1 to {_MOST_APPS} of these'
        raise ProblemError(400, "no app", remedy, key=key)
    if not isinstance(profile, str):
        raise ProblemError(400, "not a profile's name", "write a text", key="profile")
    return [_read_app(name, f"{key}[{index}]") for index, name in enumerate(names)], profile


def _read_app(name: Any, key: str) -> App:
    if not isinstance(name, str):
        raise ProblemError(400, f"not a text: {name!r:.40}", "write it in quotes", key=key)
    try:
        return parse_app(name)
    except RefusedError as error:
        raise ProblemError(400, str(error), error.remedy, key=key) from None
