"""What is asked often is rendered once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from byway_systemd.api.service import Rendered


def test_rendered_once_for_a_status_and_a_phase() -> None:
    engine: Any = SimpleNamespace(status={"a": 1}, phase="active")
    made: list[Any] = []

    def make() -> Any:
        made.append(engine.status)
        return [engine.status, engine.phase]

    rendered = Rendered()
    assert rendered.get("x", engine, make) == b'[{"a": 1}, "active"]\n'
    rendered.get("x", engine, make)
    assert len(made) == 1
    rendered.get("y", engine, make)
    engine.phase = "deactivating"
    assert b"deactivating" in rendered.get("x", engine, make)
    engine.status = {"a": 2}
    assert b'"a": 2' in rendered.get("x", engine, make)
    assert len(made) == 4
