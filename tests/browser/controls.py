"""What tests of the page do over and over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from browser.container import Container
    from browser.ways import View

TABS = (
    "Overview", "Traffic mode", "Policy overrides (Advanced)", "Apps", "Bypass list", "Routes",
    "Event log",
)  # fmt: skip
_SOCKET = "/run/byway/byway.sock"


def open_tab(view: View, name: str) -> None:
    """Choose a tab, and wait until it is shown."""
    tab = view.frame.get_by_role("tab", name=name, exact=True)
    tab.click()
    expect(tab).to_have_attribute("aria-selected", "true")


def button(view: View, name: str) -> Locator:
    """Return a button of the page."""
    return view.frame.get_by_role("button", name=name, exact=True)


def dialog(view: View) -> Locator:
    """Return the open dialog."""
    return view.frame.get_by_role("dialog")


def apply(view: View, name: str) -> None:
    """Ask for a change by its button, and apply the plan that is shown."""
    button(view, name).click()
    dialog(view).get_by_role("button", name="Apply", exact=True).click()
    expect(button(view, "Keep these changes")).to_be_focused()


def keep(view: View) -> None:
    """Keep what was applied."""
    button(view, "Keep these changes").click()
    expect_message(view, "Kept: the changes stay.")
    expect(button(view, "Keep these changes")).to_have_count(0)


def expect_message(view: View, text: str) -> None:
    """Wait until the page says what came of the last thing that was done."""
    expect(view.frame.locator("#bottom")).to_contain_text(text)


def fact(view: View, name: str) -> Locator:
    """Return what the status line says of something."""
    return view.frame.locator(".status > div", has_text=name).locator("dd")


def ask_api(container: Container, method: str, path: str, body: Any = None) -> Any:
    """Ask byway as root, as somebody else would; return the JSON value."""
    kind = "Content-Type: application/json"
    sent = [] if body is None else ["--data", json.dumps(body), "--header", kind]
    command = ["curl", "-sS", "--unix-socket", _SOCKET, "-X", method, *sent, f"http://byway{path}"]
    return json.loads(container.run(*command).stdout)


def read_config(container: Container) -> str:
    """Return the configuration's main file."""
    return (container.root / "etc/byway/byway.toml").read_text()
