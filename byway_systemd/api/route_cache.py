"""The routes that take byway's own out of the kernel, and put them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byway_systemd.api.changes import Terms
from byway_systemd.api.message import answer
from byway_systemd.api.problem import ProblemError
from byway_systemd.api.writes import change
from byway_systemd.core.apps import RefusedError
from byway_systemd.core.route_cache import (
    RouteCache,
    describe_missing,
    find_route_cache,
    parse_route_cache,
    render_route_cache,
)

if TYPE_CHECKING:
    from byway_systemd.api.configuration import Snapshot, Texts
    from byway_systemd.api.message import Request, Response
    from byway_systemd.api.service import Service


async def post_clear(service: Service, request: Request) -> Response:
    """Save byway's routes and rules, and remove them until they are restored."""

    def edit(snapshot: Snapshot) -> Texts:
        if not snapshot.cache_name:
            detail = "the routes of a configuration of one's own cannot be cleared"
            raise ProblemError(409, detail, "leave --config FILE out", key="routes")
        if snapshot.is_cleared:  # what was saved then is more than what there is now
            return {}
        cache = find_route_cache(service.engine.view.observed)
        return {snapshot.cache_name: render_route_cache(cache)}

    return await change(service, request, edit)


async def post_restore(service: Service, request: Request) -> Response:
    """Check what was saved, and let the plan put routes and rules back."""
    saved = RouteCache()

    def edit(snapshot: Snapshot) -> Texts:
        nonlocal saved
        saved = _read_cache(snapshot)
        return {snapshot.cache_name: ""}

    result = await service.changes.change(Terms.of(request), edit)
    if "applied" in result:
        result["not_restored"] = list(describe_missing(saved, service.engine.view.observed))
    return answer(result, result.get("code", 200))


def _read_cache(snapshot: Snapshot) -> RouteCache:
    if not snapshot.is_cleared:
        remedy = "byway routes clear saves and removes them"
        raise ProblemError(409, "the routes are not cleared", remedy, key="routes")
    if fault := snapshot.cache_fault:
        detail = f"{snapshot.cache_name}: {fault.message}"
        raise ProblemError(409, detail, fault.remedy, key="routes")
    try:
        return parse_route_cache(snapshot.cache_text)
    except RefusedError as error:
        detail = f"{snapshot.cache_name}: {error}"
        raise ProblemError(409, detail, error.remedy, key="routes") from None
