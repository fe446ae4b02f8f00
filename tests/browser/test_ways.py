"""The page opens by both ways, for those it should, and says what it cannot reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

    from browser.container import Container
    from browser.ways import View, Way

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


def ask(view: View, method: str, path: str, body: Any = None) -> Any:
    return view.frame.evaluate(ASK, [method, path, body])


def test_reads_and_writes(page: View, container: Container) -> None:
    assert ask(page, "GET", "/state")["body"]["state"] == "active"
    changed = ask(page, "POST", "/api/v1/apps", "/usr/bin/wget")
    assert changed["status"] == 200, changed
    assert "/usr/bin/wget" in container.run("byway", "list").stdout
    refused = ask(page, "POST", "/api/v1/apps", "wget")
    assert (refused["status"], refused["body"]["key"]) == (400, "body[0]"), refused


def test_whoever_may_not_is_told_what_to_do(
    way: Way, context: BrowserContext, container: Container
) -> None:
    view = way.open(context, "bob", may_change=False)
    refused = ask(view, "POST", "/api/v1/apps", "/usr/bin/wget")
    assert refused["status"] == 403
    wanted = {"loopback": "member of the group byway", "cockpit": "administrative access"}
    assert wanted[way.name] in refused["body"]["remedy"]
    assert ask(view, "GET", "/api/v1/apps")["status"] == 200
    assert "/usr/bin/wget" not in container.run("byway", "list").stdout
