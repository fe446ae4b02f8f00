"""The overrides as one value: what goes its own way, by side and field, wherever it is listed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from byway_systemd.core.config import SETTINGS, Setting
from byway_systemd.core.edit import set_override
from byway_systemd.core.errors import UsageError
from byway_systemd.core.parse import parse_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from byway_systemd.core.parse import ConfigFile
    from byway_systemd.core.traffic import Traffic

    Field = tuple[str, str]  # a side and a name, such as force_direct and subnets
    Values = Mapping[Field, tuple[Any, ...]]  # as the field's setting reads them

# The bypassed destinations are not among them: they have a list of their own.
FIELDS: dict[Field, Setting] = {
    (parts[1], parts[2]): setting
    for setting in SETTINGS
    if len(parts := setting.key.split(".")) == 3 and parts[0] == "traffic"
}


def present_overrides(traffic: Traffic) -> dict[str, dict[str, list[str]]]:
    """Return the overrides as a JSON value, by side and field."""
    found: dict[str, dict[str, list[str]]] = {}
    for (side, name), values in _values_of(traffic).items():
        found.setdefault(side, {})[name] = [str(value) for value in values]
    return found


def replace_overrides(files: tuple[ConfigFile, ...], wanted: Values) -> str:
    """Return the text of the first file, the main one, so that all files together list ``wanted``.

    Fields that are not in ``wanted`` stay. Raises ConfigError when the files are not valid, and
    UsageError when another file lists what is not wanted.
    """
    parse_config(files)
    text, others = files[0].text, files[1:]
    elsewhere = _values_of(parse_config(others).traffic)
    for field, values in wanted.items():
        there = frozenset(elsewhere[field])
        if unwanted := there - frozenset(values):
            _refuse_elsewhere(others, field, min(unwanted))
        own = tuple(value for value in values if value not in there)
        text = set_override(text, field, own, FIELDS[field].read)
    found = _values_of(parse_config((replace(files[0], text=text), *others)).traffic)
    if any(set(found[field]) != set(values) for field, values in wanted.items()):
        raise UsageError(f"{files[0].name}: cannot be edited (write its traffic tables plainly)")
    return text


def _refuse_elsewhere(others: tuple[ConfigFile, ...], field: Field, value: Any) -> None:
    place = next(f.name for f in others if value in _values_of(parse_config((f,)).traffic)[field])
    key = ".".join(field)
    raise UsageError(f"{key}: {str(value)!r} is listed in {place} (change it there)")


def _values_of(traffic: Traffic) -> dict[Field, tuple[Any, ...]]:
    sides = dict(traffic.sides)
    return {(side, name): getattr(sides[side], name) for side, name in FIELDS}
