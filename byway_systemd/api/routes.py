"""The one table of routes: what may be asked, by whom, and which function answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from byway_systemd.api import (
    bypass,
    canaries,
    candidates,
    counters,
    events,
    overrides,
    programs,
    reads,
    route_cache,
    settings,
    traffic,
    writes,
)
from byway_systemd.api.changes import TERMS
from byway_systemd.api.limits import MOST_BODY, SMALL_BODY
from byway_systemd.api.problem import ProblemError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from byway_systemd.api.message import Request, Response
    from byway_systemd.api.service import Service

    Handler = Callable[[Service, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a method at a path.

    A path may end in ``{name}``, which stands for all that follows, slashes too. ``parameters`` are
    those that the query may have; ``most_body`` is in bytes. With ``writes`` only those may ask who
    may change things.
    """

    method: str
    path: str
    handler: Handler
    parameters: tuple[str, ...] = ()
    writes: bool = False
    most_body: int = 0

    @property
    def stem(self) -> str:
        """The path without what it ends in."""
        return self.path.partition("{")[0]

    def covers(self, path: str) -> bool:
        """Whether the route is that of ``path``."""
        return path == self.path if self.stem == self.path else bool(self.rest_of(path))

    def rest_of(self, path: str) -> str:
        """Return what ``{name}`` stands for in ``path``; empty where there is nothing."""
        if self.stem == self.path or not path.startswith(self.stem):
            return ""
        return path[len(self.stem) :]


def _change(
    method: str, path: str, handler: Handler, *parameters: str, most_body: int = SMALL_BODY
) -> Route:
    """Return a route that changes the configuration, on the terms that every change may have."""
    return Route(method, path, handler, (*parameters, *TERMS), writes=True, most_body=most_body)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/state", reads.get_state),
    Route("GET", "/api/v1/status", reads.get_status),
    Route("GET", "/api/v1/plan", reads.get_plan),
    Route("GET", "/api/v1/apps", reads.get_apps),
    Route("GET", "/api/v1/counters", counters.get_counters),
    Route("GET", "/api/v1/programs", programs.get_programs),
    Route("GET", "/api/v1/icons/{name}", programs.get_icon),
    Route("GET", "/api/v1/config", reads.get_config),
    Route("GET", "/api/v1/explain", reads.get_explain, ("pid", "unit", "destination")),
    Route("GET", "/events", events.get_events),
    Route("GET", "/openapi.json", reads.get_description),
    Route("GET", "/bypass", bypass.get_bypass),
    _change("POST", "/bypass", bypass.post_bypass, most_body=MOST_BODY),
    _change("PUT", "/bypass", bypass.put_bypass, most_body=MOST_BODY),
    # Without a body: one that names some destinations would clear all of them.
    _change("DELETE", "/bypass", bypass.delete_bypass, "destination", most_body=0),
    _change("DELETE", "/bypass/{prefix}", bypass.delete_one, most_body=0),
    Route("GET", "/api/v1/settings", settings.get_settings),
    _change("PATCH", "/api/v1/settings", settings.patch_settings),
    Route("GET", "/api/v1/traffic/mode", traffic.get_mode),
    _change("PUT", "/api/v1/traffic/mode", traffic.put_mode),
    Route("GET", "/api/v1/traffic/overrides", overrides.get_overrides),
    _change("PUT", "/api/v1/traffic/overrides", overrides.put_overrides),
    _change("PATCH", "/api/v1/traffic/overrides", overrides.patch_overrides),
    Route("GET", "/api/v1/traffic/candidates", candidates.get_candidates),
    _change("POST", "/api/v1/traffic/routes/clear", route_cache.post_clear),
    _change("POST", "/api/v1/traffic/routes/restore", route_cache.post_restore),
    Route("POST", "/api/v1/traffic/test", canaries.post_test, writes=True, most_body=SMALL_BODY),
    _change("POST", "/api/v1/apps", writes.post_apps),
    _change("DELETE", "/api/v1/apps", writes.delete_apps, "app"),
    _change("PUT", "/api/v1/config", writes.put_config),
    _change("POST", "/api/v1/apply", writes.post_apply),
    Route("POST", "/api/v1/confirm", writes.post_confirm, writes=True, most_body=SMALL_BODY),
    Route("POST", "/api/v1/rollback", writes.post_rollback, writes=True, most_body=SMALL_BODY),
)


def find_route(request: Request) -> Route:
    """Return what answers a request; raise ProblemError with 404, 405 or 400.

    HEAD is answered as GET is.
    """
    here = [route for route in ROUTES if route.covers(request.path)]
    if not here:
        raise ProblemError(
            404, f"no such resource: {request.path}", "GET /openapi.json lists them", key="path"
        )
    method = "GET" if request.method == "HEAD" else request.method
    route = next((route for route in here if route.method == method), None)
    if route is None:
        allowed = allowed_methods(request.path)
        detail = f"{request.path} knows no {request.method}"
        problem = ProblemError(405, detail, f"use {allowed}", key="method")
        problem.headers["Allow"] = allowed
        raise problem
    for name, _ in request.parameters:
        if name not in route.parameters:
            known = ", ".join(route.parameters) or "none"
            raise ProblemError(400, f"unknown parameter: {name}", f"known here: {known}", key=name)
    return route


def allowed_methods(path: str) -> str:
    """Return the methods that ``path`` knows, as the header Allow has them; empty when none."""
    methods = {r.method for r in ROUTES if path == "*" or r.covers(path)}
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted({*methods, "OPTIONS"})) if methods else ""
