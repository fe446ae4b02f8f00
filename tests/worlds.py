"""Machines to test with: as values, and as Hypothesis strategies."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from byway_systemd.core.apps import parse_app
from byway_systemd.core.config import Config, Profile, WhenDown
from byway_systemd.core.desired import TABLES, Desired, desire
from byway_systemd.core.network import Family, Link, Route, RouteKind, RoutingRule, Tunnel
from byway_systemd.core.observed import Executable, Group, Observed, Process, Service, UserManager
from byway_systemd.core.traffic import Mode, Overrides, Traffic, Users, WhenVpnDown

LO = Link(1, "lo", loopback=True, addresses=("127.0.0.1/8", "::1/128"))
WLAN = Link(2, "wlan0", addresses=("192.168.1.10/24", "2001:db8:1::10/64"))
WWAN = Link(3, "wwan0", addresses=("10.64.0.2/24", "2001:db8:2::2/64"))
TUNNEL = Link(4, "wg0", kind="wireguard", point_to_point=True, addresses=("10.99.0.2/32",))

MAIN = (
    Route(Family.IPV4, 254, "0.0.0.0/0", gateway="192.168.1.1", link=2, metric=600, protocol=16),
    Route(Family.IPV4, 254, "0.0.0.0/0", gateway="10.64.0.1", link=3, metric=700, protocol=16),
    Route(Family.IPV4, 254, "192.168.1.0/24", link=2, source="192.168.1.10", scope=253),
    Route(Family.IPV4, 254, "10.64.0.0/24", link=3, source="10.64.0.2", scope=253),
    Route(Family.IPV6, 254, "::/0", gateway="2001:db8:2::1", link=3, metric=1024, protocol=9),
    Route(Family.IPV6, 254, "fe80::/64", link=2, metric=256),
    Route(Family.IPV6, 254, "fe80::/64", link=3, metric=256),
)
STANDARD_RULES = tuple(
    RoutingRule(family, preference, table)
    for family in Family
    for preference, table in ((0, 255), (32766, 254))
)
ALICE = "/user.slice/user-1000.slice/user@1000.service"
CURL = Executable(parse_app("/usr/bin/curl"), "default", "/usr/bin/curl", "/usr/bin/curl", 8, 42)


def laptop() -> Observed:
    """Two uplinks and a tunnel; curl is listed and runs."""
    return Observed(
        links=(LO, WLAN, WWAN, TUNNEL),
        routes=MAIN,
        rules=STANDARD_RULES,
        sysctls=tuple((f"net/ipv4/conf/{n}/src_valid_mark", "0") for n in ("wlan0", "wwan0")),
        executables=(CURL,),
        processes=(Process(100, 5, "/usr/bin/curl", 8, 42, "/user.slice/session-1.scope"),),
    )


def configured(**changes: object) -> Desired:
    """The direct link is wwan0, and curl is listed."""
    profile = Profile(interface="wwan0", apps=(CURL.app,))
    return desire(replace(Config(profiles=(profile,)), **changes))  # type: ignore[arg-type]


def by_wg_quick(preference: int = 11589) -> tuple[RoutingRule, ...]:
    """The two rules wg-quick adds, the way they come to stand."""
    return tuple(
        rule
        for family in Family
        for rule in (
            RoutingRule(family, preference - 1, 254, suppress_prefix_length=0, protocol=3),
            RoutingRule(family, preference, 51820, 51820, 0xFFFFFFFF, inverted=True, protocol=3),
        )
    )


_interfaces = st.sampled_from(["wwan0", "wlan0", "auto", "usb0", "wg0"])
_profiles = st.builds(
    Profile,
    name=st.just("default"),
    interface=_interfaces,
    apps=st.sampled_from([(), (CURL.app,)]),
    gateway=st.sampled_from(["auto", "10.64.0.1", "192.0.2.1"]),
    when_down=st.sampled_from(WhenDown),
    dns=st.sampled_from([(), ("direct",), ("9.9.9.9", "2001:db8::53"), ("2001:db8::53",)]),
)
_named = st.builds(
    Profile, name=st.just("lte"), interface=_interfaces, when_down=st.sampled_from(WhenDown)
)
_few = ("172.17.0.0/16", "192.168.1.0/24", "2001:db8:9::/48")
_many = tuple(f"198.51.100.{n}/32" for n in range(0, 200, 2))
_overrides = st.builds(
    Overrides,
    subnets=st.sampled_from([(), _few[:1], _few, _many]),
    uids=st.sampled_from(
        [
            (),
            (Users(1000, 1000),),
            (Users(0, 5), Users(7, 9)),
            tuple(Users(n, n) for n in range(0, 300, 2)),
        ]
    ),
    cgroups=st.sampled_from([(), ("/a.slice",), ("x.service", "/gone.slice"), ("/byway.slice",)]),
    destinations=st.sampled_from([(), ("203.0.113.9/32", "2001:db8:9::/48", "relay.example")]),
)
_traffic = st.just(Traffic()) | st.builds(
    Traffic,
    mode=st.sampled_from(Mode),
    vpn_interface=st.sampled_from(["auto", "wg0", "gone0", "wlan0"]),
    auto_local_bypass=st.booleans(),
    when_vpn_down=st.sampled_from(WhenVpnDown),
    force_direct=_overrides,
    force_vpn=_overrides,
)
configs = st.builds(
    lambda default, named, reconcile, traffic: Config(
        profiles=(default, *named), reconcile=reconcile, traffic=traffic
    ),
    _profiles,
    st.lists(_named, max_size=1),
    st.sampled_from([0, 5_000_000]),
    _traffic,
)
desireds = st.builds(
    lambda config, files, generated, cleared: replace(
        desire(config, files, files, has_generator=generated, runs_units=generated),
        cleared=cleared,
    ),
    configs,
    st.sampled_from([(), (("a.service.d/50-byway.conf", "x"),)]),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
) | st.just(Desired.empty())

_prefixes4 = st.sampled_from(
    ["0.0.0.0/0", "0.0.0.0/1", "10.0.0.0/8", "172.17.0.0/16", "203.0.113.9/32"]
)
_prefixes6 = st.sampled_from(["::/0", "fd00::/8", "2001:db8:9::9/128", "fe80::/64"])


def _routes(family: Family, prefixes: st.SearchStrategy[str]) -> st.SearchStrategy[Route]:
    gateway = "192.0.2.1" if family is Family.IPV4 else "fe80::1"
    return st.builds(
        Route,
        family=st.just(family),
        table=st.sampled_from([254, 52, 51820, TABLES[0], TABLES[1], TABLES[-1]]),
        destination=prefixes,
        kind=st.sampled_from([RouteKind.UNICAST, RouteKind.UNREACHABLE]),
        gateway=st.sampled_from(["", gateway]),
        link=st.sampled_from([2, 3, 4]),
        metric=st.sampled_from([0, 100, 1024]),
    )


routes = st.lists(
    _routes(Family.IPV4, _prefixes4) | _routes(Family.IPV6, _prefixes6),
    max_size=8,
    unique_by=lambda r: r.slot,
).map(tuple)
rules = st.lists(
    st.builds(
        RoutingRule,
        family=st.sampled_from(Family),
        preference=st.sampled_from([0, 100, 5270, 11588, 11589, 11590, 32766]),
        table=st.sampled_from([0, 52, 254, 255, 51820, TABLES[0], TABLES[1]]),
        mark=st.sampled_from([0, 51820, 0x01000000]),
        mask=st.sampled_from([0, 0xFFFFFFFF, 0x3F000000]),
        inverted=st.booleans(),
        protocol=st.sampled_from([2, 3]),
    ),
    max_size=6,
).map(lambda rules: tuple(sorted(rules, key=lambda rule: rule.preference)))
links = st.lists(st.sampled_from([WLAN, WWAN, TUNNEL]), unique=True).map(lambda ls: (LO, *ls))
processes = st.lists(
    st.builds(
        Process,
        pid=st.integers(2, 9),
        start=st.just(7),
        path=st.sampled_from(["/usr/bin/curl", "/usr/bin/curl (deleted)", "/bin/sh"]),
        device=st.sampled_from([8, 9]),
        inode=st.just(42),
        cgroup=st.sampled_from(
            [
                "/a.slice",
                "/byway.slice/x.scope",
                "/byway.slice/byway-lte.slice",
                f"{ALICE}/app.slice/app-x-1.scope",
                f"{ALICE}/byway.slice/byway-apps.service/default/moved-1",
                f"{ALICE}/byway.slice/byway-apps.service/-/rest",
                "/user.slice/user-1000.slice/session-1.scope",
            ]
        ),
        origin=st.sampled_from(
            ["", "/user.slice/a.scope", f"{ALICE}/app.slice", "/user.slice/gone.scope"]
        ),
        uid=st.sampled_from([-1, 0, 1000]),
        app=st.sampled_from(["/usr/bin/curl", "/usr/bin/old"]),
        in_host_namespace=st.booleans(),
    ),
    max_size=4,
    unique_by=lambda p: p.pid,
).map(
    lambda ps: tuple(
        p if "/byway.slice/" in p.cgroup else replace(p, origin="", app="") for p in ps
    )
)
observeds = st.builds(
    Observed,
    links=links,
    routes=routes,
    rules=rules,
    sysctls=st.sampled_from(
        [
            (),
            (
                *((f"net/ipv4/conf/wwan0/{s}", "0") for s in ("route_localnet", "src_valid_mark")),
                ("net/ipv6/conf/wwan0/router_probe_interval", "60"),
            ),
        ]
    ),
    link_dns=st.sampled_from([(), ((3, "10.64.0.1"), (2, "192.168.1.1"))]),
    saved_sysctls=st.just(()),
    cgroup_ids=st.sampled_from(
        [
            (),
            (("/byway.slice", 77),),
            (("/byway.slice", 77), ("/a.slice/c.scope", 78), ("/byway.slice/x.service", 79)),
            (("/byway.slice", 77), (f"{ALICE}/byway.slice", 80)),
            (("/byway.slice", 77), ("/a.slice", 81), ("/system.slice/x.service", 82)),
        ]
    ),
    markers=st.sampled_from([(), (("/byway.slice", 0x01000000),), (("/byway.slice", 5),)]),
    marker_fault=st.just(""),
    pins=st.sampled_from([None, (), (("default", 0x01000000), ("gone", 5)), (("default", 5),)]),
    unit_files=st.just(()),
    executables=st.sampled_from([(), (CURL,)]),
    processes=processes,
    groups=st.sampled_from([(), (Group("/a.slice/c.scope", "default", "/usr/bin/curl"),)]),
    services=st.sampled_from(
        [(), (Service("x.service", "/byway.slice/x.service", "system.slice"),)]
    ),
    user_managers=st.sampled_from(
        [
            (),
            (UserManager(1000, ALICE),),
            (UserManager(1000, ALICE, holds=True),),
            (UserManager(1000, ALICE, holds=True, state="deactivating"),),
        ]
    ),
    cut_over=st.sampled_from(
        [(), (("/byway.slice", "default"),), (("/byway.slice", "lte"), ("/gone", "default"))]
    ),
    active_units=st.sampled_from([(), ("byway-reconcile.timer",), ("byway-holder@7.service",)]),
    failed_units=st.sampled_from([(), ("byway-holder@1000.service",)]),
    tunnels=st.sampled_from(
        [(), (Tunnel(4, 51820, ("203.0.113.9/32",)),), (Tunnel(4, 0, ("2001:db8:9::9/128",)),)]
    ),
    named_cgroups=st.sampled_from([(), (("x.service", "/system.slice/x.service"),)]),
    host_addresses=st.sampled_from([(), (("relay.example", "192.0.2.9/32"),)]),
    empty_scopes=st.sampled_from([(), ("byway-curl-1-2.scope",)]),
    empty_homes=st.sampled_from([(), (f"{ALICE}/byway.slice/byway-apps.service/lte/moved-1",)]),
)
