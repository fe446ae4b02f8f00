"""What the list of apps could have: programs that run, and apps that are installed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from byway_systemd.api.message import Response, encode
from byway_systemd.api.problem import ProblemError
from byway_systemd.core.programs import build_programs

if TYPE_CHECKING:
    from byway_systemd.api.message import Request
    from byway_systemd.api.service import Service
    from byway_systemd.core.programs import Installed

_SETTLED = 10.0  # seconds: what is installed changes seldom, and a page asks for every icon
# A drawing that is opened by itself is a document, and could have scripts.
_HARMLESS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cache-Control": "max-age=3600",
    "X-Content-Type-Options": "nosniff",
}


async def get_programs(service: Service, _request: Request) -> Response:
    """Return the programs that run, with their users, and the apps that are installed."""
    installed, outside = await _installed(service), service.outside

    def look() -> bytes:
        return encode(build_programs(outside.observe_programs(), installed))

    return Response(200, await service.fresh.get("programs", look))


async def get_icon(service: Service, request: Request) -> Response:
    """Return the icon of an installed app, by the name that its entry has for it."""
    files = (await _installed(service)).icons.get(request.rest)
    icon = await asyncio.to_thread(service.outside.read_icon, files) if files else None
    if icon is None:
        remedy = "GET /api/v1/programs has the names of those there are"
        raise ProblemError(404, "no such icon", remedy, key="name")
    return Response(200, icon[1], icon[0], _HARMLESS)


async def _installed(service: Service) -> Installed:
    return await service.fresh.get("installed", service.outside.observe_installed, _SETTLED)
