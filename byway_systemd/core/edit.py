"""Editing the configuration in place: comments, order and layout stay (tomlkit)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tomlkit
import tomlkit.exceptions
import tomlkit.items

from byway_systemd.core.apps import App, parse_app
from byway_systemd.core.config import DEFAULT_PROFILE
from byway_systemd.core.errors import NotFoundError, UsageError
from byway_systemd.core.parse import parse_config
from byway_systemd.core.traffic import split_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.core.parse import ConfigFile

    Plain = str | bool | None  # a value, or none


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
    return set_value(text, ("traffic", "mode"), mode)


def set_value(text: str, path: tuple[str, ...], value: Plain) -> str:
    """Return the file's text with the key at ``path`` set to ``value``; None takes it out.

    A key that is there keeps its place and its comment. Raises UsageError.
    """
    try:
        document: Any = tomlkit.parse(text)
    except tomlkit.exceptions.ParseError as error:
        raise UsageError(f"not valid TOML: {error} (byway config check)") from None
    table = _open_table(document, path[:-1], make=value is not None)
    if value is not None:
        table[path[-1]] = value
    elif table is not None and path[-1] in table:
        del table[path[-1]]
    else:
        return text
    return _with_line_ends_of(text, tomlkit.dumps(document))


def _open_table(document: Any, path: tuple[str, ...], *, make: bool) -> Any:
    """Return the table at ``path``; where it is not there it is made, or None returned."""
    table = document
    for key in path:
        if key not in table:
            if not make:
                return None
            table[key] = tomlkit.table()
        table = table[key]
        if not hasattr(table, "keys"):
            raise UsageError(f"{key} is not a table in this file (byway config check)")
    return table


def set_override(
    text: str, field: tuple[str, str], values: tuple[Any, ...], read: Callable[[object], Any]
) -> str:
    """Return the file's text with ``values`` in a list of overrides, such as force_vpn.uids.

    What is in the list already stays as it is written. The text must be a valid configuration.
    """
    document: Any = tomlkit.parse(text)
    if not values and field[1] not in document.get("traffic", {}).get(field[0], {}):
        return text
    listed, wanted = _open_override(document, *field), frozenset(values)
    for index in reversed(range(len(listed))):
        if read(listed[index]) not in wanted:
            del listed[index]
    there = {read(element) for element in listed}
    for value in map(str, (value for value in values if value not in there)):
        if "\n" in listed.as_string():
            listed.add_line(value, indent=_indent(listed.as_string()))
        else:
            listed.append(value)
    return _with_line_ends_of(text, tomlkit.dumps(document))


def _open_override(document: Any, side: str, name: str) -> Any:
    """Return a list of overrides, made where it is not there; each element of it is one value."""
    table = document
    for key in ("traffic", side):
        if key not in table:
            inline = isinstance(table, tomlkit.items.InlineTable)
            plain = tomlkit.table(is_super_table=key == "traffic")
            table[key] = tomlkit.inline_table() if inline else plain
        table = table[key]
    listed = table.get(name)
    if not isinstance(listed, list) or any(_holds_several(element) for element in listed):
        table[name] = tomlkit.array()  # one text of several values cannot lose one of them
    return table[name]


def _holds_several(element: object) -> bool:
    return isinstance(element, str) and split_values(element) != [element.strip()]


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
