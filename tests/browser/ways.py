"""The two ways to the settings page, and the browser that takes them."""

from __future__ import annotations

import re
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from playwright.sync_api import expect

from browser.container import PASSWORD, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext, ConsoleMessage, Frame, Page, Request

    from browser.container import Container

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
COCKPIT = "http://127.0.0.1:9090"
_API = re.compile(r"^http://[\d.:]+/(state|events|bypass|api/)")
_GROUP = "SupplementaryGroups=byway"


@dataclass
class View:
    """The settings page as somebody sees it.

    ``frame`` is the settings page itself, ``page`` the tab; ``errors`` is what the console said and
    ``asked`` each URL that was asked for. A test names in ``expected`` what the console may say.
    """

    page: Page
    way: str
    expected: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._see)

    @property
    def frame(self) -> Frame:
        """What shows the settings page now: Cockpit loads it anew when one's rights change."""
        if self.way == "loopback":
            return self.page.main_frame
        with suppress(AssertionError):
            until(self._frames, "")
        found = self._frames()
        assert found, f"Cockpit does not show the page: {self.page.inner_text('body')}"
        return found[-1]

    def _frames(self) -> list[Frame]:
        self.page.wait_for_timeout(20)  # lets Playwright learn of new ones
        return [frame for frame in self.page.frames if re.search(r"/byway/(index|$)", frame.url)]

    def unexpected(self) -> list[str]:
        """Return what the console said that no test expects."""
        known = re.compile("|".join(self.expected) or "(?!)")
        return [error for error in self.errors if not known.search(error)]

    def _hear(self, message: ConsoleMessage) -> None:
        url = message.location.get("url", "")
        # Cockpit's own shell has errors of its own; and each refusal of the API, which the page
        # shows where it belongs, is an error to Chromium.
        ours = self.way == "loopback" or "/byway/" in url
        if message.type == "error" and ours and not _API.search(url):
            self.errors.append(f"{message.text} ({url})")

    def _see(self, request: Request) -> None:
        self.asked.append(request.url)


class Way(Protocol):
    """A way to the settings page."""

    name: str

    def open(self, context: BrowserContext, person: str, *, may_change: bool) -> View:
        """Return the page, opened as somebody who may or may not change things."""


class Loopback:
    """By `byway ui`, as a service of that person's; in the group byway who may change things."""

    name = "loopback"

    def __init__(self, container: Container) -> None:
        """Nothing is served yet."""
        self._container = container

    @contextmanager
    def served(self, person: str, *, may_change: bool) -> Iterator[str]:
        """Serve the page until the end of the block; its URL."""
        unit, shown = f"page-{person}", f"/run/page-{person}"
        more = ["-p", _GROUP] if may_change else []
        self._container.run("rm", "-f", shown)
        self._container.run(
            "systemd-run", "--quiet", "--collect", f"--unit={unit}", "-p", f"User={person}", *more,
            "-p", f"StandardOutput=file:{shown}", "/usr/bin/byway", "ui", "--no-browser",
        )  # fmt: skip
        file = self._container.root / shown[1:]
        until(lambda: file.exists() and "\n" in file.read_text(), "byway ui serves nothing")
        try:
            yield file.read_text().strip()
        finally:
            self._container.run("systemctl", "stop", f"{unit}.service", check=False)

    def open(self, context: BrowserContext, person: str, *, may_change: bool) -> View:
        """Open it as xdg-open would."""
        view = View(context.new_page(), self.name)
        serving = self.served(person, may_change=may_change)
        view.page.goto(serving.__enter__())
        context.on("close", lambda _: serving.__exit__(None, None, None))
        return view


class Cockpit:
    """In Cockpit, after a login by PAM; with administrative access who may change things.

    A session that has it is taken again, as logging in takes longer than most tests do: Cockpit
    keeps it for some seconds after the last page of it was closed.
    """

    name = "cockpit"
    _sessions: ClassVar[dict[tuple[Container, str], Any]] = {}

    def __init__(self, container: Container) -> None:
        """Let Cockpit listen."""
        self._container = container
        container.run("systemctl", "start", "cockpit.socket")

    def open(self, context: BrowserContext, person: str, *, may_change: bool) -> View:
        """Open the page in a session; log in with the password where there is none."""
        view = View(context.new_page(), self.name)
        if may_change:
            context.add_cookies(self._sessions.get((self._container, person), []))
        view.page.goto(f"{COCKPIT}/byway")
        form = view.page.locator("#login-user-input:visible")
        form.or_(view.page.locator("iframe[name*='/byway']")).wait_for(state="attached")
        if form.is_visible():
            self._log_in(view, person, may_change=may_change)
        assert view.frame
        return view

    def _log_in(self, view: View, person: str, *, may_change: bool) -> None:
        view.page.fill("#login-user-input", person)
        view.page.fill("#login-password-input", PASSWORD)
        view.page.click("#login-button")
        view.page.get_by_role("button", name="Session").wait_for()
        if may_change:
            self.become_administrator(view)
            self._sessions[self._container, person] = view.page.context.cookies()

    def become_administrator(self, view: View) -> None:
        """Turn administrative access on, as a person does."""
        view.page.get_by_role("button", name="Limited access").first.click(timeout=20000)
        view.page.get_by_label("Password", exact=False).last.fill(PASSWORD)
        view.page.get_by_role("button", name="Authenticate").click()
        expect(view.page.get_by_role("button", name="Administrative access").first).to_be_visible()
        view.page.wait_for_load_state()


def write_launcher(container: Container, folder: Path) -> Path:
    """Write the program that starts Chromium in the container's network, with Playwright's pipe.

    It may not raise its own priority, as it does when it can: other tests run beside.
    """
    launcher = folder / "chromium"
    enter = f"nsenter --net=/proc/{container.leader}/ns/net setpriv --bounding-set=-sys_nice"
    launcher.write_text(f'#!/bin/sh\nexec {enter} {CHROMIUM} "$@"\n')
    launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
    return launcher
