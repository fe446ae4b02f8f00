"""What goes its own way: typed or detected, marked where it is wrong, merged with others'."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from browser.container import Container
    from browser.ways import View

TAB = "Policy overrides (Advanced)"
OVERRIDES = "/api/v1/traffic/overrides"
# Seconds. So long after an address came or went Chromium gives up what it is loading
# (net/base/network_change_notifier_linux.cc).
NOTICED = 2.5
SELECTED = """node => node.value.slice(node.selectionStart, node.selectionEnd)"""


def test_both_sides_are_applied(page: View, container: Container) -> None:
    open_tab(page, TAB)
    frame = page.frame
    frame.get_by_label("Force VPN: Source subnets").fill("10.9.0.0/24, 192.0.2.7;\n2001:db8::/48")
    frame.get_by_label("Force VPN: UIDs").fill("1500; 2000-2010")
    frame.get_by_label("Force VPN: Cgroups / services").fill("/system.slice/a.service")
    frame.get_by_label("Force VPN: Destinations").fill("198.51.100.0/24")
    frame.get_by_label("Force Direct: Source subnets").fill("172.18.0.0/16")
    frame.get_by_label("Force Direct: UIDs").fill("bob")
    frame.get_by_label("Force Direct: Cgroups / services").fill("b.service")
    apply(page, "Apply overrides")
    keep(page)
    assert ask_api(container, "GET", OVERRIDES) == {
        "force_direct": {"subnets": ["172.18.0.0/16"], "uids": ["bob"], "cgroups": ["b.service"]},
        "force_vpn": {
            "subnets": ["10.9.0.0/24", "192.0.2.7/32", "2001:db8::/48"],
            "uids": ["1500", "2000-2010"],
            "cgroups": ["/system.slice/a.service"],
            "destinations": ["198.51.100.0/24"],
        },
    }
    table = container.run("nft", "list", "table", "inet", "byway").stdout
    assert "172.18.0.0/16" in table
    assert "198.51.100.0/24" in table
    expect(fact(page, "Overrides")).to_have_text("10")
    expect(fact(page, "Resolved cgroups")).to_contain_text("warning")
    expect(frame.get_by_label("Force VPN: Source subnets")).to_have_value(
        "10.9.0.0/24\n192.0.2.7/32\n2001:db8::/48"
    )


def test_each_bad_value_is_marked_where_it_stands(page: View, container: Container) -> None:
    open_tab(page, TAB)
    frame, before = page.frame, read_config(container)
    subnets = frame.get_by_label("Force VPN: Source subnets")
    uids = frame.get_by_label("Force Direct: UIDs")
    subnets.fill("10.9.0.0/24, 10.0.0.1/8;\nfoo")
    uids.fill("1000\n9-7")
    button(page, "Apply overrides").click()
    expect(subnets).to_be_focused()
    assert subnets.evaluate(SELECTED) == "10.0.0.1/8"
    expect(subnets).to_have_attribute("aria-invalid", "true")
    expect(subnets).to_have_accessible_description(
        "such as 172.18.0.0/16 or 192.0.2.7 "
        "10.0.0.1/8: not a subnet: '10.0.0.1/8' — write the subnet's first address: 10.0.0.0/8 "
        "foo: not a subnet: 'foo' — write one such as 172.18.0.0/16, 192.0.2.7 or 2001:db8::/48"
    )
    expect(uids).to_have_accessible_description(
        "such as 1000, 2000-2010 or alice 9-7: ends before it begins: '9-7' — write 7-9"
    )
    expect(frame.locator(".mirror mark")).to_have_text(["10.0.0.1/8", "foo", "9-7"])
    expect(frame.get_by_label("Force VPN: UIDs")).not_to_have_attribute("aria-invalid", "true")
    assert read_config(container) == before
    subnets.fill("10.9.0.0/24")
    uids.fill("1000")
    expect(frame.locator("[aria-invalid]")).to_have_count(0)
    apply(page, "Apply overrides")
    keep(page)


def test_what_contradicts_itself_is_marked(page: View) -> None:
    open_tab(page, TAB)
    page.frame.get_by_label("Force VPN: UIDs").fill("7")
    page.frame.get_by_label("Force Direct: UIDs").fill("6\n7")
    button(page, "Apply overrides").click()
    expect(page.frame.locator(".mirror mark")).to_have_text(["7"])
    expect(page.frame.locator(".problems")).to_contain_text("forced both ways")


def test_what_is_detected_only_fills_the_fields(page: View, container: Container) -> None:
    container.run("systemd-run", "--quiet", "--unit=looked-for", "sleep", "1000")
    open_tab(page, TAB)
    frame, before = page.frame, read_config(container)
    button(page, "Add detected...").click()
    dialog(page).get_by_role("button", name="Keep LAN direct").click()
    expect(dialog(page).get_by_label("192.168.1.0/24")).to_be_checked()
    expect(dialog(page).get_by_label("Force Direct")).to_be_checked()
    expect(dialog(page).get_by_role("button", name="Keep Docker direct")).to_be_disabled()
    dialog(page).get_by_role("button", name="Fill the fields").click()
    expect(button(page, "Add detected...")).to_be_focused()
    expect(frame.get_by_label("Force Direct: Source subnets")).to_have_value(
        "10.64.0.0/24\n192.168.1.0/24"
    )
    button(page, "Add detected...").click()
    dialog(page).get_by_label("Force VPN").check()
    dialog(page).get_by_role("tab", name="Subnets").focus()
    page.page.keyboard.press("ArrowRight")
    expect(dialog(page).get_by_role("tab", name="Services")).to_be_focused()
    dialog(page).get_by_label("Search").fill("looked")
    dialog(page).get_by_label("/system.slice/looked-for.service").check()
    dialog(page).get_by_role("tab", name="UIDs").click()
    dialog(page).get_by_label("Search").fill("root")
    dialog(page).get_by_label("0", exact=True).check()
    dialog(page).get_by_role("button", name="Fill the fields").click()
    expect(frame.get_by_label("Force VPN: Cgroups / services")).to_have_value(
        "/system.slice/looked-for.service"
    )
    expect(frame.get_by_label("Force VPN: UIDs")).to_have_value("0")
    assert read_config(container) == before
    container.run("systemctl", "stop", "looked-for")
    button(page, "Discard").click()
    expect(frame.get_by_label("Force VPN: UIDs")).to_have_value("")


@pytest.fixture
def docker(container: Container) -> Iterator[str]:
    """The subnet of a bridge like Docker's."""
    container.run(
        "ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0;"
        "ip link set docker0 up"
    )
    time.sleep(NOTICED)
    yield "172.17.0.0/16"
    container.run("ip link delete docker0")
    time.sleep(NOTICED)


