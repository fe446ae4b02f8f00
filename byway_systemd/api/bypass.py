"""The routes of the list of bypassed destinations, as wireleap_tun has them and some more."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from byway_systemd.api.message import answer
from byway_systemd.api.problem import ProblemError
from byway_systemd.api.writes import change, read_values
from byway_systemd.core.apps import RefusedError
from byway_systemd.core.bypass import (
    add_destinations,
    keep_destinations,
    list_destinations,
    remove_destinations,
)
from byway_systemd.core.parse import parse_config
from byway_systemd.core.traffic import read_destination

if TYPE_CHECKING:
    from collections.abc import Iterator

    from byway_systemd.api.configuration import Snapshot, Texts
    from byway_systemd.api.message import Request, Response
    from byway_systemd.api.service import Service

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


async def get_bypass(service: Service, _request: Request) -> Response:
    """Return the list; what the configuration lists beside it is not in it."""
    snapshot = await asyncio.to_thread(service.configuration.read)
    try:
        found = await asyncio.to_thread(list_destinations, _text_of(snapshot))
    except RefusedError as error:
        detail = f"{snapshot.list_name} is damaged: {error}"
        raise ProblemError(409, detail, "correct the file, or clear the list") from None
    return answer(found, headers={"ETag": snapshot.tag})


async def post_bypass(service: Service, request: Request) -> Response:
    """Add destinations; those that are listed already stay where they are."""
    values = await asyncio.to_thread(read_destinations, request.body)
    if not values:
        raise ProblemError(400, "no destination", 'write "203.0.113.7", or a list', key="body")

    def edit(snapshot: Snapshot) -> Texts:
        return {snapshot.list_name: add_destinations(_valid_text(snapshot), values)[0]}

    return await change(service, request, edit)


async def put_bypass(service: Service, request: Request) -> Response:
    """Make the list one of these destinations and no others; comments stay."""
    values = await asyncio.to_thread(read_destinations, request.body)

    def edit(snapshot: Snapshot) -> Texts:
        kept = keep_destinations(_valid_text(snapshot), values)
        return {snapshot.list_name: add_destinations(kept, values)[0] if values else ""}

    return await change(service, request, edit)


async def delete_bypass(service: Service, request: Request) -> Response:
    """Clear the list, or take those of the parameter ``destination`` off it."""
    if any(name == "destination" for name, _ in request.parameters):
        return await _remove(service, request, "destination", request.all("destination"))
    return await change(service, request, lambda snapshot: {_name_of(snapshot): ""})


async def delete_one(service: Service, request: Request) -> Response:
    """Take one destination off the list."""
    return await _remove(service, request, "path", [request.rest])


async def _remove(service: Service, request: Request, key: str, texts: list[str]) -> Response:
    values = read_values(key, texts, read_destination)

    def edit(snapshot: Snapshot) -> Texts:
        return {snapshot.list_name: remove_destinations(_valid_text(snapshot), values)}

    return await change(service, request, edit)


def _valid_text(snapshot: Snapshot) -> str:
    """Return the list's text; raise ConfigError when a file is not valid."""
    text = _text_of(snapshot)
    parse_config(snapshot.files_with({}))
    return text


def _text_of(snapshot: Snapshot) -> str:
    return snapshot.texts[_name_of(snapshot)]


def _name_of(snapshot: Snapshot) -> str:
    if not snapshot.list_name:
        raise ProblemError(409, "there is no list with --config FILE", "use /etc/byway")
    return snapshot.list_name


def read_destinations(body: bytes) -> tuple[str, ...]:
    """Return the destinations of a body, each once: a text or an array of them, in JSON."""
    try:
        text = body.decode()
        start = _skip(text, 0)
        if text[start : start + 1] != "[":
            return read_values("body", json.loads(text), read_destination)
        return read_values("body", list(_decode_elements(text, start + 1)), read_destination)
    except (ValueError, RecursionError) as error:
        detail = f"the body is not JSON: {error}"
        raise ProblemError(400, detail, "send a JSON value in UTF-8", key="body") from None


def _decode_elements(text: str, place: int) -> Iterator[Any]:
    """Yield the elements of the JSON array whose first element is at ``place``.

    One by one: the decoder keeps the interpreter to itself while it is at work.
    """
    place, last = _skip(text, place), ","
    if text[place : place + 1] == "]":
        place, last = place + 1, "]"
    while last == ",":
        value, place = _DECODER.raw_decode(text, _skip(text, place))
        yield value
        place = _skip(text, place)
        last, place = text[place : place + 1], place + 1
        if last not in (",", "]") or not last:
            raise json.JSONDecodeError("Expecting ',' or ']'", text, place - 1)
    if _skip(text, place) != len(text):
        raise json.JSONDecodeError("Extra data", text, place)


def _skip(text: str, place: int) -> int:
    """Return the place of the next character that is no white space."""
    found = _SPACE.match(text, place)
    return found.end() if found else place
