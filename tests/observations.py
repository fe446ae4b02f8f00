"""Observed as JSON: what differs from the defaults, with apps as they are configured."""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import Enum
from typing import Any

from byway_systemd.core import network, nftables, observed
from byway_systemd.core.apps import App, parse_app
from byway_systemd.core.observed import Observed

_NAMES = {**vars(network), **vars(nftables), **vars(observed), "App": App}


def load_observed(value: dict[str, Any]) -> Observed:
    """Return the Observed that ``value`` describes; raise TypeError on an unknown name."""
    loaded: Observed = _load(Observed, value)
    return loaded


def dump_observed(value: Observed) -> dict[str, Any]:
    """Return ``value`` as JSON values."""
    dumped: dict[str, Any] = _dump(value)
    return dumped


def _load(kind: Any, value: Any) -> Any:
    if kind is App:
        return parse_app(value)
    if dataclasses.is_dataclass(kind):
        kinds = typing.get_type_hints(kind, localns=_NAMES)
        if unknown := value.keys() - kinds.keys():
            raise TypeError(f"{kind.__name__} has no {sorted(unknown)}")
        return kind(**{name: _load(kinds[name], part) for name, part in value.items()})
    if isinstance(kind, types.UnionType):
        kinds = [option for option in typing.get_args(kind) if option is not type(None)]
        return None if value is None else _load(kinds[0], value)
    if typing.get_origin(kind) is tuple:
        return _load_tuple(typing.get_args(kind), value)
    return kind(value) if isinstance(kind, type) and issubclass(kind, Enum) else value


def _load_tuple(kinds: tuple[Any, ...], value: list[Any]) -> tuple[Any, ...]:
    if kinds[-1] is ...:
        return tuple(_load(kinds[0], part) for part in value)
    return tuple(_load(kind, part) for kind, part in zip(kinds, value, strict=True))


def _dump(value: Any) -> Any:
    if isinstance(value, App):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {
            field.name: _dump(getattr(value, field.name))
            for field in fields
            if getattr(value, field.name) != field.default
        }
    if isinstance(value, Enum):
        return value.value
    return [_dump(part) for part in value] if isinstance(value, tuple) else value
