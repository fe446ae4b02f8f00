"""Apps: what the configuration's ``apps`` entries select."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

# systemd.unit(5): "letters, digits, and the characters : - _ . \ @"; at most 255 bytes.
# Its drop-ins' directory is the name and ".d", and a file's name has at most 255 bytes itself.
_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]+", re.ASCII)
_LONGEST_UNIT_NAME = 253
_SERVICE_SUFFIX = ".service"
# Moving these would move byway itself, or the manager, out from under the system.
_RESERVED_UNITS = ("byway.service", "byway-gate.service", "byway-reconcile.service", "init.scope")
_GLOB = re.compile(r"[*?\[]")


class AppKind(StrEnum):
    """How an entry of ``apps`` names what it selects."""

    PATH = "path"
    GLOB = "glob"
    UNIT = "unit"


@dataclass(frozen=True, slots=True, order=True)
class App:
    """One entry of ``apps``. ``value`` is a path, a pattern or a unit name."""

    kind: AppKind
    value: str

    def __str__(self) -> str:
        return f"unit:{self.value}" if self.kind is AppKind.UNIT else self.value


class RefusedError(ValueError):
    """A value is refused: the message says what is wrong, ``remedy`` what to write."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def parse_app(text: str) -> App:
    """Return the app ``text`` names; raise RefusedError."""
    refuse_control_characters(text)
    prefix, colon, rest = text.partition(":")
    if colon and not text.startswith("/"):
        if prefix == "unit":
            return App(AppKind.UNIT, parse_unit_name(rest))
        raise RefusedError(
            f"unknown kind of app: {prefix + ':'!r}", "write a full path or unit:NAME.service"
        )
    return _parse_path(text)


def parse_unit_name(text: str) -> str:
    """Return the service's name; raise RefusedError on what is not one or must not be moved."""
    name = text if "." in text else text + _SERVICE_SUFFIX
    if len(name.encode()) > _LONGEST_UNIT_NAME or not _UNIT_NAME.fullmatch(name):
        raise RefusedError(f"not a unit name: {text!r}", "write unit:NAME.service")
    stem = name.removesuffix(_SERVICE_SUFFIX)
    if not name.endswith(_SERVICE_SUFFIX) or not stem:
        raise RefusedError(
            f"not a service: {text!r}",
            "only services can be named; give another unit's programs by their path",
        )
    if stem.startswith("@") or stem.endswith("@") or stem.count("@") > 1:
        raise RefusedError(
            f"not an instance of a template: {text!r}", "write unit:NAME@INSTANCE.service"
        )
    if name in _RESERVED_UNITS or name.startswith("systemd-"):
        raise RefusedError(
            f"{name} must stay where it is", "remove it: byway and systemd cannot be moved"
        )
    return name


def refuse_control_characters(text: str) -> None:
    """Raise RefusedError if ``text`` holds a control character or a lone surrogate."""
    for character in text:
        if ord(character) < 32 or 127 <= ord(character) < 160 or 0xD800 <= ord(character) < 0xE000:
            raise RefusedError(f"control character in {text!r}", "remove it")


def _parse_path(text: str) -> App:
    if not text:
        raise RefusedError("empty", "write a full path, such as /usr/bin/firefox")
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