def test_containers_are_kept_direct(docker: str, page: View, container: Container) -> None:
    open_tab(page, TAB)
    button(page, "Add detected...").click()
    dialog(page).get_by_role("button", name="Keep Docker direct").click()
    expect(dialog(page).get_by_label(docker)).to_be_checked()
    dialog(page).get_by_role("button", name="Fill the fields").click()
    apply(page, "Apply overrides")
    keep(page)
    assert f"from {docker} lookup byway" in container.run("ip", "rule").stdout


def test_what_somebody_else_adds_is_kept(page: View, container: Container) -> None:
    open_tab(page, TAB)
    frame = page.frame
    frame.get_by_label("Force VPN: UIDs").fill("1500")
    theirs = {"force_vpn": {"uids": [1600], "subnets": "10.9.0.0/24"}}
    ask_api(container, "PATCH", OVERRIDES, theirs)
    expect(frame.get_by_text("Somebody else has changed")).to_be_visible()
    button(page, "Apply overrides").click()
    expect_message(page, "Nothing was applied")
    button(page, "Load again").click()
    expect(frame.get_by_label("Force VPN: UIDs")).to_have_value("1600\n1500")
    expect(frame.get_by_label("Force VPN: Source subnets")).to_have_value("10.9.0.0/24")
    apply(page, "Apply overrides")
    keep(page)
    assert ask_api(container, "GET", OVERRIDES)["force_vpn"]["uids"] == ["1600", "1500"]
