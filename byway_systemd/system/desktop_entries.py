"""The desktop entries and icons that are installed for the whole system."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from byway_systemd.core.desktop_entries import (
    DesktopEntry,
    choose_icons,
    image_type,
    order_icons,
    parse_entry,
)
from byway_systemd.core.programs import Installed
from byway_systemd.system.trusted_files import list_trusted, read_trusted

if TYPE_CHECKING:
    from collections.abc import Iterator

# The first one with an ID counts, as in XDG_DATA_DIRS. Users' own entries are theirs to write.
_APPLICATIONS = (
    "usr/local/share/applications",
    "usr/share/applications",
    "var/lib/flatpak/exports/share/applications",
    "var/lib/snapd/desktop/applications",
)
_THEMES = (
    "usr/local/share/icons/hicolor",
    "usr/share/icons/hicolor",
    "var/lib/flatpak/exports/share/icons/hicolor",
)
_PIXMAPS = ("usr/local/share/pixmaps", "usr/share/pixmaps")
_SUFFIX = ".desktop"
_MOST_ENTRIES = 4000
_LARGEST_ENTRY = 512 * 1024  # most of it are translations
LARGEST_ICON = 64 * 1024


def observe_installed(root: str = "/") -> Installed:
    """Return the entries that are shown to people, and the files of their icons."""
    seen: set[str] = set()
    entries: list[DesktopEntry] = []
    for identifier, path in _list_entries(root):
        if identifier not in seen and len(seen) < _MOST_ENTRIES:
            seen.add(identifier)
            with suppress(OSError):
                text = read_trusted(path, _LARGEST_ENTRY, root).decode(errors="replace")
                entry = parse_entry(identifier, text)
                entries += [entry] if entry else []
    return Installed(tuple(entries), choose_icons(entries, order_icons(_list_icons(root))))


def _list_entries(root: str) -> Iterator[tuple[str, str]]:
    """Yield (ID, path); one in a folder has the folder's name in its ID, and a dash."""
    for place in _APPLICATIONS:
        for name in list_trusted(place, root):
            if name.endswith(_SUFFIX):
                yield name.removesuffix(_SUFFIX), f"{place}/{name}"
            elif "." not in name:
                for below in list_trusted(f"{place}/{name}", root):
                    if below.endswith(_SUFFIX):
                        yield f"{name}-{below.removesuffix(_SUFFIX)}", f"{place}/{name}/{below}"


def _list_icons(root: str) -> Iterator[str]:
    for theme in _THEMES:
        for size in list_trusted(theme, root):
            place = f"{theme}/{size}/apps"
            yield from (f"{place}/{name}" for name in list_trusted(place, root))
    for place in _PIXMAPS:
        yield from (f"{place}/{name}" for name in list_trusted(place, root))


def read_icon(paths: tuple[str, ...], root: str = "/") -> tuple[str, bytes] | None:
    """Return the media type and the content of the first of ``paths`` that can be served."""
    for path in paths:
        with suppress(OSError):
            content = read_trusted(path, LARGEST_ICON, root)
            if kind := image_type(path, content):
                return kind, content
    return None
