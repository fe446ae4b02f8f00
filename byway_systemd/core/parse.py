"""Configuration files to Config: read every file, report every problem at once.

Files come in the order they apply: the main file, then the drop-ins sorted by name. A later
file's value replaces an earlier one's; lists append.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import tomli

from byway_systemd.core.apps import App, RefusedError
from byway_systemd.core.config import (
    DEFAULT_PROFILE,
    MOST_PROFILES,
    SETTINGS,
    Config,
    Profile,
    Setting,
    parse_profile_name,
)
from byway_systemd.core.errors import ConfigError, Problem
from byway_systemd.core.locate import Path, locate_line
from byway_systemd.core.traffic import Traffic, split_values

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_FILE = 64 * 1024
LARGEST_LIST = 8 * 1024 * 1024  # of destinations, a line each
LARGEST_CACHE = 8 * 1024 * 1024  # of cleared routes
MOST_DESTINATIONS = 200_000
MOST_HOSTS = 256  # each is asked for again and again
_MOST_DOTS = 16  # tomli takes seconds for a key with thousands of dots
_BY_KEY = {tuple(setting.key.split(".")): setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file: its name as people know it and its text.

    A list is not TOML, but the destinations of ``traffic.bypass``, a line each.
    """

    name: str
    text: str
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted value: where it stands, under which setting, and what it is."""

    file: ConfigFile
    path: Path
    setting: Setting
    profile: str
    value: Any


# A second for a list of 100,000 destinations, and what is put in force has been looked at before.
@lru_cache(maxsize=2)
def parse_config(files: tuple[ConfigFile, ...]) -> Config:
    """Return the configuration of ``files``; raise ConfigError with every problem found."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    for file in files:
        _read_file(file, entries, problems)
    _refuse_duplicates(entries, problems)
    _refuse_both_sides(entries, problems)
    if len({entry.profile for entry in entries}) > MOST_PROFILES:
        problems.append(
            Problem(files[-1].name, 0, "profile", "too many profiles", f"at most {MOST_PROFILES}")
        )
    if problems:
        raise ConfigError(tuple(problems))
    config = _build(entries)
    if len(config.traffic.host_names) > MOST_HOSTS:
        remedy = f"at most {MOST_HOSTS}; write prefixes"
        problem = Problem(files[-1].name, 0, "traffic.bypass", "too many names of hosts", remedy)
        raise ConfigError((problem,))
    _check_room_for_marks(config, files)
    return config


def locate_setting(files: tuple[ConfigFile, ...], key: str) -> tuple[ConfigFile, int]:
    """Return the file and the line where the value of ``key`` stands that counts.

    The first file and 0 where it stands nowhere. The files must be valid.
    """
    last = next((e for e in reversed(read_entries(files)) if e.setting.key == key), None)
    return (last.file, locate_line(last.file.text, last.path)) if last else (files[0], 0)


def read_entries(files: tuple[ConfigFile, ...]) -> list[Entry]:
    """Return what ``files``, which must be valid, have accepted, in their order; not of lists."""
    entries: list[Entry] = []
    for file in files:
        if not file.is_list:  # 200,000 destinations, none of which is asked for
            _read_file(file, entries, [])
    return entries


def problem_at(entry: Entry, message: str, remedy: str) -> Problem:
    """Return a problem that names the place of ``entry``."""
    return _problem(entry.file, entry.path, message, remedy)


def _read_file(file: ConfigFile, entries: list[Entry], problems: list[Problem]) -> None:
    if file.is_list:
        _read_list(file, entries, problems)
        return
    try:
        table = _load(file)
    except ConfigError as error:
        problems.extend(error.problems)
        return
    _read_table(file, table, (), entries, problems)


def _read_list(file: ConfigFile, entries: list[Entry], problems: list[Problem]) -> None:
    """Read destinations, a line each; what follows a ``#`` is a comment."""
    setting = _BY_KEY[("traffic", "bypass")]
    lines = file.text.split("\n") if len(file.text) <= LARGEST_LIST else []
    if len(file.text) > LARGEST_LIST or len(lines) > MOST_DESTINATIONS:
        message = f"more than 8 MiB or {MOST_DESTINATIONS} lines"
        problems.append(Problem(file.name, 0, "", message, "remove some"))
        return
    for number, line in enumerate(lines, 1):
        if text := line.partition("#")[0].strip():
            try:
                value = setting.read(text)
            except RefusedError as error:
                problems.append(_problem(file, (number,), str(error), error.remedy))
            else:
                entries.append(Entry(file, (number,), setting, DEFAULT_PROFILE, value))


