"""What a traffic section could list, as it runs now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byway_systemd.api.message import Response, encode
from byway_systemd.core.candidates import build_candidates

if TYPE_CHECKING:
    from byway_systemd.api.message import Request
    from byway_systemd.api.service import Service


async def get_candidates(service: Service, _request: Request) -> Response:
    """Return subnets, units, users and links that a traffic section could name."""
    observed, outside = service.engine.view.observed, service.outside

    def look() -> bytes:
        return encode(build_candidates(observed, *outside.observe_running()))

    return Response(200, await service.fresh.get("candidates", look))
