"""The settings that have one value: which links there are to be, and what becomes of the VPN's."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from byway_systemd.core.config import SETTINGS, Config, Setting
from byway_systemd.core.edit import set_value
from byway_systemd.core.errors import ConfigError, Problem, UsageError
from byway_systemd.core.parse import locate_setting, parse_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from byway_systemd.core.parse import ConfigFile

_KEYS = (
    "interface", "traffic.vpn_interface", "traffic.auto_local_bypass", "traffic.when_vpn_down",
)  # fmt: skip
# By the last part of their keys, in this order.
FIELDS: dict[str, Setting] = {
    key.rpartition(".")[2]: next(setting for setting in SETTINGS if setting.key == key)
    for key in _KEYS
}


def present_settings(config: Config) -> dict[str, Any]:
    """Return the settings as a JSON value, by name."""
    default = config.profiles[0]
    values = {"interface": default.interface} | {
        name: getattr(config.traffic, name) for name in FIELDS if name != "interface"
    }
    return {name: _plain(values[name]) for name in FIELDS}


def change_settings(files: tuple[ConfigFile, ...], wanted: Mapping[str, Any]) -> str:
    """Return the text of the first file, the main one, so that all files together say ``wanted``.

    ``wanted`` has values as their settings read them, by name; None is the default. Raises
    ConfigError when the files are not valid, or another file says something else that counts more.
    """
    parse_config(files)
    text = files[0].text
    for name, value in wanted.items():
        text = set_value(text, tuple(FIELDS[name].key.split(".")), _plain(value))
    changed = (replace(files[0], text=text), *files[1:])
    found, defaults = present_settings(parse_config(changed)), present_settings(Config())
    others = [
        name
        for name, value in wanted.items()
        if found[name] != (defaults[name] if value is None else _plain(value))
    ]
    if others:
        raise ConfigError(tuple(_say_where(changed, name, found[name]) for name in others))
    return text


def _say_where(files: tuple[ConfigFile, ...], name: str, value: Any) -> Problem:
    shown = str(value).lower() if isinstance(value, bool) else f'"{value}"'
    file, line = locate_setting(files, FIELDS[name].key)
    if file is files[0]:
        raise UsageError(f"{file.name}: cannot be edited (write its traffic table plainly)")
    return Problem(file.name, line, name, f"set to {shown} here, which counts", "change it there")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, StrEnum) else value
