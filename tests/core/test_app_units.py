"""Which drop-ins reach the units that desktops, flatpak and snapd make of an app."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway_systemd.core.app_units import (
    drop_in_names,
    find_unit_groups,
    is_unit_of,
    system_units,
    user_units,
)
from byway_systemd.core.apps import RefusedError, escape_unit_part, parse_app
from byway_systemd.core.config import Profile
from byway_systemd.core.observed import Group

# Names as they are found on machines, and what selects them.
SEEN = {
    "app-gnome-firefox-4711.scope": "desktop:firefox",
    "app-gnome-org.gnome.Epiphany-182352.scope": "desktop:org.gnome.Epiphany",
    r"app-gnome-google\x2dchrome-3188.scope": "desktop:google-chrome",
    r"app-glib-google\x2dchrome-3188.scope": "desktop:google-chrome.desktop",
    r"app-gnome-org.gnome.Evolution\x2dalarm\x2dnotify-2437.scope":
        "desktop:org.gnome.Evolution-alarm-notify",
    "app-gnome-org.gnome.SettingsDaemon.DiskUtilityNotify-autostart.service":
        "desktop:org.gnome.SettingsDaemon.DiskUtilityNotify",
    "app-org.kde.kate@0f6e4e4ee5b94b7aa5d3ad6b2e5c27a1.service": "desktop:org.kde.kate",
    "app-org.kde.kate-0f6e4e4ee5b94b7aa5d3ad6b2e5c27a1.scope": "desktop:org.kde.kate",
    "app-org.kde.konsole-1234.scope": "desktop:org.kde.konsole",
    "app-KDE-org.kde.okular@12345.service": "desktop:org.kde.okular",
    "app-org.kde.amarok.service": "desktop:org.kde.amarok",
    "app-blueman@autostart.service": "desktop:blueman",
    "app-cosmic-com.system76.CosmicAppList-2629.scope": "desktop:com.system76.CosmicAppList",
    "app-niri-kitty-4242.scope": "desktop:kitty",
    r"app-Hyprland-zen\x2dbin-8a7b6c5d.scope": "desktop:zen-bin",
    "app-flatpak-org.telegram.desktop-12345.scope": "flatpak:org.telegram.desktop",
    "app-flatpak-org.mozilla.firefox-12345.service": "desktop:org.mozilla.firefox",
    "snap.hello-world.sh-4706fe54-7802-4808-aa7e-ae8b567239e0.scope": "snap:hello-world.sh",
    "snap.firefox.firefox-4706fe54-7802-4808-aa7e-ae8b567239e0.scope": "snap:firefox",
    "snap.syncthing.daemon.service": "snap:syncthing.daemon",
    "syncthing.service": "user-unit:syncthing",
}  # fmt: skip


@pytest.mark.parametrize(("unit", "app"), SEEN.items())
def test_reaches(unit: str, app: str) -> None:
    assert drop_in_names(unit).intersection(user_units(parse_app(app)))


@pytest.mark.parametrize("app", set(SEEN.values()))
def test_reaches_no_other(app: str) -> None:
    mine = user_units(parse_app(app))
    reached = {unit for unit in SEEN if drop_in_names(unit).intersection(mine)}
    same = {unit for unit, other in SEEN.items() if parse_app(other) == parse_app(app)}
    assert reached == same


def test_flatpak_is_not_the_distributions_package() -> None:
    units = user_units(parse_app("flatpak:org.gnome.Epiphany"))
    assert not drop_in_names("app-gnome-org.gnome.Epiphany-1.scope").intersection(units)


def test_second_instance_of_a_snap() -> None:
    assert user_units(parse_app("snap:firefox_2")) == (
        "snap.firefox_2.firefox-.scope",
        "snap.firefox_2.firefox.service",
    )


def test_whose_manager() -> None:
    assert system_units(parse_app("unit:a")) == ("a.service",)
    assert user_units(parse_app("unit:a")) == user_units(parse_app("/usr/bin/curl")) == ()
    assert system_units(parse_app("user-unit:a")) == system_units(parse_app("desktop:a")) == ()
    snap = parse_app("snap:nextcloud.apache")
    assert system_units(snap) == user_units(snap)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a.b_c:d", "a.b_c:d"), ("a-b", r"a\x2db"), ("a b%", r"a\x20b\x25"), ("ë", r"\xc3\xab")],
)
def test_escapes_as_launchers_do(text: str, escaped: str) -> None:
    assert escape_unit_part(text) == escaped


@given(
    st.sampled_from(["user-unit:", "desktop:", "flatpak:a.b.", "snap:", "snap:a."]),
    st.text(max_size=80) | st.text("-a", max_size=240),
)
def test_every_name_is_a_file_name(kind: str, text: str) -> None:
    try:
        app = parse_app(kind + text)
    except RefusedError:
        return
    for unit in user_units(app):
        assert "/" not in unit
        assert len(unit.encode()) <= 253
        assert unit.isascii()
        assert not set(unit) & set(" %\n")


@pytest.mark.parametrize(("unit", "app"), SEEN.items())
def test_is_unit_of(unit: str, app: str) -> None:
    assert is_unit_of(unit, parse_app(app))
    others = {other for other in SEEN.values() if parse_app(other) != parse_app(app)}
    assert not any(is_unit_of(unit, parse_app(other)) for other in others)


@pytest.mark.parametrize(
    ("unit", "same"),
    [
        ("dbus-:1.2-org.gnome.Epiphany@0.service", True),
        ("dbus-:1.17-org.gnome.Epiphany@12.service", True),
        ("dbus-:1.2-org.gnome.Epiphany.Other@0.service", False),
        ("dbus-org.gnome.Epiphany.service", False),
        ("dbus-:1.2-org.gnome.Epiphany@0.scope", False),
        ("dbus-:1.x-org.gnome.Epiphany@0.service", False),
    ],
)
def test_what_d_bus_has_activated(unit: str, same: bool) -> None:
    assert is_unit_of(unit, parse_app("desktop:org.gnome.Epiphany")) is same
    assert not is_unit_of(unit, parse_app("flatpak:org.gnome.Epiphany"))


def test_a_units_name_counts_most() -> None:
    apps = ("desktop:org.x.Y", "flatpak:org.x.Y", "/usr/bin/y", "unit:y")
    lte = Profile("lte", apps=(parse_app("user-unit:app-flatpak-org.x.Y-own.service"),))
    profiles = (Profile(apps=tuple(map(parse_app, apps))), lte)
    names = ("/u/app-flatpak-org.x.Y-1.scope", "/u/app-flatpak-org.x.Y-own.service")
    assert find_unit_groups((*names, "/u/app-org.x.Z-1.scope"), profiles) == (
        Group(names[0], "default", "flatpak:org.x.Y"),
        Group(names[1], "lte", str(lte.apps[0])),
    )
