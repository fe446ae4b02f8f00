"""Desktop entries: what is installed, and how ``apps`` names it.

As https://specifications.freedesktop.org/desktop-entry-spec/latest/ has them, of which only the
group [Desktop Entry] counts, and of that the keys without a locale.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from byway_systemd.core.apps import AppKind, RefusedError, parse_app

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from byway_systemd.core.apps import App

_GROUP = "[Desktop Entry]"
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"s": " ", "n": " ", "t": " ", "r": " ", "\\": "\\"}
_LONGEST_NAME = 200
_IMAGES = (".png", ".svg")
# Of 48 by 48 pixels, or drawn to any size; then larger ones, then what there is.
_SIZES = ("48x48", "scalable", "64x64", "96x96", "128x128", "256x256", "32x32", "24x24", "512x512")


@dataclass(frozen=True, slots=True)
class DesktopEntry:
    """An installed app: the ID of its entry, what people call it, how ``apps`` does, its icon.

    ``icon`` is a name of the theme's or an absolute path; empty when there is none.
    """

    identifier: str
    name: str
    app: App
    icon: str = ""


def parse_entry(identifier: str, text: str) -> DesktopEntry | None:
    """Return the app that an entry's text describes; None for one that is not shown to people."""
    keys = _read_keys(text)
    hidden = any(keys.get(key, "").lower() in ("true", "1") for key in ("NoDisplay", "Hidden"))
    if keys.get("Type") != "Application" or hidden:
        return None
    name, icon = _unescape(keys.get("Name", "")), _unescape(keys.get("Icon", ""))
    try:
        app = _read_app(identifier, keys)
    except RefusedError:  # nobody could list it
        return None
    if not name.isprintable() or not icon.isprintable():
        return None
    return DesktopEntry(identifier, name[:_LONGEST_NAME] or identifier, app, icon)


def _read_keys(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    group = ""
    for line in map(str.strip, text.split("\n")):
        if line.startswith("["):
            group = line
        elif group == _GROUP and not line.startswith("#"):
            key, equals, value = line.partition("=")
            if equals:
                found.setdefault(key.rstrip(), value.lstrip())
    return found


def _unescape(value: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[0]), value).strip()


def _read_app(identifier: str, keys: Mapping[str, str]) -> App:
    """Return the entry of ``apps`` that finds it however it is started; raise RefusedError."""
    if flatpak := keys.get("X-Flatpak"):
        return parse_app(f"{AppKind.FLATPAK}:{flatpak}")
    if snap := keys.get("X-SnapInstanceName"):
        program = keys.get("X-SnapAppName", "")
        return parse_app(f"{AppKind.SNAP}:{snap}" + (f".{program}" if program else ""))
    return parse_app(f"{AppKind.DESKTOP}:{identifier}.desktop")


def order_icons(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the files of each icon, the one to be taken first at first.

    A theme's are called ``.../hicolor/SIZE/apps/NAME.png``, those without a size come last.
    """
    found: dict[str, list[str]] = {}
    for path in paths:
        stem, dot, suffix = path.rpartition("/")[2].rpartition(".")
        if stem and dot + suffix in _IMAGES:
            found.setdefault(stem, []).append(path)
    return {name: tuple(sorted(files, key=_rank)) for name, files in found.items()}


def _rank(path: str) -> tuple[int, str]:
    size = path.split("/")[-3:-2]
    return (_SIZES.index(size[0]) if size and size[0] in _SIZES else len(_SIZES), path)


def choose_icons(
    entries: Iterable[DesktopEntry], icons: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Return, by what entries call their icons, the files they may be in; none for unknown ones.

    Nothing else is ever served: what a client asks for is looked up here, and opened nowhere.
    """
    found: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        stem, dot, suffix = entry.icon.rpartition(".")
        is_path = entry.icon.startswith("/")
        if is_path and dot + suffix in _IMAGES:
            found[entry.icon] = (entry.icon,)
        elif not is_path and (files := icons.get(entry.icon)):
            found[entry.icon] = files
        elif not is_path and dot + suffix in (*_IMAGES, ".xpm") and (files := icons.get(stem)):
            found[entry.icon] = files  # against the specification, and common
    return found


def image_type(path: str, content: bytes) -> str:
    """Return the media type of a file that is what its name says, empty when it is not."""
    if path.endswith(".png"):
        return "image/png" if content.startswith(b"\x89PNG\r\n\x1a\n") else ""
    return "image/svg+xml" if b"<svg" in content[:4096] else ""


def present_entry(entry: DesktopEntry, icons: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return an installed app as a JSON value."""
    return {
        "id": entry.identifier,
        "name": entry.name,
        "app": str(entry.app),
        "icon": entry.icon if entry.icon in icons else "",
    }
