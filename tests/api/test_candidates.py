"""The candidates over the API."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from served import Served


def test_what_runs_and_what_there_is(shared: Served) -> None:
    found = shared.get("/api/v1/traffic/candidates")
    assert os.geteuid() in [user["uid"] for user in found["users"]]
    assert {link["link"] for link in found["links"]} >= {"wwan0"}
    (lan, _) = found["presets"]
    body = {"force_direct": {"subnets": lan["subnets"]}}
    assert shared.ask("PUT", "/api/v1/traffic/overrides", body).status == 200
