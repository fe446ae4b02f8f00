"""Apps, the bypass list and the routes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from browser.container import START
from browser.controls import apply, ask_api, button, dialog, expect_message, fact, keep, open_tab
from browser.ways import Loopback

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Route

    from browser.container import Container
    from browser.ways import View

DESKTOP_ENTRY = """[Desktop Entry]
Type=Application
Name=Looked For
Exec=/usr/bin/looked-for
Icon=looked-for
"""
ICON = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><path d="M0 0h8v8z"/></svg>'


def listed(container: Container) -> list[str]:
    return [app["app"] for app in ask_api(container, "GET", "/api/v1/apps")]


def test_apps_are_added_and_removed(page: View, container: Container) -> None:
    container.run("systemd-run", "--quiet", "--unit=runs", "/usr/bin/sleep", "1000")
    applications = container.root / "usr/share/applications"
    icons = container.root / "usr/share/icons/hicolor/scalable/apps"
    for folder in (applications, icons):
        folder.mkdir(parents=True, exist_ok=True)
    (applications / "looked-for.desktop").write_text(DESKTOP_ENTRY)
    (icons / "looked-for.svg").write_text(ICON)
    open_tab(page, "Apps")
    button(page, "Add apps...").click()
    dialog(page).get_by_role("tab", name="Installed apps").click()
    dialog(page).get_by_label("Search").fill("looked")
    shown = dialog(page).locator(".choice", has_text="Looked For")
    expect(shown.locator("img")).to_have_attribute("src", re.compile("^data:image/svg"))
    shown.get_by_role("checkbox").check()
    dialog(page).get_by_role("tab", name="Running programs").click()
    dialog(page).get_by_label("Search").fill("sleep")
    dialog(page).get_by_label("/usr/bin/sleep").check()
    dialog(page).get_by_role("tab", name="By name").click()
    dialog(page).get_by_label("Apps, one per line").fill("wget\nunit:a.service")
    dialog(page).get_by_role("button", name="Add", exact=True).click()
    expect(dialog(page)).to_contain_text("wget: not absolute: 'wget'")
    assert listed(container) == ["/usr/bin/curl"]
    dialog(page).get_by_label("Apps, one per line").fill("unit:a.service")
    dialog(page).get_by_role("button", name="Add", exact=True).click()
    expect_message(page, "3 apps are listed.")
    added = ["desktop:looked-for", "/usr/bin/sleep", "unit:a.service"]
    assert listed(container) == ["/usr/bin/curl", *added]
    row = page.frame.get_by_role("row").filter(has_text="/usr/bin/sleep").first
    expect(row).to_contain_text("running")
    pid = container.run("systemctl", "show", "--value", "--property=MainPID", "runs").stdout.strip()
    expect(row).to_contain_text(f"{pid} (")
    for app in added:
        button(page, f"Remove {app}").click()
        expect(button(page, f"Remove {app}")).to_have_count(0)
    assert listed(container) == ["/usr/bin/curl"]
    container.run("systemctl", "stop", "runs")


def test_what_comes_late_is_not_shown_elsewhere(
    container: Container, context: BrowserContext
) -> None:
    late: list[Route] = []

    def hold(route: Route) -> None:
        late.append(route)

    context.route("**/api/v1/programs", hold)
    view = Loopback(container).open(context, "alice", may_change=True)
    open_tab(view, "Apps")
    button(view, "Add apps...").click()
    dialog(view).get_by_role("button", name="Close").click()
    open_tab(view, "Policy overrides (Advanced)")
    button(view, "Add detected...").click()
    expect(dialog(view).get_by_text("Looking...")).to_have_count(0)
    with view.page.expect_response("**/api/v1/programs"):
        late[0].continue_()
    dialog(view).get_by_role("tab", name="Services").click()
    expect(dialog(view).get_by_text("byway.service").first).to_be_visible()
    assert view.errors == []


def test_an_app_of_a_named_profile(page: View, container: Container) -> None:
    file = container.root / "etc/byway/byway.toml"
    file.write_text(START + '[profile.other]\ninterface = "wlan0"\n')
    open_tab(page, "Apps")
    button(page, "Add apps...").click()
    dialog(page).get_by_role("tab", name="By name").click()
    dialog(page).get_by_label("Profile").select_option("other")
    dialog(page).get_by_label("Apps, one per line").fill("/usr/bin/wget\nunit:a.service")
    dialog(page).get_by_role("button", name="Add", exact=True).click()
    expect_message(page, "2 apps are listed.")
    apps = ask_api(container, "GET", "/api/v1/apps")
    assert [(app["app"], app["profile"]) for app in apps] == [
        ("/usr/bin/curl", "default"),
        ("/usr/bin/wget", "other"),
        ("unit:a.service", "other"),
    ]
    row = page.frame.get_by_role("row").filter(has_text="/usr/bin/wget").first
    expect(row).to_contain_text("other")
    for app in ("/usr/bin/wget", "unit:a.service"):
        button(page, f"Remove {app}").click()
        expect(button(page, f"Remove {app}")).to_have_count(0)
    assert listed(container) == ["/usr/bin/curl"]


def test_bytes_by_link(page: View, container: Container) -> None:
    serve = "ip netns exec outside python3 -m http.server --bind 10.64.0.1 --directory /usr/lib 80"
    container.run(f"systemd-run --quiet --unit=serves {serve}; sleep 1")
    big = "http://10.64.0.1/x86_64-linux-gnu/libc.so.6"
    container.run(f"systemd-run --quiet --unit=fetches curl -s --limit-rate 20k -o /dev/null {big}")
    container.run("byway", "reconcile")  # a container has no process events
    open_tab(page, "Apps")
    row = page.frame.get_by_role("row").filter(has_text="/usr/bin/curl").first
    expect(row).to_contain_text("wwan0:")
    expect(row).to_contain_text("1 connection")
    container.run("systemctl", "stop", "fetches", "serves", check=False)


def test_explain(page: View, container: Container) -> None:
    open_tab(page, "Apps")
    shown, text = page.frame.locator("#explanation"), page.frame.get_by_label("Which")
    text.fill("1")
    text.press("Enter")
    expect(shown).to_contain_text("by the VPN")
    page.frame.get_by_label("What", exact=True).select_option("Address")
    text.fill("10.64.0.1")
    button(page, "Explain").click()
    expect(shown).to_contain_text("near")
    page.frame.get_by_label("What", exact=True).select_option("Unit")
    text.fill("byway.service")
    button(page, "Explain").click()
    expect(shown).to_contain_text("because")
    page.frame.get_by_label("What", exact=True).select_option("Address")
    text.fill("nowhere")
    button(page, "Explain").click()
    expect(shown).to_contain_text("not an address: 'nowhere'")
    assert listed(container) == ["/usr/bin/curl"]


def test_the_bypass_list(page: View, container: Container) -> None:
    open_tab(page, "Bypass list")
    text = page.frame.get_by_label("Addresses, subnets or hosts' names")
    text.fill("127.0.0.1")
    button(page, "Add").click()
    refusal = page.frame.locator("form .notice")
    expect(refusal).to_contain_text("never leaves by any link: '127.0.0.1' (remove it)")
    expect(text).to_be_focused()
    text.fill("203.0.113.7, 198.51.100.0/24;\n2001:db8::/48")
    button(page, "Add").click()
    expect(button(page, "Remove 203.0.113.7/32")).to_be_visible()
    expect(text).to_have_value("")
    expect(fact(page, "Bypass routes")).to_have_text("3")
    assert "203.0.113.7" in container.run("nft", "list", "table", "inet", "byway").stdout
    page.frame.get_by_label("Search the bypass list").fill("2001")
    expect(button(page, "Remove 203.0.113.7/32")).to_have_count(0)
    button(page, "Remove 2001:db8::/48").click()
    expect_message(page, "2001:db8::/48 is not listed any more.")
    page.frame.get_by_label("Search the bypass list").fill("")
    assert sorted(ask_api(container, "GET", "/bypass")) == ["198.51.100.0/24", "203.0.113.7/32"]
    button(page, "Clear...").click()
    dialog(page).get_by_role("button", name="Cancel").click()
    assert len(ask_api(container, "GET", "/bypass")) == 2
    button(page, "Clear...").click()
    dialog(page).get_by_role("button", name="Clear the list").click()
    expect(page.frame.get_by_text("Nothing is listed.")).to_be_visible()
    assert ask_api(container, "GET", "/bypass") == []


def test_the_mode_is_tried(page: View) -> None:
    open_tab(page, "Routes")
    button(page, "Test mode").click()
    expect(page.frame.locator("#trial")).to_contain_text("Passed")
    rows = page.frame.get_by_role("table", name="Canaries").get_by_role("row")
    expect(rows.filter(has_text="byway.slice").first).to_contain_text("wwan0")


def test_routes_are_cleared_and_restored(page: View, container: Container) -> None:
    open_tab(page, "Routes")
    assert "lookup byway" in container.run("ip", "rule", "show").stdout
    expect(button(page, "Restore cached routes")).to_be_disabled()
    apply(page, "Clear routes (save cache)")
    keep(page)
    assert "lookup byway" not in container.run("ip", "rule", "show").stdout
    expect(fact(page, "State")).to_have_text("routes cleared")
    apply(page, "Restore cached routes")
    keep(page)
    assert "lookup byway" in container.run("ip", "rule", "show").stdout
    expect(fact(page, "State")).to_have_text("in sync")
