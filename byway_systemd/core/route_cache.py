"""Cleared routes: what byway had routed, kept in a file while it is out of the kernel.

The file being there is what says that the routes are cleared; it lasts until they are restored, or
until the next boot, like the mode that is set for one boot. Its content is checked before anything
is put back. What is put back is what the plan makes of the network as it is then: the saved routes
name links and routers that may have gone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from byway_systemd.core.apps import RefusedError
from byway_systemd.core.describe import describe_route, describe_rule
from byway_systemd.core.desired import TABLES
from byway_systemd.core.network import Family, Route, RouteKind, RoutingRule
from byway_systemd.core.parse import LARGEST_CACHE
from byway_systemd.core.rules import is_own_rule

if TYPE_CHECKING:
    from byway_systemd.core.observed import Observed

_FORMAT = "byway routes"
_VERSION = 1
_REMEDY = "remove it: byway then makes the routes anew, from its configuration"


@dataclass(frozen=True, slots=True)
class RouteCache:
    """What byway had in the kernel: its routes and its routing rules."""

    routes: tuple[Route, ...] = ()
    rules: tuple[RoutingRule, ...] = ()


def find_route_cache(observed: Observed) -> RouteCache:
    """Return what there is of byway's own."""
    return RouteCache(
        tuple(route for route in observed.routes if route.table in TABLES),
        tuple(rule for rule in observed.rules if is_own_rule(rule)),
    )


def render_route_cache(cache: RouteCache) -> str:
    """Return the file's text: JSON with a format, its version, a checksum and the content."""
    content = {
        "routes": [asdict(route) for route in cache.routes],
        "rules": [asdict(rule) for rule in cache.rules],
    }
    head = {"format": _FORMAT, "version": _VERSION, "checksum": _digest(content)}
    return json.dumps(head | content, indent=1) + "\n"


def parse_route_cache(text: str) -> RouteCache:
    """Return what a file's text holds; raise RefusedError on what byway has not written so."""
    if len(text) > LARGEST_CACHE:
        raise RefusedError(f"more than {LARGEST_CACHE} bytes", _REMEDY)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedError("damaged: it is not JSON", _REMEDY) from None
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise RefusedError("foreign: it is not a cache of byway's routes", _REMEDY)
    if value.get("version") != _VERSION:
        raise RefusedError(f"of another version: {value.get('version')!r:.20}", _REMEDY)
    content = {name: value.get(name) for name in ("routes", "rules")}
    if value.get("checksum") != _digest(content):
        raise RefusedError("damaged: its checksum does not fit", _REMEDY)
    try:
        cache = RouteCache(
            tuple(_read_route(one) for one in value["routes"]),
            tuple(_read_rule(one) for one in value["rules"]),
        )
    except (TypeError, ValueError, KeyError):
        raise RefusedError("foreign: it holds no routes and rules", _REMEDY) from None
    if any(route.table not in TABLES for route in cache.routes) or not all(
        is_own_rule(rule) for rule in cache.rules
    ):
        raise RefusedError("foreign: it holds what is not byway's own", _REMEDY)
    return cache


def describe_missing(cache: RouteCache, observed: Observed) -> tuple[str, ...]:
    """Return, a line each, what was saved and is not there: the network has changed meanwhile."""
    # Where a foreign rule has come or gone, the same rule stands at another preference.
    there = {replace(rule, preference=0) for rule in observed.rules}
    return (
        *(describe_route(route) for route in cache.routes if route not in observed.routes),
        *(describe_rule(rule) for rule in cache.rules if replace(rule, preference=0) not in there),
    )


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _read_route(value: dict[str, Any]) -> Route:
    values = _check_types(value, Route)
    kinds = {"family": Family(value["family"]), "kind": RouteKind(value["kind"])}
    return Route(**(values | kinds))


def _read_rule(value: dict[str, Any]) -> RoutingRule:
    return RoutingRule(**(_check_types(value, RoutingRule) | {"family": Family(value["family"])}))


def _check_types(value: dict[str, Any], kind: type[Route | RoutingRule]) -> dict[str, Any]:
    """Return the fields; raise TypeError when one is missing, unknown or of another type."""
    types = {"str": str, "RouteKind": str, "bool": bool}
    for field in fields(kind):
        if type(value[field.name]) is not types.get(str(field.type), int):
            raise TypeError(field.name)
    return value
