"""The settings over the API."""

from __future__ import annotations

import os
import tomllib
from typing import Any

import pytest
from served import CONFIG, NOBODY, Served, until

SETTINGS = "/api/v1/settings"
DEFAULTS = {
    "interface": "wwan0",  # the configuration's own
    "vpn_interface": "auto",
    "auto_local_bypass": True,
    "when_vpn_down": "block",
}
OTHERS = {
    "interface": "wlan0",
    "vpn_interface": "wg0",
    "auto_local_bypass": False,
    "when_vpn_down": "direct",
}


def settings_of(served: Served) -> dict[str, Any]:
    shown: dict[str, Any] = served.get(SETTINGS)
    return {name: value for name, value in shown.items() if name != "interfaces"}


def test_defaults_and_the_links_there_are(shared: Served) -> None:
    assert settings_of(shared) == DEFAULTS
    assert shared.get(SETTINGS)["interfaces"] == [
        {"link": "wlan0", "kind": "uplink", "state": "up"},
        {"link": "wwan0", "kind": "uplink", "state": "up"},
        {"link": "wg0", "kind": "tunnel", "state": "up"},
    ]


def test_each_is_changed_and_taken_back(served: Served) -> None:
    for name, value in OTHERS.items():
        assert served.ask("PATCH", SETTINGS, {name: value}).status == 200
    assert settings_of(served) == OTHERS
    written = served.config.read_text()
    assert written.startswith(CONFIG.replace("wwan0", "wlan0"))
    assert tomllib.loads(written) == {
        "interface": "wlan0",
        "apps": ["/usr/bin/curl"],
        "traffic": {name: value for name, value in OTHERS.items() if name != "interface"},
    }
    (profile,) = served.get("/api/v1/status")["profiles"]
    assert (profile["interface"], profile["link"]) == ("wlan0", "wlan0")
    done = served.ask("PATCH", SETTINGS, dict.fromkeys(OTHERS))
    assert done.status == 200
    assert settings_of(served) == DEFAULTS | {"interface": "auto"}
    assert tomllib.loads(served.config.read_text()) == {"apps": ["/usr/bin/curl"], "traffic": {}}
    assert "# kept too" in served.config.read_text()


def test_what_the_body_has_not_stays(served: Served) -> None:
    served.ask("PATCH", SETTINGS, OTHERS)
    before = served.config.read_text()
    assert served.ask("PATCH", SETTINGS, {}).status == 200
    assert served.config.read_text() == before
    assert served.ask("PATCH", SETTINGS, {"when_vpn_down": None}).status == 200
    assert settings_of(served) == OTHERS | {"when_vpn_down": "block"}


@pytest.mark.parametrize(
    "text",
    ['traffic = {mode = "direct"}\n', 'traffic.mode = "direct"\n', '[traffic]\nmode = "direct"\n',
     '[traffic]\r\nmode = "direct"\r\n', '[traffic.force_direct]\nuids = [3]\n', "",
     "[profile.lte]\ninterface = 'usb0'\n", 'traffic.when_vpn_down = "block" # why\n'],
)  # fmt: skip
def test_other_ways_to_write_it(served: Served, text: str) -> None:
    served.put("/api/v1/config", text)
    assert served.ask("PATCH", SETTINGS, OTHERS).status == 200
    assert settings_of(served) == OTHERS
    after = tomllib.loads(served.config.read_text())
    assert after.pop("interface") == "wlan0"
    for name in ("vpn_interface", "auto_local_bypass", "when_vpn_down"):
        assert after["traffic"].pop(name) == OTHERS[name]
    before = tomllib.loads(text)
    before.get("traffic", {}).pop("when_vpn_down", None)
    before.setdefault("traffic", {})
    assert after == before
    assert ("# why" in served.config.read_text()) == ("# why" in text)


BAD: list[tuple[Any, list[str]]] = [
    ([], ["body"]), ("x", ["body"]), (None, ["body"]),
    ({"mode": "direct"}, ["mode"]),
    ({"interface": 7}, ["interface"]), ({"interface": ""}, ["interface"]),
    ({"interface": "a/b"}, ["interface"]), ({"vpn_interface": "a\nb"}, ["vpn_interface"]),
    ({"interface": "\ud800"}, ["interface"]),
    ({"auto_local_bypass": "yes", "when_vpn_down": "vpn", "interface": ["x"], "interfaces": []},
     ["auto_local_bypass", "when_vpn_down", "interface", "interfaces"]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "keys"), BAD, ids=lambda value: ascii(value)[:40])
def test_refused_whole_and_everything_named(shared: Served, body: Any, keys: list[str]) -> None:
    refused = shared.ask("PATCH", SETTINGS, b"null" if body is None else body)
    assert (refused.status, refused.json["key"]) == (400, keys[0])
    assert [p["key"] for p in refused.json.get("problems", [{"key": "body"}])] == keys
    assert all(p["remedy"] for p in refused.json.get("problems", []))
    assert shared.config.read_text() == CONFIG


def test_what_a_drop_in_sets(served: Served) -> None:
    drop_in = served.root / "etc/byway/conf.d/a.toml"
    drop_in.parent.mkdir()
    drop_in.write_text('interface = "wlan0"\n[traffic]\nauto_local_bypass = false\n')
    assert settings_of(served)["interface"] == "wlan0"
    body = {"interface": "wwan0", "auto_local_bypass": None, "when_vpn_down": "direct"}
    refused = served.ask("PATCH", SETTINGS, body)
    assert refused.status == 400
    problems = {problem["key"]: problem for problem in refused.json["problems"]}
    assert set(problems) == {"interface", "auto_local_bypass"}
    assert problems["interface"]["message"] == 'set to "wlan0" here, which counts'
    assert problems["auto_local_bypass"]["message"] == "set to false here, which counts"
    assert problems["auto_local_bypass"]["line"] == 3
    assert {p["file"] for p in problems.values()} == {"/etc/byway/conf.d/a.toml"}
    assert served.config.read_text() == CONFIG
    same = {"interface": "wlan0", "when_vpn_down": "direct"}
    assert served.ask("PATCH", SETTINGS, same).status == 200
    assert settings_of(served)["when_vpn_down"] == "direct"


def test_dry_run_tags_and_confirm(served: Served) -> None:
    tag = served.ask("GET", SETTINGS).headers["ETag"]
    body = {"interface": "wlan0"}
    dry = served.ask("PATCH", f"{SETTINGS}?dry_run=1", body)
    assert dry.json["plan"]
    assert settings_of(served) == DEFAULTS
    done = served.ask("PATCH", f"{SETTINGS}?confirm=1", body, {"If-Match": tag})
    assert done.json["applied"] == dry.json["plan"]
    assert done.headers["ETag"] == served.ask("GET", SETTINGS).headers["ETag"] != tag
    assert served.ask("PATCH", SETTINGS, {}, {"If-Match": tag}).status == 412
    until(lambda: served.config.read_text() == CONFIG)
    until(lambda: settings_of(served) == DEFAULTS)


def test_files_that_are_refused(served: Served) -> None:
    served.config.write_text("apps = 1\n")
    assert served.ask("GET", SETTINGS).status == 409
    assert served.ask("PATCH", SETTINGS, OTHERS).json["key"] == "apps"
    assert served.config.read_text() == "apps = 1\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
def test_files_that_are_not_for_everybody(served: Served) -> None:
    served.config.chmod(0o600)
    assert served.curl(f"http://localhost{SETTINGS}", uid=NOBODY).status == 403
    assert settings_of(served) == DEFAULTS
