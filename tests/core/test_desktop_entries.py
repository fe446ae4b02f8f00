"""Desktop entries and icons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway_systemd.core.apps import parse_app
from byway_systemd.core.desktop_entries import (
    DesktopEntry,
    choose_icons,
    image_type,
    order_icons,
    parse_entry,
)
from byway_systemd.core.programs import Installed, RunningProgram, build_programs

PLAIN = "[Desktop Entry]\nType=Application\nName=Firefox\nIcon=firefox\nExec=firefox %u\n"


def shown(text: str, identifier: str = "org.mozilla.firefox") -> tuple[str, str, str] | None:
    entry = parse_entry(identifier, text)
    return entry and (entry.name, str(entry.app), entry.icon)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAIN, ("Firefox", "desktop:org.mozilla.firefox", "firefox")),
        (
            "# a comment\n[Other]\nName=x\n[Desktop Entry]\nName[de]=Fuchs\r\n Name = a\\sb \r\n"
            "Type=Application\n[Desktop Action new]\nName=New window\nHidden=true\n",
            ("a b", "desktop:org.mozilla.firefox", ""),
        ),
        (PLAIN.replace("Name=Firefox\n", ""), ("org.mozilla.firefox",)),
        (
            PLAIN + "X-Flatpak=org.mozilla.firefox\n",
            ("Firefox", "flatpak:org.mozilla.firefox", "firefox"),
        ),
        (PLAIN + "X-SnapInstanceName=firefox\n", ("Firefox", "snap:firefox", "firefox")),
        (
            PLAIN + "X-SnapInstanceName=lxd\nX-SnapAppName=ui\n",
            ("Firefox", "snap:lxd.ui", "firefox"),
        ),
        (PLAIN + "NoDisplay=true\n", None),
        (PLAIN + "Hidden=True\n", None),
        (PLAIN + "NoDisplay=false\n", ("Firefox", "desktop:org.mozilla.firefox", "firefox")),
        (PLAIN.replace("Application", "Link"), None),
        (PLAIN.replace("Firefox", "Fire\x1bfox"), None),
        (PLAIN + "X-Flatpak=not one\n", None),
        ("", None),
    ],
)
def test_entries(text: str, expected: tuple[str, ...] | None) -> None:
    found = shown(text)
    assert (found and found[: len(expected or ())]) == expected


def test_what_cannot_be_listed_is_left_out() -> None:
    assert shown(PLAIN, "a" * 300) is None
    assert shown(PLAIN, "a b.desktop") == ("Firefox", "desktop:a b.desktop.desktop", "firefox")


@given(st.text(), st.lists(st.sampled_from(PLAIN.split("\n")) | st.text(), max_size=8))
def test_whatever_stands_there(identifier: str, lines: list[str]) -> None:
    entry = parse_entry(identifier, "\n".join(["[Desktop Entry]", *lines]))
    assert entry is None or (entry.name and parse_app(str(entry.app)) == entry.app)


def test_icons_of_48_pixels_come_first_and_others_later() -> None:
    theme = "usr/share/icons/hicolor"
    paths = [
        f"{theme}/512x512/apps/a.png", f"{theme}/scalable/apps/a.svg", f"{theme}/48x48/apps/a.png",
        "usr/share/pixmaps/a.png", "usr/share/pixmaps/b.xpm", "usr/share/pixmaps/.png",
        f"{theme}/symbolic/apps/a.svg", "x.png",
    ]  # fmt: skip
    assert order_icons(paths) == {
        "a": (
            f"{theme}/48x48/apps/a.png", f"{theme}/scalable/apps/a.svg",
            f"{theme}/512x512/apps/a.png", f"{theme}/symbolic/apps/a.svg",
            "usr/share/pixmaps/a.png",
        ),
        "x": ("x.png",),
    }  # fmt: skip


def test_only_what_entries_name_is_there_to_be_asked_for() -> None:
    names = ("a", "a.png", "b", "/opt/x/y.png", "/etc/shadow", "/opt/x.xpm", "../a", "", "c.d")
    entries = [
        entry for n in names if (entry := parse_entry("e", PLAIN.replace("=firefox", f"={n}")))
    ]
    icons = {"a": ("1.png",), "other": ("2.png",), "c.d": ("3.svg",)}
    assert choose_icons(entries, icons) == {
        "a": ("1.png",),
        "a.png": ("1.png",),
        "/opt/x/y.png": ("/opt/x/y.png",),
        "c.d": ("3.svg",),
    }


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n...", "image/png"),
        ("a.png", b"root:x:0:", ""),
        ("a.svg", b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "image/svg+xml"),
        ("a.svg", b"root:x:0:", ""),
        ("a.svg", b"", ""),
    ],
)
def test_an_image_is_what_its_name_says(path: str, content: bytes, kind: str) -> None:
    assert image_type(path, content) == kind


def test_programs_are_told_once_with_all_who_run_them() -> None:
    running = (
        RunningProgram("/usr/bin/curl", 9, "alice"),
        RunningProgram("/usr/bin/curl", 7, "root"),
        RunningProgram("/usr/bin/[", 6, "root"),
        RunningProgram("/a\nb", 5, "root"),
        RunningProgram("/bin/a", 8, "4711"),
    )
    entries = [parse_entry(name, PLAIN.replace("Firefox", name)) for name in ("b", "A")]
    installed = Installed(tuple(e for e in entries if isinstance(e, DesktopEntry)), {"x": ("1",)})
    assert build_programs(running, installed) == {
        "programs": [
            {"program": "/bin/a", "pids": [8], "users": ["4711"]},
            {"program": "/usr/bin/curl", "pids": [7, 9], "users": ["alice", "root"]},
        ],
        "desktop": [
            {"id": "A", "name": "A", "app": "desktop:A", "icon": ""},
            {"id": "b", "name": "b", "app": "desktop:b", "icon": ""},
        ],
    }
