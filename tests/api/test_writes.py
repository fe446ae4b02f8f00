"""What can be changed, by whom, and that two who write at once leave nothing half done."""

from __future__ import annotations

import json
import os
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from served import CONFIG, GROUP, NOBODY, Served, serve, until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
APPS = "/api/v1/apps"
FULL = "/api/v1/config"


def listed(served: Served) -> list[str]:
    apps: list[str] = tomllib.loads(served.config.read_text())["apps"]
    assert apps == [app["app"] for app in served.get(APPS)], "what is written is in force"
    return apps


@pytest.mark.parametrize(
    "body",
    ["/usr/bin/wget", ["/usr/bin/wget"], {"app": "/usr/bin/wget"},
     {"app": ["/usr/bin/wget"], "profile": "default"}],
)  # fmt: skip
def test_apps_come_and_go(served: Served, body: Any) -> None:
    added = served.ask("POST", APPS, body)
    assert (added.status, added.json["code"], added.json["description"]) == (200, 200, "OK")
    assert listed(served) == ["/usr/bin/curl", "/usr/bin/wget"]
    assert "# kept too" in served.config.read_text()
    assert added.headers["ETag"] == served.ask("GET", FULL).headers["ETag"]
    again = served.ask("POST", APPS, body)
    assert (again.status, again.json["detail"]) == (400, "already listed: /usr/bin/wget")
    assert served.ask("DELETE", APPS, body).status == 200
    assert served.config.read_text() == CONFIG
    gone = served.ask("DELETE", f"{APPS}?app=/usr/bin/wget")
    assert gone.status == 404


def test_delete_by_query(served: Served) -> None:
    served.ask("POST", APPS, ["/usr/bin/wget", "unit:a"])
    assert served.ask("DELETE", f"{APPS}?app=/usr/bin/wget&app=unit:a.service").status == 200
    assert listed(served) == ["/usr/bin/curl"]


BAD = [
    None, "", "firefox", [], [1], ["/usr/bin/wget", "firefox"], {"app": None}, {"apps": "/a"},
    {"app": "/a", "profile": 1}, {"app": "/a", "profile": "none"}, 1, ["/a"] * 101,
    ["/a\nb"], "unit:byway.service", "/\ud800",
]  # fmt: skip


@pytest.mark.parametrize("body", BAD, ids=lambda body: repr(body)[:30])
def test_bad_apps_change_nothing(shared: Served, body: Any) -> None:
    refused = shared.ask("POST", APPS, json.dumps(body).encode())
    assert refused.status == 400
    assert refused.json["remedy"]
    assert shared.config.read_text() == CONFIG


def test_refused_whole(shared: Served) -> None:
    refused = shared.ask("POST", APPS, ["/usr/bin/wget", "firefox"])
    assert refused.json["key"] == "body[1]"
    assert shared.config.read_text() == CONFIG


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"NaN", b'{"app": 1e999}'])
def test_body_that_is_no_json(shared: Served, body: bytes) -> None:
    assert shared.ask("POST", APPS, body).status == 400


def test_put_config(served: Served) -> None:
    text = '# new\ninterface = "wlan0"\n'
    toml = {"Content-Type": "application/toml"}
    put = served.put(FULL, text, toml)
    assert put.status == 200
    assert {operation["operation"] for operation in put.json["applied"]} & {"replace-table"}
    assert (put.json["in_sync"], put.json["failures"]) == (True, [])
    assert served.config.read_text() == text
    assert served.get("/state")["links"]["default"]["link"] == "wlan0"
    as_json = {"Content-Type": "application/json; charset=utf-8"}
    assert served.ask("PUT", FULL, {"text": CONFIG}, as_json).status == 200
    assert served.config.read_text() == CONFIG
    assert served.ask("PUT", FULL, {"txet": ""}, as_json).json["key"] == "text"


