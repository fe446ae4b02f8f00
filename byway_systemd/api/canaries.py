"""The route that tries the mode with real packets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from byway_systemd.api.changes import Terms
from byway_systemd.api.message import answer
from byway_systemd.api.problem import ProblemError

if TYPE_CHECKING:
    from byway_systemd.api.message import Request, Response
    from byway_systemd.api.service import Service


async def post_test(service: Service, request: Request) -> Response:
    """Send canaries while nobody changes anything, and say which way they would have left."""
    from byway_systemd.core.canary_report import (  # noqa: PLC0415 - for those who test only
        plan_trial,
        present_trial,
    )

    async with service.changes.keep_still():
        desired = service.engine.view.desired
        observed = service.engine.look(desired)
        trial = await asyncio.to_thread(plan_trial, desired, observed)
        try:
            sightings = await asyncio.to_thread(service.outside.send_canaries, trial)
        except OSError as error:
            detail = f"the canaries could not be sent: {error}"
            raise ProblemError(503, detail, "see journalctl -u byway, and try again") from None
    Terms.of(request).tell()
    return answer(await asyncio.to_thread(present_trial, trial, sightings, desired, observed))
