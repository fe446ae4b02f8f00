"""What can be asked, and by whom."""

from __future__ import annotations

import os

import pytest
from served import CONFIG, NOBODY, Served, until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")


def test_state_is_wireleaps_and_more(shared: Served) -> None:
    state = shared.get("/state")
    assert state["state"] == "active"
    assert (state["version"], state["in_sync"], state["config_problems"]) == ("1.2.3", True, [])
    assert state["links"] == {"default": {"link": "wwan0", "state": "up"}}


def test_status(shared: Served) -> None:
    status = shared.get("/api/v1/status")
    assert status["version"] == "1.2.3"
    assert status["in_sync"]
    assert [profile["name"] for profile in status["profiles"]] == ["default"]
    assert shared.get("/api/v1/plan") == {"in_sync": True, "plan": [], "failures": []}
    assert shared.get("/api/v1/apps") == status["apps"]
    assert status["apps"][0]["app"] == "/usr/bin/curl"


@as_root
@pytest.mark.parametrize(
    "path", ["/state", "/api/v1/status", "/api/v1/plan", "/api/v1/apps", "/api/v1/config"]
)
def test_anybody_may_ask(shared: Served, path: str) -> None:
    assert shared.curl(f"http://localhost{path}", uid=NOBODY).status == 200


def test_config_and_its_tag(shared: Served) -> None:
    answer = shared.ask("GET", "/api/v1/config")
    assert answer.json["text"] == CONFIG
    assert answer.json["file"] == "/etc/byway/byway.toml"
    assert answer.json["drop_ins"] == []
    tag = answer.headers["ETag"]
    again = shared.ask("GET", "/api/v1/config", headers={"If-None-Match": f'"x", {tag}'})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    toml = shared.ask("GET", "/api/v1/config", headers={"Accept": "application/toml"})
    assert (toml.body.decode(), toml.headers["Content-Type"]) == (CONFIG, "application/toml")


def test_tag_changes_with_every_file(served: Served) -> None:
    tags = [served.ask("GET", "/api/v1/config").headers["ETag"]]
    drop_ins = served.root / "etc/byway/conf.d"
    drop_ins.mkdir()
    for change in ("reconcile = '1s'\n", "reconcile = '2s'\n"):
        (drop_ins / "a.toml").write_text(change)
        tags.append(served.ask("GET", "/api/v1/config").headers["ETag"])
    served.config.write_text("")
    tags.append(served.ask("GET", "/api/v1/config").headers["ETag"])
    assert len(set(tags)) == 4
    assert served.get("/api/v1/config")["drop_ins"] == [
        {"file": "/etc/byway/conf.d/a.toml", "text": "reconcile = '2s'\n"}
    ]


@as_root
def test_what_others_may_not_read_is_not_shown_to_them(served: Served) -> None:
    served.config.chmod(0o640)
    refused = served.curl("http://localhost/api/v1/config", uid=NOBODY)
    assert (refused.status, refused.json["title"]) == (403, "Forbidden")
    assert served.get("/api/v1/config")["text"] == CONFIG


def test_explain(served: Served) -> None:
    served.tell("321")
    until(lambda: served.get("/api/v1/explain?pid=321")["verdict"] == "direct")
    nginx = served.root / "usr/lib/systemd/system/nginx.service"
    nginx.parent.mkdir(parents=True)
    nginx.touch()
    said = served.get("/api/v1/explain?unit=nginx")
    assert (said["unit"], said["verdict"]) == ("nginx.service", "vpn")
    assert served.get("/api/v1/explain?destination=192.168.1.5")["verdict"] == "near"


def test_a_unit_that_is_listed_is_known(served: Served) -> None:
    said = served.get("/api/v1/explain?unit=byway.slice")
    assert said["verdict"] == "direct"
    served.ask("POST", "/api/v1/apps", "unit:gone")
    served.ask(
        "PATCH", "/api/v1/traffic/overrides", {"force_vpn": {"cgroups": ["/a.slice/b.scope"]}}
    )
    for unit in ("gone.service", "gone", "b.scope"):
        assert served.get(f"/api/v1/explain?unit={unit}")["unit"].startswith(unit)


@pytest.mark.parametrize(
    "unit",
    [
        "nothing-such",
        "curl.service",
        "/",
        "../../../../hostname.d",
        "a/b",
        "a" * 255,
        "%C3%A9" * 200,
    ],
)
def test_a_unit_that_there_is_not(shared: Served, unit: str) -> None:
    (shared.root / "hostname.d").touch()
    refused = shared.ask("GET", f"/api/v1/explain?unit={unit}")
    assert (refused.status, refused.json["key"]) == (404, "unit")
    assert "no such unit" in refused.json["detail"]
    assert refused.json["remedy"]


@pytest.mark.parametrize(
    "query",
    ["", "?", "?pid=1&unit=a", "?pid=1&pid=2", "?pid=", "?pid=0", "?pid=-1", "?pid=1_0",
     "?pid=99999999", "?pid=%D9%A3", "?destination=example.net", "?unit=a%0Ab", "?pid",
     f"?unit={'a' * 300}"],
)  # fmt: skip
def test_what_cannot_be_explained(shared: Served, query: str) -> None:
    refused = shared.ask("GET", f"/api/v1/explain{query}")
    assert refused.status == 400
    assert refused.json["remedy"]
