"""Who is let in, and who is not: each refusal by a request as it would come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from page_served import Page, serve_page
from served import GROUP, Served

if TYPE_CHECKING:
    from pathlib import Path

APPS = "/api/v1/apps"


def test_the_token_is_good_for_one_cookie_once(page: Page) -> None:
    first = page.enter()
    assert (first.status, first.headers["Location"], first.body) == (303, "/", b"")
    cookie, *attributes = first.headers["Set-Cookie"].split("; ")
    assert cookie.startswith(f"byway-{page.port}=")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Strict"]
    assert page.read("/state").status == 200
    again = page.enter()
    assert (again.status, again.headers["Set-Cookie"]) == (401, None)
    assert page.read("/state").status == 200  # the first one stays in


@pytest.mark.parametrize("token", ["", "x", "%00", "%C3%A9", "&token=x"])
def test_another_token_is_none(page: Page, token: str) -> None:
    assert page.ask("GET", f"/?token={token}").status == 401
    assert page.enter().status == 303  # it has cost nobody the right one


@pytest.mark.parametrize("target", ["/", "/transport.js", "/state", "/events", APPS, "/nothing"])
@pytest.mark.parametrize("cookie", ["", "byway=x", "byway-{port}=x", "{whole}x", '="";\x7f'])
def test_without_the_cookie_nothing_is_shown(opened: Page, target: str, cookie: str) -> None:
    given = cookie.format(port=opened.port, whole=opened.cookie["Cookie"])
    answer = opened.ask("GET", target, headers={"Cookie": given} if given else {})
    assert answer.status == 401
    assert "byway ui" in answer.json["remedy"]


def test_whoever_comes_without_the_cookie_can_read_why(opened: Page) -> None:
    answer = opened.ask("GET", "/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (answer.status, answer.headers["Content-Type"]) == (401, "text/plain; charset=utf-8")
    assert answer.body == b"who you are is not known (open the page by byway ui)\n"


@pytest.mark.parametrize(
    "host",
    ["localhost:{port}", "127.0.0.1", "127.0.0.1:1", "rebound.example:{port}", "", "[::1]:{port}"],
)
def test_another_name_is_another_server(opened: Page, host: str) -> None:
    """A foreign name that was made to resolve to this address (DNS rebinding)."""
    headers = {**opened.cookie, "Host": host.format(port=opened.port)}
    assert opened.ask("GET", "/state", headers=headers).status == 421


def test_no_host_or_two(opened: Page) -> None:
    head = opened.head()
    assert b" 400 " in opened.send(head.replace(f"Host: {opened.host}\r\n".encode(), b""))
    assert b" 400 " in opened.send(head.replace(b"Host:", b"Host: a\r\nHost:"))


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://localhost:{port}",
        "http://127.0.0.1",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:1",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_another_page_changes_nothing(
    opened: Page, daemon: Served, method: str, origin: str
) -> None:
    before = daemon.config.read_bytes()
    headers = {"Origin": origin.format(port=opened.port)} if origin else {}
    answer = opened.ask(method, APPS, "/usr/bin/wget", {**opened.cookie, **headers})
    assert (answer.status, answer.json["detail"]) == (403, "the change comes from another page")
    assert daemon.config.read_bytes() == before


def test_other_methods_are_refused(opened: Page) -> None:
    for method in ("OPTIONS", "TRACE", "CONNECT", "get"):
        assert opened.ask(method, "/state", headers=opened.cookie).status == 405


def test_the_daemon_decides_by_the_users_own_rights(daemon: Served, opened: Page) -> None:
    refused = opened.change("POST", APPS, "/usr/bin/wget")
    assert refused.status == 403
    assert "member of the group byway" in refused.json["remedy"]
    with serve_page(daemon.root, groups=str(GROUP)) as page:
        page.enter()
        assert page.change("POST", APPS, "/usr/bin/wget").status == 200
        assert [app["app"] for app in page.read(APPS).json][1:] == ["/usr/bin/wget"]
        assert page.change("DELETE", f"{APPS}?app=/usr/bin/wget").status == 200


def test_nobody_speaks_for_somebody_else(daemon: Served, opened: Page) -> None:
    """The header by which Cockpit says for whom it asks does not come through."""
    headers = {**opened.cookie, **opened.origin, "X-Byway-User": "%0a"}  # refused, if it did
    answer = opened.ask("POST", f"{APPS}?dry_run=1", "/usr/bin/wget", headers)
    assert answer.status == 403  # nobody's


def test_another_users_program_is_not_let_in(page: Page) -> None:
    """Not even with the token."""
    script = "import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=10)"
    command = ["setpriv", "--reuid=65533", "--clear-groups", sys.executable, "-c", script, page.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "HTTP Error 403" in done.stderr
    assert page.enter().status == 303


def test_root_does_not_serve(tmp_path: Path) -> None:
    assert os.geteuid() == 0, "this test needs root to refuse"
    done = subprocess.run(
        [sys.executable, "-m", "byway_systemd", "ui", "--no-browser"],
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "does not run as root" in done.stderr


def test_every_answer_keeps_the_browser_in_bounds(opened: Page) -> None:
    answers = [opened.read(target) for target in ("/transport.js", "/state", "/nothing")]
    answers += [opened.ask("GET", "/"), opened.change("POST", APPS, "/usr/bin/wget")]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert policy == [
            "default-src 'self'",
            "img-src 'self' data:",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    assert json.loads(answers[1].body)["state"] == "active"
