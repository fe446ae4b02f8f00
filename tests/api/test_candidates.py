"""The candidates over the API: looked for once for all who ask, and never in the loop."""

from __future__ import annotations

import asyncio
import os
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from worlds import laptop

from byway_systemd.api import candidates
from byway_systemd.api.candidates import Candidates
from byway_systemd.core.candidates import RunningUnit, RunningUser

if TYPE_CHECKING:
    import pytest
    from served import Served

ENGINE: Any = SimpleNamespace(view=SimpleNamespace(observed=laptop()))


def test_what_runs_and_what_there_is(shared: Served) -> None:
    found = shared.get("/api/v1/traffic/candidates")
    assert os.geteuid() in [user["uid"] for user in found["users"]]
    assert {link["link"] for link in found["links"]} >= {"wwan0"}
    (lan, _) = found["presets"]
    body = {"force_direct": {"subnets": lan["subnets"]}}
    assert shared.ask("PUT", "/api/v1/traffic/overrides", body).status == 200


def test_many_ask_and_one_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def observe() -> Any:
        looked.append(threading.get_ident())
        return (RunningUnit("a.service", "/a.service"),), (RunningUser(1, "x", ()),)

    async def story() -> list[bytes]:
        one = Candidates(observe)
        first = await asyncio.gather(*(one.get(ENGINE) for _ in range(20)))
        monkeypatch.setattr(candidates, "_FRESH", 0.0)
        again = Candidates(observe)
        return [*first, await again.get(ENGINE), await again.get(ENGINE)]

    assert len(set(asyncio.run(story()))) == 1
    assert len(looked) == 3
    assert threading.get_ident() not in looked
