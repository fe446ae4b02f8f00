"""What desktop entries start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway_systemd.core.desktop_entries import (
    DesktopEntry,
    find_desktop_ids,
    parse_desktop_entry,
)


def entry(text: str, path: str = "a.desktop") -> DesktopEntry:
    return parse_desktop_entry(path, f"[Desktop Entry]\nType=Application\n{text}\n")


@pytest.mark.parametrize(
    ("text", "programs"),
    [
        ("Exec=firefox %u", ("firefox",)),
        ("Exec = /usr/bin/firefox", ("/usr/bin/firefox",)),
        ("TryExec=/usr/bin/a\nExec=/usr/bin/b", ("/usr/bin/b", "/usr/bin/a")),
        ("TryExec=a\nExec=a --new", ("a",)),
        ("Exec=env A=1 B=2 /usr/bin/c -x", ("/usr/bin/c",)),
        ("Exec=/usr/bin/env A=1 /snap/bin/c", ("/snap/bin/c",)),
        ("Exec=env env", ("env",)),
        ("Exec=env A=1", ()),
        ('Exec="/opt/my app/run" %f', ("/opt/my app/run",)),
        (r'Exec="/opt/\\$a\\"b"', ('/opt/$a"b',)),
        (r"Exec=/opt/a\\sb", (r"/opt/a\sb",)),
        ("TryExec=/opt/a\\sb", ("/opt/a b",)),
        ('Exec="unclosed', ()),
        ("Exec=", ()),
        ("Name=x", ()),
        ("# Exec=a", ()),
        ("Exec=a\nExec=b", ("a",)),
        ("Exec[de]=b", ()),
        ("[Desktop Action new]\nExec=b", ()),
    ],
)
def test_programs(text: str, programs: tuple[str, ...]) -> None:
    assert entry(text).programs == programs


@pytest.mark.parametrize(
    ("path", "identifier"),
    [
        ("firefox.desktop", "firefox"),
        ("kde/konsole.desktop", "kde-konsole"),
        ("org.telegram.desktop.desktop", "org.telegram.desktop"),
    ],
)
def test_identifier_is_the_files_name(path: str, identifier: str) -> None:
    assert entry("Exec=a", path).identifier == identifier


@pytest.mark.parametrize("text", ["Hidden=true\nExec=a", "NoDisplay=true\nExec=a"])
def test_hidden_is_not_the_same_as_not_displayed(text: str) -> None:
    assert entry(text).hidden == text.startswith("Hidden")


def test_links_are_apps_of_nobody() -> None:
    assert parse_desktop_entry("a.desktop", "[Desktop Entry]\nType=Link\nExec=a\n").hidden


def test_finds_by_what_a_name_means() -> None:
    meaning = {"fox": "/usr/lib/fox", "/usr/bin/fox": "/usr/lib/fox"}
    entries = (
        DesktopEntry("own", ("/usr/bin/fox",)),
        DesktopEntry("masked", hidden=True),
        DesktopEntry("masked", ("fox",)),
        DesktopEntry("changed", ("other",)),
        DesktopEntry("changed", ("fox",)),
        DesktopEntry("by-name", ("sh", "fox")),
    )
    found = find_desktop_ids(entries, "/usr/bin/fox", lambda name: meaning.get(name, name))
    assert found == ("by-name", "own")


@given(st.text("[DesktopEntry]\nExec= \"\\$`'envA1/%#", max_size=80))
def test_any_text_is_read(text: str) -> None:
    for program in parse_desktop_entry("a.desktop", text).programs:
        assert program
    for program in entry(f"Exec={text}").programs:
        assert program
