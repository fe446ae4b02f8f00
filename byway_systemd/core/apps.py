"""Apps: what the configuration's ``apps`` entries select."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum

# systemd.unit(5): "letters, digits, and the characters : - _ . \ @"; at most 255 bytes.
# Its drop-ins' directory is the name and ".d", and a file's name has at most 255 bytes itself.
_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]+", re.ASCII)
_LONGEST_UNIT_NAME = 253
_SERVICE_SUFFIX = ".service"
# Moving these would move byway itself, or the manager, out from under the system.
_RESERVED_UNITS = (
    "byway.service", "byway-gate.service", "byway-reconcile.service", "byway-apps.service",
    "init.scope",
)  # fmt: skip
# Flatpak's rule, which is D-Bus's for names: elements of letters, digits, _ and -, two dots at
# least (flatpak_is_valid_name() in common/flatpak-utils-base.c).
_FLATPAK_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*){2,}", re.ASCII)
# snapd's rules for a snap's name, the key of a second instance of it, and an app's name
# (snap/naming/validate.go); a snap's name has a letter, too.
_SNAP_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](-?[a-z0-9])*(_[a-z0-9]{1,10})?", re.ASCII)
_SNAP_APP = re.compile(r"[A-Za-z0-9](-?[A-Za-z0-9])*", re.ASCII)
_LONGEST_SNAP_NAME = 40
# The desktop entry specification recommends D-Bus names; what else distributions ship is a file's
# name, folders joined by dashes. Neither a slash nor a control character gets into a unit's name.
_DESKTOP_SUFFIX = ".desktop"
_DESKTOP_ID = re.compile(r"[^\s./\\][^/\\]*")
# What is made of an ID is at most 255 bytes long: see app_units.py.
_LONGEST_ID = 220
_GLOB = re.compile(r"[*?\[]")


class AppKind(StrEnum):
    """How an entry of ``apps`` names what it selects."""

    PATH = "path"
    GLOB = "glob"
    UNIT = "unit"
    USER_UNIT = "user-unit"
    DESKTOP = "desktop"
    FLATPAK = "flatpak"
    SNAP = "snap"

    @property
    def names_files(self) -> bool:
        """Whether the value is a path, or a pattern of paths."""
        return self in (AppKind.PATH, AppKind.GLOB)


class Children(StrEnum):
    """Where what an app starts goes."""

    INHERIT = "inherit"
    LISTED = "listed"


@dataclass(frozen=True, slots=True, order=True)
class App:
    """One entry of ``apps``. ``value`` is a path, a pattern, a unit's name or an app's ID.

    ``children`` and ``exclude`` (paths and patterns) say what leaves again of what it starts; they
    are no part of what the app is.
    """

    kind: AppKind
    value: str
    children: Children = field(default=Children.INHERIT, compare=False)
    exclude: tuple[str, ...] = field(default=(), compare=False)

    @property
    def lets_go(self) -> bool:
        """Whether something that it starts may leave again."""
        return self.children is not Children.INHERIT or bool(self.exclude)

    def __str__(self) -> str:
        if self.kind.names_files:
            return self.value
        # Read again, a suffix is taken off.
        suffix = _DESKTOP_SUFFIX if self.value.endswith(_DESKTOP_SUFFIX) else ""
        return f"{self.kind}:{self.value}{suffix if self.kind is AppKind.DESKTOP else ''}"


class RefusedError(ValueError):
    """A value is refused: the message says what is wrong, ``remedy`` what to write."""

    def __init__(self, message: str, remedy: str, within: tuple[str | int, ...] = ()) -> None:
        """``within`` is the place inside the value that was read."""
        super().__init__(message)
        self.remedy = remedy
        self.within = within


def parse_app_table(value: object) -> App:
    """Return the app of an ``[[app]]`` table: ``path``, ``children``, ``exclude``."""
    if not isinstance(value, dict):
        raise RefusedError(
            f"not a table: {value!r}", "write [[app]] above its keys, or apps = [...]"
        )
    for key in value:
        if key not in ("path", "children", "exclude"):
            raise RefusedError(
                f"unknown key: {key!r}", "write path, children or exclude", (str(key),)
            )
    if "path" not in value:
        raise RefusedError("without a path", 'write path = "/usr/bin/NAME"')
    app = _read_path(value["path"], ("path",))
    exclude = value.get("exclude", [])
    if not isinstance(exclude, list):
        raise RefusedError(f"not a list: {exclude!r}", 'write ["...", "..."]', ("exclude",))
    paths = tuple(_read_path(path, ("exclude", i)).value for i, path in enumerate(exclude))
    return replace(app, children=_read_children(value), exclude=paths)


def _read_children(value: dict[str, object]) -> Children:
    text = value.get("children", Children.INHERIT)
    try:
        return Children(text)  # type: ignore[arg-type]
    except ValueError:
        raise RefusedError(
            f"unknown value: {text!r}", 'write "inherit" or "listed"', ("children",)
        ) from None


def _read_path(value: object, within: tuple[str | int, ...]) -> App:
    if not isinstance(value, str):
        raise RefusedError(f"not a path: {value!r}", 'write it in quotes: "..."', within)
    try:
        app = parse_app(value)
    except RefusedError as error:
        raise RefusedError(str(error), error.remedy, within) from None
    if not app.kind.names_files:
        raise RefusedError(
            f"not a path: {value!r}", "write a path or a pattern; other apps go into apps", within
        )
    return app


def parse_app(text: str) -> App:
    """Return the app ``text`` names; raise RefusedError."""
    refuse_control_characters(text)
    prefix, colon, rest = text.partition(":")
    if not colon or text.startswith("/"):
        return _parse_path(text)
    match prefix:
        case AppKind.UNIT:
            return App(AppKind.UNIT, parse_unit_name(rest))
        case AppKind.USER_UNIT:
            return App(AppKind.USER_UNIT, parse_unit_name(rest, AppKind.USER_UNIT))
        case AppKind.DESKTOP:
            return App(AppKind.DESKTOP, _parse_desktop_id(rest))
        case AppKind.FLATPAK:
            return App(AppKind.FLATPAK, _parse_flatpak_id(rest))
        case AppKind.SNAP:
            return App(AppKind.SNAP, _parse_snap(rest))
        case _:
            raise RefusedError(
                f"unknown kind of app: {prefix + ':'!r}",
                "write a full path, or unit:, user-unit:, desktop:, flatpak: or snap: and a name",
            )


def parse_unit_name(text: str, kind: AppKind = AppKind.UNIT) -> str:
    """Return the service's name; raise RefusedError on what is not one or must not be moved."""
    name = text if "." in text else text + _SERVICE_SUFFIX
    if len(name.encode()) > _LONGEST_UNIT_NAME or not _UNIT_NAME.fullmatch(name):
        raise RefusedError(f"not a unit name: {text!r}", f"write {kind}:NAME.service")
    stem = name.removesuffix(_SERVICE_SUFFIX)
    if not name.endswith(_SERVICE_SUFFIX) or not stem:
        raise RefusedError(
            f"not a service: {text!r}",
            "only services can be named; give another unit's programs by their path",
        )
    if stem.startswith("@") or stem.endswith("@") or stem.count("@") > 1:
        raise RefusedError(
            f"not an instance of a template: {text!r}", f"write {kind}:NAME@INSTANCE.service"
        )
    if name in _RESERVED_UNITS or name.startswith("systemd-"):
        raise RefusedError(
            f"{name} must stay where it is", "remove it: byway and systemd cannot be moved"
        )
    return name


