"""The mode over the API, and by the command that goes through it."""

from __future__ import annotations

import os
import tomllib
from typing import Any

import pytest
from api.test_cli import byway
from api.test_events import listening
from served import CONFIG, NOBODY, Served, until

from byway_systemd.core.errors import UsageError

MODE = "/api/v1/traffic/mode"
RUNTIME = "run/byway/conf.d/zz-byway-mode.toml"


def in_force(served: Served) -> str:
    found: str = served.get(MODE)["mode"]
    assert found == served.get("/api/v1/status")["traffic"]["mode"]
    return found


def test_for_good_and_for_this_boot(served: Served) -> None:
    shown = served.get(MODE)
    assert (shown["mode"], shown["runtime"]) == ("bypass", False)
    done = served.ask("PUT", MODE, {"mode": "direct", "runtime": True})
    assert done.status == 200
    assert (in_force(served), served.get(MODE)["runtime"]) == ("direct", True)
    assert served.config.read_text() == CONFIG
    assert served.ask("PUT", MODE, {"mode": "selective"}).status == 200
    assert (in_force(served), served.get(MODE)["runtime"]) == ("selective", False)
    assert not (served.root / RUNTIME).exists()
    assert served.config.read_text().startswith(CONFIG)
    assert tomllib.loads(served.config.read_text())["traffic"] == {"mode": "selective"}


def test_rollback_brings_both_files_back(served: Served) -> None:
    served.ask("PUT", MODE, {"mode": "direct", "runtime": True})
    served.ask("PUT", f"{MODE}?confirm=1", {"mode": "selective"})
    until(lambda: served.config.read_text() == CONFIG)
    until(lambda: in_force(served) == "direct")
    assert served.get(MODE)["runtime"]


def test_dry_run_and_tags(served: Served) -> None:
    tag = served.ask("GET", MODE).headers["ETag"]
    dry = served.ask("PUT", f"{MODE}?dry_run=1", {"mode": "full_tunnel", "runtime": True})
    assert dry.json["plan"]
    assert in_force(served) == "bypass"
    body = {"mode": "full_tunnel", "runtime": True}
    done = served.ask("PUT", MODE, body, {"If-Match": tag})
    assert done.json["applied"] == dry.json["plan"]
    assert served.ask("PUT", MODE, body, {"If-Match": tag}).status == 412


def test_state_has_the_line_(served: Served) -> None:
    served.ask("POST", "/bypass", ["192.0.2.0/24", "192.0.2.1", "relay.example"])
    body = {"force_vpn": {"uids": [5], "cgroups": ["/a.slice"], "destinations": "a.example"}}
    served.ask("PUT", "/api/v1/traffic/overrides", body)
    line = served.get("/state")["traffic"]
    assert "/a.slice: there is no such cgroup" in line.pop("cgroup_warnings")[0]
    assert line == {
        "mode": "bypass",
        "applied_mode": "bypass",
        "bypass_routes": 2,
        "override_count": 3,
        "resolved_cgroups": 0,
    }


def test_mode_is_an_event(served: Served) -> None:
    with listening(served) as listener:
        assert listener.next()[0] == "state"
        served.ask("PUT", MODE, {"mode": "direct", "runtime": True})
        assert listener.until("mode") == {"mode": "direct", "applied_mode": "direct"}
        assert listener.until("state")["traffic"]["mode"] == "direct"


BAD: list[tuple[Any, str]] = [
    (None, "body"), ([], "body"), ("direct", "body"), ({}, "mode"), ({"mode": "x"}, "mode"),
    ({"mode": None}, "mode"), ({"mode": ["direct"]}, "mode"), ({"mode": "Direct"}, "mode"),
    ({"mode": "direct", "runtime": 1}, "runtime"), ({"mode": "direct", "boot": True}, "boot"),
    ({"mode": "direct", "\ud800": 1}, "?"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "key"), BAD)
def test_refused(shared: Served, body: Any, key: str) -> None:
    refused = shared.ask("PUT", MODE, b"null" if body is None else body)
    assert (refused.status, refused.json["key"]) == (400, key)
    assert shared.config.read_text() == CONFIG
    assert not (shared.root / RUNTIME).exists()


def test_mode_that_would_not_count(served: Served) -> None:
    drop_ins = served.root / "etc/byway/conf.d"
    drop_ins.mkdir()
    (drop_ins / "90-mine.toml").write_text('[traffic]\nmode = "direct"\n')
    refused = served.ask("PUT", MODE, {"mode": "selective"})
    assert refused.status == 400
    assert '90-mine.toml sets the mode to "direct"' in refused.json["detail"]
    assert served.config.read_text() == CONFIG
    assert served.ask("PUT", MODE, {"mode": "selective", "runtime": True}).status == 200
    (drop_ins / "zz-byway-mode.toml").symlink_to("/dev/null")
    refused = served.ask("PUT", MODE, {"mode": "bypass", "runtime": True})
    assert (refused.status, refused.json["key"]) == (409, "runtime")


def test_files_that_are_refused(served: Served) -> None:
    served.config.write_text("apps = 1\n")
    assert served.ask("GET", MODE).status == 409
    for body in ({"mode": "direct"}, {"mode": "direct", "runtime": True}):
        assert served.ask("PUT", MODE, body).json["key"] == "apps"
    assert served.config.read_text() == "apps = 1\n"
    assert not (served.root / RUNTIME).exists()


def test_command_goes_through_the_daemon(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert byway(served.root, "mode", "direct", "--runtime") == 0
    assert (in_force(served), (served.root / RUNTIME).exists()) == ("direct", True)
    assert byway(served.root, "mode", "selective") == 0
    assert in_force(served) == "selective"
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].endswith("(until the next boot)")
    first, second = captured.err.splitlines()  # of the login that the fake machine has
    assert first.startswith("warning: the login from 198.51.100.9 by wlan0 is cut: the mode is dir")
    assert "the mode is selective" in second
    (served.root / "etc/byway/conf.d").mkdir()
    (served.root / "etc/byway/conf.d/a.toml").write_text('[traffic]\nmode = "bypass"\n')
    with pytest.raises(UsageError, match="sets the mode"):
        byway(served.root, "mode", "direct")
