"""The mode and the links: the plan first, for a minute, then for good."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from browser.container import until
from browser.controls import (
    apply,
    ask_api,
    button,
    dialog,
    expect_message,
    fact,
    keep,
    open_tab,
    read_config,
)
from browser.ways import Loopback

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Route

    from browser.container import Container
    from browser.ways import View, Way

PAGE = Path(__file__).parents[2] / "byway_systemd/ui/page"
CONFIRM_SECONDS = 60
# What went with the VPN's link.
LEAD_ALL = "for half in 0.0.0.0 128.0.0.0; do ip route add $half/1 dev tun0; done"
NEAR = "192.168.1.0/24 dev wlan0"  # what auto-local bypass keeps out of the tunnel


def mode_of(container: Container) -> tuple[str, bool]:
    found = ask_api(container, "GET", "/api/v1/traffic/mode")
    return found["mode"], found["runtime"]


def rules(container: Container) -> str:
    return container.run("ip", "rule", "show").stdout


def routes(container: Container, table: str) -> str:
    return container.run("ip", "route", "show", "table", table, check=False).stdout


@pytest.mark.parametrize("mode", ["selective", "full_tunnel", "direct"])
def test_a_mode_is_applied_and_kept(page: View, container: Container, mode: str) -> None:
    open_tab(page, "Traffic mode")
    before = rules(container)
    page.frame.get_by_label(mode, exact=True).check()
    button(page, "Apply mode").click()
    expect(dialog(page).get_by_role("table", name="Plan")).to_contain_text("add-rule")
    assert rules(container) == before
    dialog(page).get_by_role("button", name="Apply", exact=True).click()
    expect(page.frame.get_by_role("timer")).to_have_text(re.compile(r"^(60|5\d) s$"))
    assert mode_of(container) == (mode, False)
    assert rules(container) != before
    keep(page)
    expect(fact(page, "Desired mode")).to_have_text(mode)
    expect(fact(page, "Applied mode")).to_have_text(mode)
    assert mode_of(container) == (mode, False)


def test_a_mode_for_this_boot_is_taken_back(page: View, container: Container) -> None:
    open_tab(page, "Traffic mode")
    before = rules(container)
    page.frame.get_by_label("full_tunnel", exact=True).check()
    page.frame.get_by_label("Until the next boot").check()
    apply(page, "Apply mode")
    assert mode_of(container) == ("full_tunnel", True)
    button(page, "Take back").click()
    expect_message(page, "Taken back")
    assert mode_of(container) == ("bypass", False)
    assert rules(container) == before
    expect(page.frame.get_by_label("bypass", exact=True)).to_be_checked()
    expect(page.frame.get_by_label("For good")).to_be_checked()


def test_a_plan_that_is_not_applied_changes_nothing(page: View, container: Container) -> None:
    open_tab(page, "Traffic mode")
    before = read_config(container)
    page.frame.get_by_label("direct", exact=True).check()
    button(page, "Apply mode").click()
    dialog(page).get_by_role("button", name="Cancel").click()
    expect(button(page, "Apply mode")).to_be_focused()
    button(page, "Discard").first.click()
    expect(page.frame.get_by_label("bypass", exact=True)).to_be_checked()
    expect(button(page, "Apply mode")).to_be_disabled()
    assert read_config(container) == before


def test_the_links(page: View, container: Container) -> None:
    container.run("byway", "mode", "full_tunnel")
    assert NEAR in routes(container, "agvpn")
    open_tab(page, "Traffic mode")
    frame = page.frame
    frame.get_by_label("Direct link").select_option("wlan0")
    frame.get_by_label("VPN link").select_option("tun0")
    frame.get_by_label("Auto-local bypass (LAN/container subnets)").uncheck()
    frame.get_by_label("Let it go direct").check()
    apply(page, "Apply settings")
    keep(page)
    found = ask_api(container, "GET", "/api/v1/settings")
    assert found.pop("interfaces")
    assert found == {
        "interface": "wlan0",
        "vpn_interface": "tun0",
        "auto_local_bypass": False,
        "when_vpn_down": "direct",
    }
    assert "default via 192.168.1.1 dev wlan0" in routes(container, "byway")
    assert "default dev tun0" in routes(container, "agvpn")
    assert NEAR not in routes(container, "agvpn")
    container.run("ip link set tun0 down")
    try:
        until(lambda: "default" not in routes(container, "agvpn"), "the VPN's traffic is blocked")
        frame.get_by_label("Block it").check()
        apply(page, "Apply settings")
        keep(page)
        assert "unreachable default" in routes(container, "agvpn")
    finally:
        container.run("ip link set tun0 up; " + LEAD_ALL)


def test_what_somebody_else_sets_meanwhile_is_not_overwritten(
    page: View, container: Container
) -> None:
    open_tab(page, "Traffic mode")
    page.frame.get_by_label("direct", exact=True).check()
    container.run("byway", "mode", "selective")
    expect(page.frame.get_by_text("Somebody else has changed")).to_be_visible()
    button(page, "Apply mode").click()
    expect_message(page, "Nothing was applied")
    assert mode_of(container) == ("selective", False)
    button(page, "Load again").click()
    expect(page.frame.get_by_label("direct", exact=True)).to_be_checked()
    apply(page, "Apply mode")
    keep(page)
    assert mode_of(container) == ("direct", False)


def test_what_waits_is_shown_to_who_comes_later(
    way: Way, container: Container, context: BrowserContext
) -> None:
    ask_api(container, "PUT", "/api/v1/traffic/mode?confirm=600", {"mode": "direct"})
    view = way.open(context, "alice", may_change=True)
    expect(view.frame.get_by_role("timer")).to_have_text(re.compile(r"^(600|5\d\d) s$"))
    ask_api(container, "POST", "/api/v1/rollback")
    expect(button(view, "Keep these changes")).to_have_count(0)
    ask_api(container, "PUT", "/api/v1/traffic/mode?confirm=600", {"mode": "direct"})
    keep(view)
    assert mode_of(container) == ("direct", False)


def test_what_a_lost_page_has_changed_is_taken_back(
    container: Container, context: BrowserContext
) -> None:
    seconds = 5  # instead of a minute

    text = (PAGE / "requests.js").read_text()
    line = f"CONFIRM_SECONDS = {CONFIRM_SECONDS};"
    assert line in text

    def hurry(route: Route) -> None:
        hurried = text.replace(line, f"CONFIRM_SECONDS = {seconds};")
        route.fulfill(body=hurried, content_type="text/javascript")

    context.route("**/requests.js", hurry)
    view = Loopback(container).open(context, "alice", may_change=True)
    open_tab(view, "Traffic mode")
    view.frame.get_by_label("full_tunnel", exact=True).check()
    apply(view, "Apply mode")
    view.page.close()
    assert mode_of(container) == ("full_tunnel", False)
    end = time.monotonic() + seconds + 10
    while mode_of(container) != ("bypass", False):
        assert time.monotonic() < end, "it was not taken back"
        time.sleep(1)