def test_dry_run_says_what_would_be_done(served: Served) -> None:
    text = 'interface = "wlan0"\n'
    before = served.ask("GET", FULL).headers["ETag"]
    dry = served.put(f"{FULL}?dry_run=1", text)
    assert dry.status == 200
    assert dry.json["plan"]
    assert served.ask("GET", FULL).headers["ETag"] == before
    done = served.put(FULL, text)
    assert done.json["applied"][: len(dry.json["plan"])] == dry.json["plan"]
    assert served.put(f"{FULL}?dry_run=1", text).json == {"plan": [], "warnings": []}
    assert served.put(f"{FULL}?dry_run=yes", text).status == 400
    assert served.ask("POST", "/api/v1/apply?dry_run=1").json == {"plan": [], "warnings": []}


def test_bad_config_is_refused_with_everything_that_is_wrong(served: Served) -> None:
    refused = served.put(FULL, 'apps = ["firefox"]\ninterfacee = 1\n')
    assert refused.status == 400
    assert [(p["line"], p["key"]) for p in refused.json["problems"]] == [
        (1, "apps[0]"),
        (2, "interfacee"),
    ]
    assert refused.json["key"] == "apps[0]"
    assert served.put(FULL, "# " + "a" * 70_000).status == 400
    assert served.ask("PUT", FULL, b"\xff").status == 400
    assert served.config.read_text() == CONFIG
    assert served.get("/state")["config_problems"] == []


def test_two_editors_do_not_overwrite_each_other(served: Served) -> None:
    tag = served.ask("GET", FULL).headers["ETag"]
    first = served.put(FULL, CONFIG + "# a\n", {"If-Match": tag})
    assert first.status == 200
    second = served.put(FULL, CONFIG + "# b\n", {"If-Match": tag})
    assert (second.status, second.json["key"]) == (412, "if-match")
    assert served.config.read_text() == CONFIG + "# a\n"
    third = served.put(FULL, CONFIG, {"If-Match": f'"x", {first.headers["ETag"]}'})
    assert third.status == 200
    served.config.write_text(CONFIG + "# by hand\n")
    assert served.put(FULL, "", {"If-Match": third.headers["ETag"]}).status == 412
    assert served.put(FULL, CONFIG, {"If-Match": "*"}).status == 200


def test_many_writers_lose_nothing(served: Served) -> None:
    """Every change that was answered with 200 is there, and no other."""
    names = [f"/opt/app{number}" for number in range(24)]

    def add(name: str) -> int:
        return served.ask("POST", APPS, name).status

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(add, names)) == {200}
    assert sorted(listed(served)) == sorted(["/usr/bin/curl", *names])
    with ThreadPoolExecutor(12) as pool:
        removed = pool.map(lambda name: served.ask("DELETE", f"{APPS}?app={name}").status, names)
        assert set(removed) == {200}
    assert listed(served) == ["/usr/bin/curl"]


def test_writers_and_editors_at_once(served: Served) -> None:
    """Whatever wins, what is left is one of the texts, whole."""
    texts = [f'interface = "wwan0"\napps = ["/opt/{n}"]\n' + "#" * 30_000 for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda text: served.put(FULL, text).status, texts))
    assert set(statuses) == {200}
    assert served.config.read_text() in texts
    listed(served)


def test_reads_go_on_while_somebody_writes(served: Served) -> None:
    slow = "".join(f'[profile.p{n}]\napps = ["/opt/{n}/*"]\n' for n in range(25))
    done = threading.Event()

    def write() -> None:
        for _ in range(3):
            served.put(FULL, CONFIG + slow)
            served.put(FULL, CONFIG)
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not done.is_set():
            assert served.get("/state")["state"] == "active"
        writing.result()


@as_root
def test_who_may_write(served: Served) -> None:
    url = f"http://localhost{APPS}"
    post = ("-d", '"/usr/bin/wget"', url)
    refused = served.curl(*post, uid=NOBODY)
    assert (refused.status, refused.json["title"]) == (403, "Forbidden")
    assert "group byway" in refused.json["remedy"]
    assert served.curl(*post, uid=NOBODY, groups="1,2").status == 403
    for method, path in (
        ("PUT", FULL), ("DELETE", APPS), ("POST", "/api/v1/apply"), ("POST", "/api/v1/confirm"),
        ("POST", "/api/v1/rollback"), ("PUT", f"{FULL}?dry_run=1"),
    ):  # fmt: skip
        assert served.curl("-X", method, f"http://localhost{path}", uid=NOBODY).status == 403
    assert served.config.read_text() == CONFIG
    assert served.curl(*post, uid=NOBODY, groups=f"1,{GROUP}").status == 200
    assert listed(served) == ["/usr/bin/curl", "/usr/bin/wget"]


