"""`byway test` over the API and by the command; what is sent is the fake daemon's to say."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from api.test_cli import byway
from served import NOBODY, Served

from byway_systemd.core.errors import BywayError, NotRunningError, RootNeededError

if TYPE_CHECKING:
    from pathlib import Path

TEST = "/api/v1/traffic/test"
OVERRIDES = {"force_direct": {"uids": "1000", "cgroups": "gone.service"}}


def test_report(served: Served) -> None:
    served.ask("PATCH", "/api/v1/traffic/overrides", OVERRIDES)
    config = served.config.read_text()
    report = served.ask("POST", TEST).json
    assert {result["check"] for result in report["results"]} == {"outside", "app", "uid"}
    assert {result["check"] for result in report["results"]} <= set(report["criteria"])
    assert report["in_sync"]
    assert [one["selects"] for one in report["skipped"]] == ["gone.service"]
    assert served.config.read_text() == config
    assert served.curl("-X", "POST", f"http://localhost{TEST}", uid=NOBODY).status == 403


def test_what_cannot_be_sent(served: Served) -> None:
    served.ask("PATCH", "/api/v1/traffic/overrides", {"force_direct": {"uids": "666"}})
    refused = served.ask("POST", TEST)
    assert (refused.status, "not this one" in refused.json["detail"]) == (503, True)
    with pytest.raises(BywayError, match="could not be sent"):
        byway(served.root, "test")


def test_command(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert byway(served.root, "test") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "CHECK", "SELECTED", "BY", "FAMILY", "EXPECTED", "LEFT", "BY", "IS", "PROTOCOLS",
    ]  # fmt: skip
    assert any(
        line.split()[:5] == ["app", "byway.slice", "ipv4", "wwan0", "wwan0"] for line in lines
    )
    served.ask("PUT", "/api/v1/traffic/mode", {"mode": "full_tunnel"})
    byway(served.root, "test", "--json=short")
    assert json.loads(capsys.readouterr().out)["mode"] == "full_tunnel"


def test_command_without_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for uid, error in ((0, NotRunningError), (NOBODY, RootNeededError)):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        with pytest.raises(error):
            byway(tmp_path, "test")