def _load(file: ConfigFile) -> dict[str, Any]:
    if len(file.text) > LARGEST_FILE:
        raise ConfigError(
            (Problem(file.name, 0, "", "larger than 64 KiB", "split it or remove entries"),)
        )
    for number, line in enumerate(file.text.split("\n"), 1):
        if line.partition("=")[0].count(".") > _MOST_DOTS and line.lstrip()[:1] not in "\"'#/":
            raise ConfigError(
                (Problem(file.name, number, "", "a key with too many dots", "correct the key"),)
            )
    try:
        return tomli.loads(file.text)
    except tomli.TOMLDecodeError as error:
        message = f"not valid TOML: {error.msg}, column {error.colno}"
        problem = Problem(file.name, error.lineno, "", message, "correct the line")
    except (RecursionError, ValueError) as error:
        problem = Problem(file.name, 0, "", f"not valid TOML: {error}", "correct the file")
    raise ConfigError((problem,))


def _read_table(
    file: ConfigFile,
    table: dict[str, Any],
    above: tuple[str, ...],
    entries: list[Entry],
    problems: list[Problem],
) -> None:
    for key, value in table.items():
        path = (*above, key)
        pattern = _pattern(path)
        try:
            if len(path) == 2 and path[0] == "profile":
                parse_profile_name(key)
            if setting := _BY_KEY.get(pattern):
                _read_value(Entry(file, path, setting, _profile(path), value), entries, problems)
            elif not any(known[: len(pattern)] == pattern for known in _BY_KEY):
                problems.append(_unknown(file, path))
            elif isinstance(value, dict):
                _read_table(file, value, path, entries, problems)
            else:
                name = ".".join(path)
                raise RefusedError(f"not a table: {value!r}", f"write [{name}] above its keys")
        except RefusedError as error:
            problems.append(_problem(file, path, str(error), error.remedy))


def _profile(path: tuple[str, ...]) -> str:
    return path[1] if path[0] == "profile" else DEFAULT_PROFILE


def _pattern(path: tuple[str, ...]) -> tuple[str, ...]:
    if len(path) > 1 and path[0] == "profile":
        return ("profile", "*", *path[2:])
    return path


def _read_value(raw: Entry, entries: list[Entry], problems: list[Problem]) -> None:
    """Read the value of a setting, every element of a list by itself."""
    if not raw.setting.is_list:
        entries.append(replace(raw, value=raw.setting.read(raw.value)))
        return
    for place, element in _elements(raw):
        try:
            entries.append(replace(raw, path=place, value=raw.setting.read(element)))
        except RefusedError as error:
            inner = (*place, *error.within)
            problems.append(_problem(raw.file, inner, str(error), error.remedy))


def _elements(raw: Entry) -> Iterator[tuple[Path, object]]:
    """Yield the elements of a list, and where each stands; a text may hold several."""
    if raw.setting.splits and isinstance(raw.value, str):
        for part in split_values(raw.value):
            yield raw.path, part
        return
    if not isinstance(raw.value, list):
        tables = "write [[app]] above its keys, or apps = [...]"
        remedy = tables if raw.path[-1] == "app" else f'write {raw.path[-1]} = ["...", "..."]'
        raise RefusedError(f"not a list: {raw.value!r}", remedy)
    for index, element in enumerate(raw.value):
        several = raw.setting.splits and isinstance(element, str)
        for part in (several and split_values(element)) or [element]:
            yield (*raw.path, index), part


def _unknown(file: ConfigFile, path: tuple[str, ...]) -> Problem:
    wanted = ".".join(_pattern(path))
    depth = len(path)
    known = sorted({".".join(key[:depth]) for key in _BY_KEY} | {s.key for s in SETTINGS})
    near = get_close_matches(wanted, known, n=1, cutoff=0.5)
    if near:
        name = near[0].replace("*", path[1]) if "*" in near[0] and depth > 1 else near[0]
        remedy = f"did you mean {name}?"
    else:
        remedy = "remove it; byway.toml(5) lists the known keys"
    return _problem(file, path, "unknown key", remedy)


