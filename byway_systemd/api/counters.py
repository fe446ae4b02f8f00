"""How many bytes which app sends and receives by which link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byway_systemd.api.message import Response, encode
from byway_systemd.api.problem import ProblemError
from byway_systemd.core.counters import build_counters, find_counted

if TYPE_CHECKING:
    from byway_systemd.api.message import Request
    from byway_systemd.api.service import Service


async def get_counters(service: Service, _request: Request) -> Response:
    """Return the bytes of open TCP connections by app and link, and those of the links."""
    view, outside = service.engine.view, service.outside

    def look() -> bytes:
        carried = outside.observe_carried(find_counted(view.steering), view.executables)
        return encode(build_counters(view.desired, view.steering, view.observed, carried))

    try:
        return Response(200, await service.fresh.get("counters", look))
    except OSError as error:
        detail = f"the connections cannot be counted: {error}"
        raise ProblemError(503, detail, "see journalctl -u byway, and try again") from None
