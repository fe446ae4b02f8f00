"""The overrides over the API."""

from __future__ import annotations

import os
import tomllib
from typing import Any

import pytest
from served import CONFIG, NOBODY, Served, until

OVERRIDES = "/api/v1/traffic/overrides"
NONE = {
    "force_direct": {"subnets": [], "uids": [], "cgroups": []},
    "force_vpn": {"subnets": [], "uids": [], "cgroups": [], "destinations": []},
}
SOME = {
    "force_direct": {"subnets": ["172.18.0.0/16", "2001:db8::/48"], "uids": ["1000", "2000-2010"]},
    "force_vpn": {"cgroups": ["/system.slice/a.service"], "destinations": ["relay.example"]},
}


def in_force(served: Served) -> dict[str, int]:
    shown: dict[str, dict[str, int]] = served.get("/api/v1/status")["traffic"]["overrides"]
    return {side: sum(counts.values()) for side, counts in shown.items()}


def test_put_replaces_all_and_patch_some(served: Served) -> None:
    assert served.get(OVERRIDES) == NONE
    put = served.ask("PUT", OVERRIDES, SOME)
    assert (put.status, put.json["in_sync"]) == (200, True)
    shown = served.get(OVERRIDES)
    assert shown["force_direct"] == SOME["force_direct"] | {"cgroups": []}
    assert shown["force_vpn"] == NONE["force_vpn"] | SOME["force_vpn"]
    assert in_force(served) == {"force_direct": 4, "force_vpn": 2}
    assert served.config.read_text().startswith(CONFIG)
    assert tomllib.loads(served.config.read_text())["traffic"] == SOME
    patch = {"force_direct": {"uids": [1000]}, "force_vpn": None}
    assert served.ask("PATCH", OVERRIDES, patch).status == 200
    shown = served.get(OVERRIDES)
    assert shown["force_direct"] == SOME["force_direct"] | {"uids": ["1000"], "cgroups": []}
    assert shown["force_vpn"] == NONE["force_vpn"]
    assert served.ask("PATCH", OVERRIDES, {"force_direct": {"subnets": None}}).status == 200
    assert served.ask("PUT", OVERRIDES, {}).status == 200
    assert served.get(OVERRIDES) == NONE
    assert in_force(served) == {"force_direct": 0, "force_vpn": 0}


def test_texts_of_several_values(served: Served) -> None:
    body = {"force_direct": {"subnets": "172.18.0.0/16, 192.0.2.7;\n2001:DB8::/48\n",
                             "uids": ["1000; 1001", 1002], "cgroups": ""}}  # fmt: skip
    assert served.ask("PUT", OVERRIDES, body).status == 200
    assert served.get(OVERRIDES)["force_direct"] == {
        "subnets": ["172.18.0.0/16", "192.0.2.7/32", "2001:db8::/48"],
        "uids": ["1000", "1001", "1002"],
        "cgroups": [],
    }


def test_what_stays_keeps_its_comment(served: Served) -> None:
    text = CONFIG + (
        "[traffic.force_direct] # all of it\n"
        'subnets = [\n  "192.0.2.0/24",  # one\n  "198.51.100.7",  # two\n]\n'
        'uids = "5; 6"\n'
    )
    served.put("/api/v1/config", text)
    body = {"force_direct": {"subnets": ["198.51.100.7/32", "203.0.113.0/24"], "uids": [6, 7]}}
    assert served.ask("PATCH", OVERRIDES, body).status == 200
    changed = served.config.read_text()
    assert '  "198.51.100.7",  # two\n  "203.0.113.0/24"' in changed
    assert 'uids = ["6", "7"]' in changed
    assert "[traffic.force_direct] # all of it\n" in changed
    assert "192.0.2.0" not in changed


@pytest.mark.parametrize(
    "text",
    ['traffic = {mode = "bypass"}\n', 'traffic.mode = "bypass"\n', '[traffic]\nmode = "bypass"\n',
     "traffic.force_direct.uids = [3]\n", "[traffic.force_direct]\r\nuids = [3]\r\n",
     "traffic = {force_direct = {uids = [3]}, force_vpn = {}}\n"],
)  # fmt: skip
def test_other_ways_to_write_the_tables(served: Served, text: str) -> None:
    served.put("/api/v1/config", text)
    done = served.ask("PATCH", OVERRIDES, {"force_direct": {"uids": [4, 5]}})
    if done.status == 200:
        assert served.get(OVERRIDES)["force_direct"]["uids"] == ["4", "5"]
    else:
        assert (done.status, "plainly" in done.json["remedy"]) == (400, True)
        assert served.config.read_text() == text


