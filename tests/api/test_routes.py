"""The table of routes: which one answers."""

from __future__ import annotations

from typing import Any

import pytest

from byway_systemd.api import routes
from byway_systemd.api.message import Request, Response
from byway_systemd.api.peer import Peer
from byway_systemd.api.problem import ProblemError
from byway_systemd.api.routes import ROUTES, Route, allowed_methods, find_route


async def handle(_service: Any, _request: Any) -> Response:
    return Response(200)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> tuple[Route, ...]:
    made = (
        Route("GET", "/a", handle),
        Route("DELETE", "/a", handle, ("x",), writes=True),
        Route("DELETE", "/a/{prefix}", handle, writes=True),
    )
    monkeypatch.setattr(routes, "ROUTES", made)
    return made


def request(method: str, path: str, *names: str) -> Request:
    return Request(method, path, Peer(1, 0), tuple((name, "") for name in names))


def test_last_part_takes_the_rest(table: tuple[Route, ...]) -> None:
    found = find_route(request("DELETE", "/a/203.0.113.0/24"))
    assert found is table[2]
    assert found.rest_of("/a/203.0.113.0/24") == "203.0.113.0/24"
    assert find_route(request("DELETE", "/a")) is table[1]
    assert table[1].rest_of("/a") == ""
    assert (allowed_methods("/a"), allowed_methods("/a/b")) == (
        "DELETE, GET, HEAD, OPTIONS",
        "DELETE, OPTIONS",
    )


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request("GET", "/a/"), 404),
        (request("GET", "/ab"), 404),
        (request("GET", "/a/b"), 405),
        (request("PUT", "/a"), 405),
        (request("GET", "/a", "x"), 400),
        (request("DELETE", "/a/b", "x"), 400),
    ],
    ids=lambda value: f"{value.method} {value.path}" if isinstance(value, Request) else "",
)
@pytest.mark.usefixtures("table")
def test_refused(asked: Request, status: int) -> None:
    with pytest.raises(ProblemError) as caught:
        find_route(asked)
    assert caught.value.status == status


def test_every_method_and_path_stands_once() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