def _refuse_duplicates(entries: list[Entry], problems: list[Problem]) -> None:
    seen: dict[App, Entry] = {}
    for entry in entries:
        if not isinstance(entry.value, App):
            continue
        first = seen.setdefault(entry.value, entry)
        if first is not entry:
            where = f"{first.file.name}, {_render_path(first.path)}"
            problems.append(problem_at(entry, f"listed twice: {entry.value}", f"it is in {where}"))


def _refuse_both_sides(entries: list[Entry], problems: list[Problem]) -> None:
    """One value cannot be forced both to the direct link and to the VPN."""
    seen: dict[tuple[str, Any], Entry] = {}
    for entry in entries:
        place = _override(entry.setting.key)
        if place is None:
            continue
        side, field = place
        first = seen.setdefault((field, entry.value), entry)
        other = _override(first.setting.key)
        if other is not None and other[0] != side:
            where = f"{first.file.name}, {_render_path(first.path)}"
            message = f"forced both ways: {str(entry.value)!r}"
            problems.append(problem_at(entry, message, f"it is in {where}: remove one of them"))


@lru_cache(maxsize=64)  # asked for each of 100,000 destinations
def _override(key: str) -> tuple[str, str] | None:
    """Return the side and the field of a setting that lists overrides, None for any other."""
    if key == "traffic.bypass":
        return "force_direct", "destinations"
    table, side, *field = (*key.split("."), "")
    return (side, field[0]) if table == "traffic" and len(field) > 1 else None


def _build_traffic(entries: list[Entry]) -> Traffic:
    plain: dict[str, Any] = {}
    listed: dict[tuple[str, str], dict[Any, None]] = {}
    for entry in entries:
        if place := _override(entry.setting.key):
            listed.setdefault(place, {})[entry.value] = None
        elif entry.setting.key.startswith("traffic."):
            plain[entry.setting.key.removeprefix("traffic.")] = entry.value
    sides: dict[str, Any] = {
        name: replace(
            overrides, **{field: tuple(v) for (side, field), v in listed.items() if side == name}
        )
        for name, overrides in Traffic().sides
    }
    return Traffic(**plain, **sides)


def _build(entries: list[Entry]) -> Config:
    plain: dict[str, Any] = {"traffic": _build_traffic(entries)}
    profiles: dict[str, dict[str, Any]] = {DEFAULT_PROFILE: {}}
    for entry in entries:
        if entry.setting.key.startswith("traffic."):
            continue
        section, _, key = entry.setting.key.rpartition(".")
        if section in ("kernel", "placement") or key == "reconcile":
            plain[key] = entry.value
        elif entry.setting.is_list:  # apps, and the tables of app
            profile = profiles.setdefault(entry.profile, {})
            profile["apps"] = (*profile.get("apps", ()), entry.value)
        else:
            profiles.setdefault(entry.profile, {})[key] = entry.value
    values = tuple(Profile(name=name, **fields) for name, fields in profiles.items())
    return Config(profiles=values, **plain)


def _check_room_for_marks(config: Config, files: tuple[ConfigFile, ...]) -> None:
    needed = len(config.profiles) + 2  # 0 is "no verdict", 2 is the VPN's
    if config.mark_mask.bit_count() < needed.bit_length():
        problem = Problem(
            files[-1].name if files else "byway.toml",
            0,
            "kernel.mark_mask",
            f"too few bits for {len(config.profiles)} profiles",
            "use more bits or fewer profiles",
        )
        raise ConfigError((problem,))


def _problem(file: ConfigFile, path: Path, message: str, remedy: str) -> Problem:
    if file.is_list:
        return Problem(file.name, int(path[0]), "", message, remedy)
    return Problem(file.name, locate_line(file.text, path), _render_path(path), message, remedy)


def _render_path(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{_render_key(part)}"
    return text.removeprefix(".")


def _render_key(key: str) -> str:
    return key if key.replace("_", "a").replace("-", "a").isalnum() else repr(key)
