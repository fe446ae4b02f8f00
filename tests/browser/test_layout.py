"""What holds for the page however it looks: no barrier for anybody, no scrolling sideways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

if TYPE_CHECKING:
    from browser.ways import View

SERIOUS = {"serious", "critical"}
WIDER = """() => [...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map((one) => one.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_bars_anybody(page: View, scheme: str) -> None:
    page.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    expect(page.frame.locator("h1")).to_be_visible()
    found = Axe().run(page.frame)  # type: ignore[arg-type]
    serious = [one for one in found.response["violations"] if one["impact"] in SERIOUS]
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in serious] == []


def test_a_narrow_screen_does_not_scroll_sideways(page: View) -> None:
    page.page.set_viewport_size({"width": 360, "height": 740})
    expect(page.frame.locator("h1")).to_be_visible()
    sizes = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    scrolled, shown = page.frame.evaluate(sizes)
    assert scrolled <= shown, page.frame.evaluate(WIDER)