BAD: list[tuple[Any, list[str]]] = [
    ([], ["body"]), ("x", ["body"]), ({"force": {}}, ["force"]),
    ({"force_direct": []}, ["force_direct"]),
    ({"force_direct": {"destinations": []}}, ["force_direct.destinations"]),
    ({"force_direct": {"uids": 5}}, ["force_direct.uids"]),
    ({"force_direct": {"uids": [True]}}, ["force_direct.uids[0]"]),
    ({"force_direct": {"uids": ["5", "9-7"], "subnets": ["10.0.0.0/8", "10.0.0.1/8", None]},
      "force_vpn": {"cgroups": ["/"], "destinations": "127.0.0.1"}},
     ["force_direct.uids[1]", "force_direct.subnets[1]", "force_direct.subnets[2]",
      "force_vpn.cgroups[0]", "force_vpn.destinations[0]"]),
    ({"force_vpn": {"subnets": "10.0.0.0/8, 192.0.2.7;\n10.0.0.1/8,\n\n192.0.2.8\nx"}},
     ["force_vpn.subnets[2]", "force_vpn.subnets[4]"]),
    ({"force_direct": {"uids": [7]}, "force_vpn": {"uids": [7]}}, ["traffic.force_vpn.uids[0]"]),
    ({"force_direct": {"uids": ["nobody-has-it"]}}, ["traffic.force_direct.uids[0]"]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "keys"), BAD, ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_refused_whole_and_everything_named(
    shared: Served, method: str, body: Any, keys: list[str]
) -> None:
    refused = shared.ask(method, OVERRIDES, body)
    assert (refused.status, refused.json["key"]) == (400, keys[0])
    assert [p["key"] for p in refused.json.get("problems", [{"key": "body"}])] == keys
    assert shared.config.read_text() == CONFIG


def test_null_is_for_patch_alone(shared: Served) -> None:
    assert shared.ask("PUT", OVERRIDES, {"force_direct": {"uids": None}}).status == 400
    assert shared.ask("PUT", OVERRIDES, {"force_direct": None}).status == 400
    assert shared.config.read_text() == CONFIG


def test_what_a_drop_in_lists(served: Served) -> None:
    drop_in = served.root / "etc/byway/conf.d/a.toml"
    drop_in.parent.mkdir()
    drop_in.write_text("[traffic.force_direct]\nuids = [7]\n")
    refused = served.ask("PUT", OVERRIDES, {"force_direct": {"uids": [8]}})
    assert refused.status == 400
    assert "force_direct.uids: '7' is listed in /etc/byway/conf.d/a.toml" in refused.json["detail"]
    assert served.config.read_text() == CONFIG
    assert served.ask("PUT", OVERRIDES, {"force_direct": {"uids": [8, 7]}}).status == 200
    assert tomllib.loads(served.config.read_text())["traffic"]["force_direct"]["uids"] == ["8"]
    assert sorted(served.get(OVERRIDES)["force_direct"]["uids"]) == ["7", "8"]


def test_dry_run_tags_and_confirm(served: Served) -> None:
    tag = served.ask("GET", OVERRIDES).headers["ETag"]
    dry = served.ask("PUT", f"{OVERRIDES}?dry_run=1", SOME)
    assert dry.json["plan"]
    assert served.get(OVERRIDES) == NONE
    done = served.ask("PUT", f"{OVERRIDES}?confirm=1", SOME, {"If-Match": tag})
    assert done.json["applied"] == dry.json["plan"]
    assert served.ask("PATCH", OVERRIDES, {}, {"If-Match": tag}).status == 412
    until(lambda: served.config.read_text() == CONFIG)
    until(lambda: in_force(served)["force_vpn"] == 0)


def test_a_login_that_would_be_cut(served: Served) -> None:
    """The answer says so, to a dry run and to the change."""
    for body, said in (
        ({"force_direct": {"uids": ["0-9"]}}, ["force_direct.uids has root, as whom sshd answers"]),
        ({"force_direct": {"subnets": ["192.168.1.0/24"]}}, ["subnets has 192.168.1.0/24"]),
        ({"force_vpn": {"destinations": ["198.51.100.0/24"]}}, []),
        ({"force_direct": {"uids": ["1-9"]}}, []),
    ):
        for query in ("?dry_run=1", ""):
            warnings = served.ask("PUT", OVERRIDES + query, body).json["warnings"]
            logins = [warning for warning in warnings if "the login from" in warning]
            assert len(logins) == len(said), (body, warnings)
            for login, why in zip(logins, said, strict=True):
                assert login.startswith("the login from 198.51.100.9 by wlan0 is cut: ")
                assert why in login
    served.ask("PUT", OVERRIDES, {"force_direct": {"uids": ["0"]}})
    until(lambda: any("the login from" in w for w in served.get("/api/v1/status")["warnings"]))


def test_files_that_are_refused(served: Served) -> None:
    served.config.write_text("apps = 1\n")
    assert served.ask("GET", OVERRIDES).status == 409
    assert served.ask("PUT", OVERRIDES, SOME).json["key"] == "apps"
    assert served.config.read_text() == "apps = 1\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
def test_files_that_are_not_for_everybody(served: Served) -> None:
    """The mode and the list are told to everybody; what else the files hold is not."""
    served.config.chmod(0o600)
    url = "http://localhost"
    assert served.curl(f"{url}{OVERRIDES}", uid=NOBODY).status == 403
    assert served.curl(f"{url}/bypass", uid=NOBODY).json == []
    assert served.curl(f"{url}/api/v1/traffic/mode", uid=NOBODY).json["mode"] == "bypass"
    assert served.get(OVERRIDES) == NONE
