"""The routes that read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byway_systemd.api.message import answer

if TYPE_CHECKING:
    from byway_systemd.api.message import Request, Response
    from byway_systemd.api.service import Service


async def get_state(service: Service, _request: Request) -> Response:
    """Say what byway is doing, in wireleap_tun's words and some more."""
    status = service.engine.status
    return answer(
        {
            "state": service.engine.phase,
            "version": service.version,
            "in_sync": status.get("in_sync", False),
            "links": {
                profile["name"]: {"link": profile["link"], "state": profile["state"]}
                for profile in status.get("profiles", [])
            },
            "warnings": len(status.get("warnings", [])),
            "config_problems": status.get("config_problems", []),
            "failures": status.get("failures", []),
        }
    )
