"""Operations and state in words and as JSON values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from byway_systemd.core.network import Family, Route, RoutingRule
from byway_systemd.core.operations import (
    AddRoute,
    AddRule,
    CutOver,
    DeleteRoute,
    DeleteRule,
    Operation,
    PlaceProcess,
    ReloadUserManager,
    ReplaceTable,
    ReturnProcess,
    UpdateSet,
)
from byway_systemd.core.steering import FORCED_VPN, RELEASED
from byway_systemd.core.users import session_uid

if TYPE_CHECKING:
    from byway_systemd.core.observed import Observed


def describe_operation(operation: Operation) -> str:
    """Return what an operation does, in a line."""
    verb = operation_name(operation).replace("-", " ")
    return f"{verb} {_object(operation)}".strip()


def operation_name(operation: Operation) -> str:
    """Return the operation's name: ``add-route`` for AddRoute."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(operation).__name__).lower()


def present_operation(operation: Operation) -> dict[str, str]:
    """Return an operation as a JSON value."""
    return {
        "operation": operation_name(operation),
        "object": _object(operation),
        "because": operation.because,
    }


def _object(operation: Operation) -> str:  # noqa: PLR0911 - one case a kind of operation
    match operation:
        case AddRoute(route=route) | DeleteRoute(route=route):
            return describe_route(route)
        case AddRule(rule=rule) | DeleteRule(rule=rule):
            return describe_rule(rule)
        case ReplaceTable(table=table):
            return f"inet {table.name}"
        case UpdateSet(name=name, add=add, remove=remove):
            changes = [f"+{element}" for element in add] + [f"-{element}" for element in remove]
            return f"{name} {' '.join(changes[:4])}{' ...' if len(changes) > 4 else ''}"
        case CutOver(path=path, profile=profile):
            whom = {"": "nobody", RELEASED: "the VPN", FORCED_VPN: "the VPN"}.get(profile, profile)
            return f"{path} to {whom}"
        case PlaceProcess(pid=pid, name=name, slice=slice_, home=home):
            whose = f" of user {session_uid(home)}" if home else ""
            return f"{pid} ({name}) into {slice_}{whose}"
        case ReturnProcess(pid=pid, origin=origin):
            return f"{pid} to {origin}"
        case _:
            return _plain_object(operation)


def _plain_object(operation: Operation) -> str:
    for attribute in ("path", "name"):
        if value := getattr(operation, attribute, ""):
            return str(value)
    if isinstance(operation, ReloadUserManager):
        return f"of user {operation.uid}"
    if key := getattr(operation, "key", ""):
        return f"{key} = {getattr(operation, 'value', '')}"
    return ""


def describe_route(route: Route) -> str:
    """Return a route much as ip-route(8) shows it, with the link's index."""
    parts = [] if route.kind == "unicast" else [str(route.kind)]
    parts.append("default" if route.is_default else route.destination)
    if route.is_default and route.family is Family.IPV6:
        parts[-1] = "default (IPv6)"
    if route.gateway:
        parts.append(f"via {route.gateway}")
    if route.link:
        parts.append(f"dev #{route.link}")
    return " ".join([*parts, f"table {route.table}"])


def describe_rule(rule: RoutingRule) -> str:
    """Return a routing rule much as ip-rule(8) shows it."""
    selectors = "not " if rule.inverted else ""
    if rule.source:
        selectors += f"from {rule.source} "
    if rule.mask:
        selectors += f"fwmark {rule.mark:#x}/{rule.mask:#x} "
    if rule.first_uid >= 0:
        selectors += f"uidrange {rule.first_uid}-{rule.last_uid} "
    family = " (IPv6)" if rule.family is Family.IPV6 else ""
    suppressed = rule.suppress_prefix_length
    but = f" suppress_prefixlength {suppressed}" if suppressed >= 0 else ""
    return f"{rule.preference}: {selectors}lookup {rule.table}{but}{family}"


def link_name(index: int, observed: Observed) -> str:
    """Return a link's name, or its number when it is not there."""
    return next((link.name for link in observed.links if link.index == index), f"#{index}")


JsonObject = dict[str, Any]
