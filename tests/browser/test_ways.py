"""The page opens by both ways, for those it should, and says what it cannot reach."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from browser.container import until
from browser.ways import Cockpit

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

    from browser.container import Container
    from browser.ways import View, Way

APPS = "/api/v1/apps"
# Asks as the page itself does, by a transport of its own.
ASK = """async ([method, path, body]) => {
    const {connect} = await import("./transport.js");
    const transport = await connect();
    try {
        return await transport.request(method, path, body === null ? {} : {body});
    } catch (error) {
        return {unreachable: error.message};
    }
}"""
# Notes what the page is told; TOLD returns it.
LISTEN = """async () => {
    const {connect} = await import("./transport.js");
    const transport = await connect();
    const told = window.told = [];
    transport.onAccess((access) => told.push(access));
    transport.onTheme((theme) => told.push(theme));
    transport.events({
        onEvent: (kind, value) => told.push(`${kind} ${value.state}`),
        onDown: (reason) => told.push(`down: ${reason}`),
        onUp: () => told.push("up"),
    });
}"""
TOLD = "() => window.told"


def ask(view: View, method: str, path: str, body: Any = None) -> Any:
    return view.frame.evaluate(ASK, [method, path, body])


def until_told(view: View, wanted: str, times: int = 1) -> None:
    """Wait until the page was told something so often."""
    frame = view.frame
    until(
        lambda: sum(wanted in one for one in frame.evaluate(TOLD)) >= times,
        f"{wanted} was not told: {frame.evaluate(TOLD)}",
    )


def test_reads_and_writes(page: View, container: Container) -> None:
    assert ask(page, "GET", "/state")["body"]["state"] == "active"
    started = time.time()
    changed = ask(page, "POST", APPS, "/usr/bin/wget")
    assert changed["status"] == 200, changed
    assert "/usr/bin/wget" in container.run("byway", "list").stdout
    refused = ask(page, "POST", APPS, "wget")
    assert (refused["status"], refused["body"]["key"]) == (400, "body[0]"), refused
    # By whom: as Cockpit's administrators are root, it says for whom.
    since = f"--since=@{int(started)}"
    log = container.run("journalctl", "--unit=byway", "--output=export", since).stdout
    by = "BYWAY_ON_BEHALF_OF=alice" if page.way == "cockpit" else "BYWAY_PEER_UID=1000"
    assert by in log.splitlines()


def test_a_tag_keeps_what_somebody_else_has_changed(page: View) -> None:
    overrides = "/api/v1/traffic/overrides"
    tag = ask(page, "GET", overrides)["etag"]
    change = {"force_direct": {"uids": ["4242"]}}
    script = ASK.replace("{body}", f"{{body, etag: {json.dumps(tag)}}}")
    sent = ["PATCH", overrides, change]
    assert [page.frame.evaluate(script, sent)["status"] for _ in range(2)] == [200, 412]


def test_who_may_not_change_things_is_told_what_to_do(
    way: Way, context: BrowserContext, container: Container
) -> None:
    view = way.open(context, "bob", may_change=False)
    view.frame.evaluate(LISTEN)
    refused = ask(view, "POST", APPS, "/usr/bin/wget")
    assert refused["status"] == 403
    wanted = {"loopback": "member of the group byway", "cockpit": "administrative access"}
    assert wanted[way.name] in refused["body"]["remedy"]
    assert ask(view, "GET", APPS)["status"] == 200
    assert "/usr/bin/wget" not in container.run("byway", "list").stdout


def test_a_member_of_the_group_needs_no_root(
    way: Way, context: BrowserContext, container: Container
) -> None:
    view = way.open(context, "carol", may_change=False)
    view.frame.evaluate(LISTEN)
    until_told(view, "write")
    assert ask(view, "POST", APPS, "/usr/bin/wget")["status"] == 200
    assert "/usr/bin/wget" in container.run("byway", "list").stdout


@pytest.mark.parametrize("way", [Cockpit], ids=["cockpit"], indirect=True)
def test_administrative_access_comes_and_goes(way: Cockpit, context: BrowserContext) -> None:
    view = way.open(context, "alice", may_change=False)
    view.frame.evaluate(LISTEN)
    until_told(view, "read")
    assert ask(view, "POST", APPS, "/usr/bin/wget")["status"] == 403
    way.become_administrator(view)
    view.frame.evaluate(LISTEN)
    until_told(view, "write")
    assert ask(view, "POST", APPS, "/usr/bin/wget")["status"] == 200


def test_a_daemon_that_goes_and_comes_back_is_noticed(page: View, container: Container) -> None:
    page.frame.evaluate(LISTEN)
    until_told(page, "state active")
    container.run("systemctl", "stop", "byway.service")
    until_told(page, "down: byway does not run")
    assert "systemctl start byway" in ask(page, "GET", "/state")["unreachable"]
    container.run("systemctl", "start", "byway.service")
    until_told(page, "up", times=2)
    until_told(page, "state active", times=2)
    assert ask(page, "GET", "/state")["status"] == 200


def test_the_theme_is_followed(page: View) -> None:
    page.frame.evaluate(LISTEN)
    until_told(page, "light")
    page.page.emulate_media(color_scheme="dark")
    until_told(page, "dark")
    if page.way == "cockpit":  # whose own setting goes before the system's
        page.page.evaluate("localStorage.setItem('shell:style', 'light')")
        until_told(page, "light", times=2)
        classes = page.frame.locator("html")
        expect(classes).not_to_have_class("pf-v6-theme-dark")


INLINE = """() => new Promise((resolve) => {
    const told = (event) => resolve(event.violatedDirective);
    document.addEventListener("securitypolicyviolation", told);
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
})"""


def test_no_script_but_its_own_runs(page: View) -> None:
    page.expected.append("Content Security Policy")
    assert "script-src" in page.frame.evaluate(INLINE)
    assert page.frame.evaluate("() => window.ran") is None


def test_the_token_is_gone_from_the_address(page: View) -> None:
    assert "token" not in page.page.url
    assert page.page.evaluate("() => document.cookie.includes('byway')") is False
