"""Fixtures: the container, a browser in its network, and the settings page by both ways."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from browser.container import Container
from browser.ways import ARGUMENTS, COCKPIT, Cockpit, Loopback, View, Way, write_launcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext

SHOTS = os.environ.get("BYWAY_SHOTS", "")
_LOCAL = re.compile(rf"(data:|blob:|wss?://127\.0\.0\.1:9090/|http://127\.0\.0\.1:\d+/|{COCKPIT}/)")


@pytest.fixture(scope="session")
def booted() -> Iterator[Container]:
    """The session's container; what ends the tests ends it too, and leaves no mount behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Container() as container:
        yield container
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def container(booted: Container) -> Container:
    """The container, with byway running as every test finds it."""
    booted.start_over()
    return booted


@pytest.fixture(scope="session")
def browser(booted: Container, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium, in the container's network."""
    launcher = write_launcher(booted, tmp_path_factory.mktemp("browser"))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=launcher, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that knows nothing: no cookies, nothing stored."""
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    made.set_default_timeout(15000)
    yield made
    made.close()


@pytest.fixture(params=[Loopback, Cockpit], ids=["loopback", "cockpit"])
def way(request: pytest.FixtureRequest, container: Container) -> Way:
    """A way to the page: `way.open(context, "bob", may_change=False)`."""
    opened: Way = request.param(container)
    return opened


@pytest.fixture
def page(request: pytest.FixtureRequest, way: Way, context: BrowserContext) -> Iterator[View]:
    """The settings page, opened by alice, who may change things."""
    view = way.open(context, "alice", may_change=True)
    yield view
    if SHOTS:
        name = re.sub(r"\W+", "-", request.node.name).strip("-")
        view.page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)
    assert view.unexpected() == []
    assert [url for url in view.asked if not _LOCAL.match(url)] == []
