"""What holds for all of the page: live, without byway or rights, by keyboard, for everybody."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import pytest
from playwright.sync_api import expect

from browser.controls import TABS, button, dialog, fact, open_tab

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Route

    from browser.container import Container
    from browser.ways import View, Way

AXE = files("axe_playwright_python") / "axe.min.js"
WIDTHS = (360, 800, 1600)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
    for (const entry of list.getEntries())
        window.shifted += entry.hadRecentInput ? 0 : entry.value;
}).observe({type: "layout-shift", buffered: true});
"""


def faults(view: View) -> list[Any]:
    """Return what axe-core finds that is serious or critical."""
    view.frame.evaluate(AXE.read_text())
    found: list[Any] = view.frame.evaluate("axe.run().then((result) => result.violations)")
    return [
        (one["id"], one["nodes"][0]["html"])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def test_status_picture_and_log_are_live(page: View, container: Container) -> None:
    expect(fact(page, "State")).to_have_text("in sync")
    picture = page.frame.get_by_role("img", name="Where traffic goes now")
    expect(picture).to_contain_text("curl: direct, by wwan0.")
    container.run("byway", "mode", "full_tunnel")
    expect(fact(page, "Applied mode")).to_have_text("full_tunnel")
    expect(picture).to_contain_text("Everything else: VPN, by tun0.")
    container.run("ip", "link", "set", "tun0", "down")
    expect(picture).to_contain_text("Everything else: blocked.")
    container.run("ip link set tun0 up; ip route add 0.0.0.0/1 dev tun0")
    container.run("ip", "route", "add", "128.0.0.0/1", "dev", "tun0")
    expect(picture).to_contain_text("Everything else: VPN, by tun0.")
    page.frame.get_by_text("The same as a table").click()
    row = page.frame.get_by_role("row").filter(has_text="Everything else")
    expect(row).to_contain_text("tun0")
    open_tab(page, "Event log")
    log = page.frame.get_by_role("log")
    expect(log).to_contain_text("configuration loaded")
    page.frame.get_by_label("Kind").select_option("Mode")
    expect(log).to_contain_text("mode full_tunnel, in force: full_tunnel")
    expect(log).not_to_contain_text("configuration loaded")
    button(page, "Empty the log").click()
    expect(log).to_have_text("Nothing has happened since the page was opened.")


def test_without_byway_it_says_what_to_do_and_comes_back(page: View, container: Container) -> None:
    page.expected.append("50[24]")
    open_tab(page, "Policy overrides (Advanced)")
    page.frame.get_by_label("Force VPN: UIDs").fill("4242")
    container.run("systemctl", "stop", "byway.service", "byway.socket")
    expect(page.frame.get_by_text("systemctl start byway")).to_be_visible()
    expect(page.frame.get_by_role("tab")).to_have_count(0)
    assert faults(page) == []
    container.run("systemctl", "start", "byway")
    expect(page.frame.get_by_label("Force VPN: UIDs")).to_have_value("4242")


def test_what_does_not_arrive_is_fetched_again(way: Way, context: BrowserContext) -> None:
    lost: list[str] = []

    def lose_the_first(route: Route) -> None:
        if lost:
            route.continue_()
        else:
            lost.append(route.request.url)
            route.abort()

    context.route("**/byway/store.js" if way.name == "cockpit" else "**/store.js", lose_the_first)
    view = way.open(context, "alice", may_change=True)
    open_tab(view, "Overview")
    assert lost


def test_a_refused_configuration_is_shown(page: View, container: Container) -> None:
    file = container.root / "etc/byway/byway.toml"
    file.write_text('interface = "wwan0"\nsomething = 1\n')
    expect(fact(page, "State")).to_have_text("configuration refused")
    expect(page.frame.get_by_text("something")).to_be_visible()


def test_whoever_may_only_read_is_told_so_once(way: Way, context: BrowserContext) -> None:
    view = way.open(context, "bob", may_change=False)
    open_tab(view, "Traffic mode")
    if way.name == "loopback":  # byway decides, and says so at the first change
        view.frame.get_by_label("direct", exact=True).check()
        button(view, "Apply mode").click()
    expect(view.frame.locator("#access-hint")).to_have_count(1)
    for tab in TABS:
        open_tab(view, tab)
        enabled = view.frame.locator("#main-panel button:enabled").all_inner_texts()
        assert set(enabled) <= {"Explain", "Discard", "Empty the log", "Dismiss"}
    assert faults(view) == []


def test_tabs_and_dialogs_by_keyboard(page: View) -> None:
    open_tab(page, "Overview")
    keyboard = page.page.keyboard
    keyboard.press("ArrowLeft")
    expect(page.frame.get_by_role("tab", name="Event log")).to_be_focused()
    keyboard.press("Home")
    keyboard.press("ArrowRight")
    expect(page.frame.get_by_role("tab", name="Traffic mode")).to_be_focused()
    expect(page.frame.get_by_role("tabpanel", name="Traffic mode")).to_be_visible()
    open_tab(page, "Policy overrides (Advanced)")
    button(page, "Add detected...").focus()
    keyboard.press("Enter")
    expect(dialog(page)).to_be_visible()
    keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)
    expect(button(page, "Add detected...")).to_be_focused()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_for_everybody_at_every_width(page: View, theme: Literal["light", "dark"]) -> None:
    page.page.emulate_media(color_scheme=theme)
    for width in WIDTHS:
        page.page.set_viewport_size({"width": width, "height": 800})
        for tab in TABS:
            open_tab(page, tab)
            expect(page.frame.locator("html")).to_have_attribute("data-theme", theme)
            assert page.frame.evaluate(OVERFLOW) <= 0, (tab, width)
            assert faults(page) == [], (tab, width)


@pytest.mark.parametrize(
    ("tab", "opener"),
    [("Policy overrides (Advanced)", "Add detected..."), ("Apps", "Add apps..."),
     ("Policy overrides (Advanced)", "Apply overrides")],
)  # fmt: skip
def test_dialogs_are_for_everybody(page: View, tab: str, opener: str) -> None:
    open_tab(page, tab)
    button(page, opener).click()
    expect(dialog(page).get_by_text("Looking...")).to_have_count(0)
    assert faults(page) == []
    page.page.set_viewport_size({"width": 360, "height": 640})
    assert page.frame.evaluate(OVERFLOW) <= 0


@pytest.mark.parametrize("person", ["alice", "bob"])
def test_nothing_moves(way: Way, context: BrowserContext, person: str) -> None:
    context.add_init_script(SHIFTS)
    view = way.open(context, person, may_change=person == "alice")
    open_tab(view, "Overview")
    view.page.wait_for_timeout(2500)  # the counters have come twice by then
    assert view.frame.evaluate("window.shifted") == 0