@as_root
def test_large_body_of_somebody_who_may_not_write_is_not_read(served: Served) -> None:
    before = served.memory()
    big = served.root / "big"
    big.write_bytes(b" " * 8_000_000)
    answer = served.curl("-T", str(big), f"http://localhost{FULL}", uid=NOBODY)
    assert answer.status in (403, 413)
    assert served.memory() - before < 4000


def test_rollback_takes_back_the_last_change(served: Served) -> None:
    nothing = served.ask("POST", "/api/v1/rollback")
    assert nothing.status == 409
    served.ask("POST", APPS, "/usr/bin/wget")
    back = served.ask("POST", "/api/v1/rollback")
    assert (back.status, back.json["can_roll_back"]) == (200, False)
    assert served.config.read_text() == CONFIG
    assert listed(served) == ["/usr/bin/curl"]


def test_what_is_confirmed_stays(served: Served) -> None:
    assert served.ask("POST", "/api/v1/confirm").status == 409
    added = served.ask("POST", f"{APPS}?confirm=1", "/usr/bin/wget")
    assert added.json["unconfirmed"] == 1
    assert served.ask("POST", "/api/v1/confirm").json["unconfirmed"] is None
    threading.Event().wait(1.3)
    assert listed(served) == ["/usr/bin/curl", "/usr/bin/wget"]


def test_what_is_not_confirmed_comes_back(served: Served) -> None:
    served.ask("POST", f"{APPS}?confirm=1", "/usr/bin/wget")
    served.ask("POST", APPS, "/usr/bin/aria2c")  # waits with it
    assert len(listed(served)) == 3
    until(lambda: served.config.read_text() == CONFIG)
    until(lambda: len(served.get(APPS)) == 1)
    assert not (served.root / "var/lib/byway/unconfirmed.json").exists()


def test_edit_by_hand_can_be_applied_until_confirmed(served: Served) -> None:
    served.config.write_text('interface = "wlan0"\n')
    applied = served.ask("POST", "/api/v1/apply?confirm=1")
    assert applied.json["applied"]
    assert applied.json["unconfirmed"] == 1
    until(lambda: served.config.read_text() == CONFIG)
    until(lambda: served.get("/state")["links"]["default"]["link"] == "wwan0")


@pytest.mark.parametrize("seconds", ["0", "-1", "1.5", "", "1_0", "٣", "86401", "1&confirm=2"])
def test_odd_times_to_confirm(shared: Served, seconds: str) -> None:
    from urllib.parse import quote  # noqa: PLC0415

    refused = shared.ask("POST", f"/api/v1/apply?confirm={quote(seconds, safe='&=')}")
    assert (refused.status, refused.json["key"]) == (400, "confirm")


def test_stop_takes_back_what_is_not_confirmed() -> None:
    with serve() as served:
        served.ask("POST", f"{APPS}?confirm=600", "/usr/bin/wget")
        remembered = served.root / "var/lib/byway/unconfirmed.json"
        assert json.loads(remembered.read_text())["texts"]["/etc/byway/byway.toml"] == CONFIG
        assert remembered.stat().st_mode & 0o777 == 0o600
        served.stop()
        assert served.config.read_text() == CONFIG
        assert not remembered.exists()


def test_daemon_that_refuses_what_was_written_gets_the_old_text(served: Served) -> None:
    """What the daemon says counts, even when it was right a moment before."""
    served.config.write_text("apps = 1\n")
    refused = served.ask("POST", APPS, "/usr/bin/wget")
    assert (refused.status, refused.json["key"]) == (400, "apps")
    assert served.ask("POST", "/api/v1/apply").json["code"] == 200
    assert served.get("/state")["config_problems"]
    assert served.put(FULL, CONFIG).status == 200
    assert served.get("/state")["config_problems"] == []
