"""Operations in words: one line each, with a name and an object."""

from __future__ import annotations

import json
import typing

import pytest
from worlds import laptop

from byway_systemd.core import operations as op
from byway_systemd.core.describe import (
    describe_operation,
    describe_route,
    describe_rule,
    link_name,
    operation_name,
    present_operation,
)
from byway_systemd.core.network import Family, Route, RouteKind, RoutingRule
from byway_systemd.core.nftables import NftTable, SetKind

V4, V6 = Family
ROUTE = Route(V4, 11590, "0.0.0.0/0", gateway="10.0.0.1", link=3)
RULE = RoutingRule(V4, 11590, 11590, 0x1000000, 0x3F000000)
VERDICT = op.SocketVerdict(1, 3, reset=True)
CASES = [
    (op.WriteUnitFile("a.d/x", "text", "w"), "write unit file a.d/x"),
    (op.RemoveUnitFile("a.d/x", "w"), "remove unit file a.d/x"),
    (op.ReloadManager("w"), "reload manager"),
    (op.ReloadUserManager(7, "x", "w"), "reload user manager of user 7"),
    (op.StartUnit("byway.slice", "w"), "start unit byway.slice"),
    (op.StopUnit("a.timer", "w"), "stop unit a.timer"),
    (op.WriteSysctl("net/x", "1", True, "w"), "write sysctl net/x = 1"),
    (op.RestoreSysctl("net/x", "0", "w"), "restore sysctl net/x = 0"),
    (op.AddRoute(ROUTE, False, "w"), "add route default via 10.0.0.1 dev #3 table 11590"),
    (op.DeleteRoute(ROUTE, "w"), "delete route default via 10.0.0.1 dev #3 table 11590"),
    (op.AddRule(RULE, "w"), "add rule 11590: fwmark 0x1000000/0x3f000000 lookup 11590"),
    (op.DeleteRule(RULE, "w"), "delete rule 11590: fwmark 0x1000000/0x3f000000 lookup 11590"),
    (op.ReplaceTable(NftTable("byway", (), ()), "w"), "replace table inet byway"),
    (
        op.UpdateSet("byway", "near4", SetKind.IPV4, ("a", "b"), ("c",), "w"),
        "update set near4 +a +b -c",
    ),
    (
        op.UpdateSet("byway", "near4", SetKind.IPV4, tuple("abcde"), (), "w"),
        "update set near4 +a +b +c +d ...",
    ),
    (op.DeleteTable("byway", "w"), "delete table byway"),
    (op.AttachMarker("/byway.slice", 1, 3, "w"), "attach marker /byway.slice"),
    (op.DetachMarker("/byway.slice", 1, "w"), "detach marker /byway.slice"),
    (op.PinMarker("home", 1, 3, "w"), "pin marker home"),
    (op.UnpinMarker("home", "w"), "unpin marker home"),
    (op.CutOver("/byway.slice", "lte", (), VERDICT, "w"), "cut over /byway.slice to lte"),
    (op.CutOver("/byway.slice/a", "-", (), VERDICT, "w"), "cut over /byway.slice/a to the VPN"),
    (op.CutOver("/a", "", (), VERDICT, "w"), "cut over /a to nobody"),
    (
        op.PlaceProcess(5, 1, "curl", "/usr/bin/curl", "byway.slice", "/o", VERDICT, "w"),
        "place process 5 (curl) into byway.slice",
    ),
    (
        op.PlaceProcess(
            5,
            1,
            "curl",
            "/usr/bin/curl",
            "byway.slice",
            "/o",
            VERDICT,
            "w",
            "/user.slice/user-7.slice/user@7.service/byway.slice/byway-apps.service/default",
        ),
        "place process 5 (curl) into byway.slice of user 7",
    ),
    (op.RemoveCgroup("/a", "w"), "remove cgroup /a"),
    (op.ReturnProcess(5, 1, "/o", VERDICT, "w"), "return process 5 to /o"),
]


@pytest.mark.parametrize(("operation", "text"), CASES)
def test_describe(operation: op.Operation, text: str) -> None:
    assert describe_operation(operation) == text
    shown = present_operation(operation)
    assert shown["because"] == "w"
    assert f"{shown['operation'].replace('-', ' ')} {shown['object']}".strip() == text
    assert json.loads(json.dumps(shown)) == shown


def test_every_operation_is_described() -> None:
    assert {type(operation) for operation, _ in CASES} == set(typing.get_args(op.Operation))
    assert operation_name(op.ReloadManager("w")) == "reload-manager"


@pytest.mark.parametrize(
    ("route", "text"),
    [
        (Route(V6, 7, "::/0", link=2), "default (IPv6) dev #2 table 7"),
        (Route(V4, 7, "10.0.0.0/8", link=2), "10.0.0.0/8 dev #2 table 7"),
        (Route(V4, 7, "0.0.0.0/0", RouteKind.UNREACHABLE), "unreachable default table 7"),
    ],
)
def test_describe_route(route: Route, text: str) -> None:
    assert describe_route(route) == text


def test_describe_rule_of_ipv6_without_a_mark() -> None:
    assert describe_rule(RoutingRule(V6, 5, 254)) == "5: lookup 254 (IPv6)"


def test_link_name() -> None:
    assert (link_name(3, laptop()), link_name(99, laptop())) == ("wwan0", "#99")
