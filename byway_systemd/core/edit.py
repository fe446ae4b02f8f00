"""Editing the configuration in place: comments, order and layout stay (tomlkit)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tomlkit
import tomlkit.exceptions

from byway_systemd.core.apps import App, parse_app
from byway_systemd.core.config import DEFAULT_PROFILE
from byway_systemd.core.errors import NotFoundError, UsageError
from byway_systemd.core.parse import parse_config

if TYPE_CHECKING:
    from byway_systemd.core.parse import ConfigFile


def add_app(text: str, app: App, profile: str = DEFAULT_PROFILE) -> str:
    """Return the file's text with ``app`` appended to the profile's list; raise UsageError.

    The text must be a valid configuration.
    """
    document = tomlkit.parse(text)
    table: Any = document
    if profile != DEFAULT_PROFILE:
        table = document.get("profile", {}).get(profile)
        if table is None:
            raise UsageError(f"no profile {profile!r} in this file (write [profile.{profile}])")
    apps = table.get("apps")
    if apps is None:
        apps = tomlkit.array()
        table["apps"] = apps
        apps = table["apps"]
    if app in map(parse_app, (*apps, *(entry["path"] for entry in table.get("app", [])))):
        raise UsageError(f"already listed: {app}")
    if "\n" in apps.as_string():
        apps.add_line(str(app), indent=_indent(apps.as_string()))
    else:
        apps.append(str(app))
    return _with_line_ends_of(text, tomlkit.dumps(document))


def remove_app(text: str, app: App) -> str:
    """Return the file's text without ``app``, from whichever profile; raise NotFoundError."""
    document: Any = tomlkit.parse(text)
    for table in (document, *document.get("profile", {}).values()):
        apps = table.get("apps", [])
        for index, entry in enumerate(apps):
            if parse_app(entry) == app:  # it may be written another way: unit:sshd
                del apps[index]
                return str(tomlkit.dumps(document))
        tables = table.get("app", [])
        for index, entry in enumerate(tables):
            if parse_app(entry["path"]) == app:
                del tables[index]
                return str(tomlkit.dumps(document))
    raise NotFoundError(f"not listed in this file: {app}")


def set_mode(text: str, mode: str) -> str:
    """Return the file's text with ``traffic.mode`` set to ``mode``; raise UsageError.

    A key that is there keeps its place and its comment.
    """
    try:
        document: Any = tomlkit.parse(text)
    except tomlkit.exceptions.ParseError as error:
        raise UsageError(f"not valid TOML: {error} (byway config check)") from None
    traffic = document.get("traffic")
    if traffic is None:
        document["traffic"] = tomlkit.table()
        traffic = document["traffic"]
    elif not hasattr(traffic, "keys"):
        raise UsageError("traffic is not a table in this file (byway config check)")
    traffic["mode"] = mode
    return _with_line_ends_of(text, tomlkit.dumps(document))


def render_runtime_mode(mode: str) -> str:
    """Return the text of the drop-in that sets the mode until the next boot."""
    return f'# Set by byway mode --runtime, until the next boot.\n[traffic]\nmode = "{mode}"\n'


def refuse_other_mode(files: tuple[ConfigFile, ...], mode: str) -> None:
    """Refuse files that are not valid, or of which another one sets the mode."""
    found = parse_config(files).traffic.mode
    if found != mode:
        last = next((f.name for f in reversed(files) if f'"{found}"' in f.text), "a drop-in")
        raise UsageError(f'{last} sets the mode to "{found}" (change it there)')


def _with_line_ends_of(before: str, after: str) -> str:
    """Give the lines tomlkit made the file's own ends, where these are CRLF throughout."""
    if before.count("\r\n") == before.count("\n") > 0:
        return after.replace("\r\n", "\n").replace("\n", "\r\n")
    return after


def _indent(array: str) -> str:
    lines = array.splitlines()[1:]
    first = next((line for line in lines if line.strip() and line.strip() != "]"), "    ")
    return first[: len(first) - len(first.lstrip())]