def escape_unit_part(text: str) -> str:
    r"""Return ``text`` as launchers write it in a unit's name: all but A-Z a-z 0-9 : _ . as \xNN.

    So do GNOME, KDE, flatpak and systemd-escape(1); a dash would end the name for drop-ins.
    """
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_."
    return "".join(chr(c) if c in plain else f"\\x{c:02x}" for c in text.encode())


def _parse_desktop_id(text: str) -> str:
    """Return the desktop entry's ID: the name of its file, without the suffix."""
    name = text.removesuffix(_DESKTOP_SUFFIX)
    remedy = "write desktop:ID, the name of a file in /usr/share/applications"
    if not _DESKTOP_ID.fullmatch(name):
        raise RefusedError(f"not the ID of a desktop entry: {text!r}", remedy)
    if len(escape_unit_part(name)) > _LONGEST_ID:
        raise RefusedError("the ID is too long", "list the program by its path")
    return name


def _parse_flatpak_id(text: str) -> str:
    if not _FLATPAK_ID.fullmatch(text):
        raise RefusedError(
            f"not the ID of a flatpak: {text!r}", "write flatpak:APP.ID as `flatpak list` shows it"
        )
    if len(escape_unit_part(text)) > _LONGEST_ID:
        raise RefusedError("the ID is too long", "list the program by its path")
    return text


def _parse_snap(text: str) -> str:
    """Return NAME or NAME.APP; NAME alone is its app of the same name."""
    name, _, app = text.partition(".")
    plain = name.partition("_")[0]
    valid = _SNAP_NAME.fullmatch(name) and len(plain) <= _LONGEST_SNAP_NAME
    if not valid or ("." in text and not _SNAP_APP.fullmatch(app)):
        raise RefusedError(
            f"not the name of a snap: {text!r}", "write snap:NAME, or snap:NAME.APP for another app"
        )
    if len(text) > _LONGEST_ID // 2:
        raise RefusedError("the name is too long", "list the program by its path")
    return name if app == plain else text


def refuse_control_characters(text: str) -> None:
    """Raise RefusedError if ``text`` holds a control character or a lone surrogate."""
    for character in text:
        if ord(character) < 32 or 127 <= ord(character) < 160 or 0xD800 <= ord(character) < 0xE000:
            raise RefusedError(f"control character in {text!r}", "remove it")


def _parse_path(text: str) -> App:
    if not text:
        raise RefusedError("empty: ''", "write a full path, such as /usr/bin/firefox")
    if not text.startswith("/"):
        name = text.rsplit("/", 1)[-1] or "firefox"
        raise RefusedError(
            f"not absolute: {text!r}", f"write the full path, such as /usr/bin/{name}"
        )
    if text.endswith("/"):
        raise RefusedError(f"a directory: {text!r}", "name the program, or use a pattern: DIR/*")
    parts = text.split("/")[1:]
    if "" in parts or "." in parts or ".." in parts:
        raise RefusedError(f"not a plain path: {text!r}", "write it without //, . and ..")
    if len(text.encode()) > 4095 or any(len(part.encode()) > 255 for part in parts):
        raise RefusedError("the path is too long", "write at most 4095 bytes, 255 between slashes")
    return App(AppKind.GLOB if _GLOB.search(text) else AppKind.PATH, text)
