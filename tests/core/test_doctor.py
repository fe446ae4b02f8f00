"""Every check of the doctor: a world in which it finds something, and one in which it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fake_system import FakeSystem
from hypothesis import given
from worlds import CURL, MAIN, TUNNEL, WWAN, by_wg_quick, configs, configured, laptop, observeds

from byway_systemd.core.apps import parse_app
from byway_systemd.core.config import Config, Profile, WhenDown
from byway_systemd.core.desired import desire
from byway_systemd.core.doctor import CHECKS, examine
from byway_systemd.core.findings import Case, Severity, Surroundings, TunnelServer
from byway_systemd.core.foreign_filters import Condition, Ending, Field, FilterChain, FilterRule
from byway_systemd.core.network import Family, Link, Route, RoutingRule
from byway_systemd.core.observed import FileState, Observed
from byway_systemd.core.plan import plan
from byway_systemd.core.traffic import Mode, Overrides, Traffic, Users, WhenVpnDown
from byway_systemd.reconcile import reconcile

if TYPE_CHECKING:
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.findings import Finding

DROP = FilterRule((), Ending.DROP)
KILL_SWITCH = FilterChain("inet", "ks", "out", "output", drops=True)
SERVER = TunnelServer(5, "openvpn", "203.0.113.7/32", uid=0, cgroup="/system.slice/openvpn.service")
TUN = Link(5, "tun0", kind="tun", addresses=("10.8.0.2/24",))


def settled(desired: Desired, observed: Observed) -> Observed:
    """The world as byway makes it."""
    system = FakeSystem(observed)
    reconcile(system, desired)
    return replace(system.observed, failed_units=())


def well(**changes: Any) -> Case:
    """A machine where all is as configured."""
    desired = configured()
    return replace(Case(desired, settled(desired, laptop()), Surroundings()), **changes)


def with_openvpn(traffic: Traffic, servers: tuple[TunnelServer, ...] = (SERVER,)) -> Case:
    """A machine whose VPN is OpenVPN's."""
    desired = configured(traffic=replace(traffic, vpn_interface="tun0"))
    observed = replace(laptop(), links=(*laptop().links[:3], TUN))
    return Case(desired, settled(desired, observed), Surroundings(servers=servers))


def found(check: str, case: Case) -> list[Finding]:
    (one,) = (one for one in CHECKS if one.name == check)
    return list(one.find(case))


def test_all_is_well() -> None:
    case = well()
    assert [finding for check in CHECKS for finding in check.find(case)] == []
    assert examine(case, is_root=True)["fine"]


def test_what_it_says() -> None:
    said = examine(well(runs=False), is_root=True)
    assert not said["fine"]
    assert [check["check"] for check in said["checks"]] == [check.name for check in CHECKS]
    (finding,) = said["checks"][0]["findings"]
    assert finding.keys() == {"severity", "wrong", "what", "evidence", "remedy"}
    assert finding["severity"] == "warning"


def test_what_needs_root() -> None:
    said = examine(well(remaining=(), runs=False), is_root=False)
    missing = {check["check"] for check in said["checks"] if check["findings"] is None}
    assert missing == {"sync", "placement", "kill-switches", "endpoints"}


@given(configs, observeds)
def test_it_always_ends_and_says_what_to_do(config: Config, observed: Observed) -> None:
    desired = desire(config)
    case = Case(
        desired,
        observed,
        Surroundings((KILL_SWITCH,), (SERVER, replace(SERVER, link=4)), (), ("files", "resolve")),
        plan(desired, observed),
    )
    said = examine(case, is_root=True)
    findings = [finding for check in said["checks"] for finding in check["findings"]]
    assert said["fine"] is not any(finding["wrong"] for finding in findings)
    assert all(finding[key] for finding in findings for key in ("what", "evidence", "remedy"))


def test_service() -> None:
    assert found("service", well()) == []
    (finding,) = found("service", well(runs=False))
    assert "systemctl enable --now byway" in finding.remedy
    assert finding.severity is Severity.WARNING  # as after byway apply
    (finding,) = found("service", well(runs=False, observed=laptop()))
    assert finding.severity is Severity.ERROR
    (finding,) = found("service", well(problems=("byway.toml:1: unknown key",)))
    assert finding.evidence == "byway.toml:1: unknown key"


def test_sync() -> None:
    observed = replace(well().observed, table=None)
    remaining = plan(configured(), observed)
    (finding,) = found("sync", well(remaining=remaining))
    assert "replace table inet byway" in finding.evidence
    assert len(found("sync", well(remaining=remaining, runs=False))) == 1
    bare = well(remaining=remaining, runs=False, observed=laptop())
    assert found("sync", bare) == found("tables", bare) == []


@pytest.mark.parametrize(
    ("profile", "links", "evidence", "remedy"),
    [
        (Profile(interface="usb0"), laptop().links, "there is no such link", "wlan0, wwan0, wg0"),
        (
            Profile(interface="wwan0"),
            (laptop().links[0], replace(WWAN, up=False)),
            "wwan0 is down",
            "ip link set wwan0 up",
        ),
        (Profile(interface="wg0", when_down=WhenDown.VPN), laptop().links, "", ""),
    ],
)
def test_direct_links(
    profile: Profile, links: tuple[Link, ...], evidence: str, remedy: str
) -> None:
    case = well(
        desired=desire(Config(profiles=(profile,))), observed=replace(laptop(), links=links)
    )
    findings = found("direct-links", case)
    assert [finding.evidence for finding in findings] == ([evidence] if evidence else [])
    assert all(remedy in finding.remedy for finding in findings)


def test_direct_link_without_a_gateway() -> None:
    routes = tuple(route for route in MAIN if not (route.is_default and route.link == WWAN.index))
    (finding,) = found("direct-links", well(observed=replace(laptop(), routes=routes)))
    assert finding.evidence == "no default route by wwan0"
    assert finding.what.endswith("its traffic is blocked")


@pytest.mark.parametrize(
    ("traffic", "evidence", "what"),
    [
        (Traffic(), "", ""),
        (Traffic(Mode.SELECTIVE), "", ""),
        (Traffic(Mode.FULL_TUNNEL, "tun9"), "there is no link tun9", "is blocked"),
        (
            Traffic(Mode.SELECTIVE, "tun9", when_vpn_down=WhenVpnDown.DIRECT),
            "there is no link tun9",
            "goes direct",
        ),
        (Traffic(Mode.FULL_TUNNEL, "lo"), "lo has no address, and no default", "is blocked"),
    ],
)
def test_vpn(traffic: Traffic, evidence: str, what: str) -> None:
    findings = found("vpn", well(desired=configured(traffic=traffic)))
    assert [f.evidence[: len(evidence)] for f in findings] == ([evidence] if evidence else [])
    assert all(finding.what.endswith(what) for finding in findings)


def test_vpn_that_is_not_there() -> None:
    desired = configured(traffic=Traffic(Mode.SELECTIVE))
    observed = replace(laptop(), links=laptop().links[:3])
    (finding,) = found("vpn", well(desired=desired, observed=observed))
    assert finding.evidence == "no link is a tunnel"
    down = replace(laptop(), links=(*laptop().links[:3], replace(TUNNEL, up=False)))
    (finding,) = found("vpn", well(desired=desired, observed=down))
    assert finding.evidence == "wg0 is down"


def test_tables() -> None:
    desired = configured(traffic=Traffic(Mode.FULL_TUNNEL))
    observed = settled(desired, laptop())
    case = well(desired=desired, observed=observed)
    findings = found("tables", case)  # the laptop's tunnel is IPv4 alone
    assert [(f.severity, "agvpn" in f.what or "11653" in f.what) for f in findings] == [
        (Severity.NOTE, True)
    ]
    bare = replace(observed, routes=tuple(r for r in observed.routes if r.table != 11653))
    (finding,) = found("tables", replace(case, observed=bare))
    assert finding.severity is Severity.ERROR
    assert (finding.what.startswith("table 11653"), finding.evidence) == (True, "it has 0 routes")
    closed = tuple(r for r in observed.routes if r.table != 11590 or not (r.is_default and r.link))
    error, _ = found("tables", replace(case, observed=replace(observed, routes=closed)))
    assert "unreachable default" in error.evidence


def test_routes_that_are_cleared() -> None:
    """One thing is said, and not all that follows from it."""
    full = configured(traffic=Traffic(Mode.FULL_TUNNEL))
    desired = replace(full, cleared=True)
    case = well(desired=desired, observed=settled(desired, settled(full, laptop())))
    wrong = [f for check in CHECKS for f in check.find(case) if f.severity.is_wrong]
    assert [finding.remedy for finding in wrong] == ["sudo byway routes restore"]


def test_rules() -> None:
    case = well()
    assert found("rules", case) == []
    behind = sorted((*case.observed.rules, *by_wg_quick(20000)), key=lambda r: r.preference)
    assert found("rules", well(observed=replace(case.observed, rules=tuple(behind)))) == []
    front = sorted((*case.observed.rules, *by_wg_quick(300)), key=lambda r: r.preference)
    four, six = found("rules", well(observed=replace(case.observed, rules=tuple(front))))
    assert four.what.endswith("299: lookup 254 suppress_prefixlength 0")
    assert "(IPv6)" in six.what
    assert "11590" in four.evidence


def test_rules_for_forwarded_packets() -> None:
    """One that only what comes in by a link meets counts for forwarded sources alone."""
    rival = RoutingRule(Family.IPV4, 100, 99, input_link="br0", protocol=4)
    for subnets, number in (((), 0), (("172.18.0.0/16",), 1)):
        desired = configured(traffic=Traffic(force_direct=Overrides(subnets)))
        observed = settled(desired, laptop())
        rules = (rival, *observed.rules)
        case = well(desired=desired, observed=replace(observed, rules=rules))
        assert len(found("rules", case)) == number


@pytest.mark.parametrize(
    ("name", "mode", "marked", "number"),
    [("wwan0", 1, False, 1), ("wwan0", 1, True, 0), ("wwan0", 2, False, 0), ("wlan0", 1, False, 0)],
)
def test_reverse_filters(name: str, mode: int, marked: bool, number: int) -> None:
    case = well(surroundings=Surroundings(reverse_filters=((name, mode, marked),)))
    findings = found("reverse-filters", case)
    assert len(findings) == number
    assert all("src_valid_mark=1" in finding.remedy for finding in findings)


def test_entries() -> None:
    missing = replace(CURL, state=FileState.MISSING, real_path="", device=0, inode=0)
    shared = replace(CURL, app=parse_app("/bin/wget"), state=FileState.SHARED, inode=7)
    observed = replace(laptop(), executables=(missing, shared))
    first, second = found("entries", well(observed=observed))
    assert (first.severity, first.what) == (
        Severity.NOTE,
        "the app /usr/bin/curl selects nothing",
    )
    assert (second.severity, second.what) == (
        Severity.WARNING,
        "the app /bin/wget is not as listed",
    )


def test_overrides() -> None:
    traffic = Traffic(
        Mode.FULL_TUNNEL,
        "tun9",
        force_direct=Overrides(
            uids=(Users(0, 0),), cgroups=("/gone",), destinations=("a.example",)
        ),
    )
    findings = found("entries", well(desired=configured(traffic=traffic)))
    assert [finding.severity for finding in findings] == [
        Severity.WARNING,
        Severity.NOTE,
        Severity.WARNING,
    ]
    assert findings[0].what == "traffic: force_direct.uids"
    assert findings[1].what == "traffic: force_direct.cgroups"


@pytest.mark.parametrize(
    ("chain", "why"),
    [
        (KILL_SWITCH, "policy drop, IPv4 and IPv6"),
        (replace(KILL_SWITCH, family="ip"), "policy drop, IPv4"),
        (replace(KILL_SWITCH, drops=False, rules=(DROP,)), "rule 1 of out, IPv4 and IPv6"),
        (replace(KILL_SWITCH, hook=""), ""),
        (
            replace(
                KILL_SWITCH,
                rules=(FilterRule((Condition(Field.LINK_NAME, (b"wwan",)),), Ending.ACCEPT),),
            ),
            "",
        ),
        (
            replace(KILL_SWITCH, rules=(FilterRule((Condition(Field.OTHER),), Ending.ACCEPT),)),
            "policy drop, IPv4 and IPv6",
        ),
        (
            replace(KILL_SWITCH, drops=False, rules=(FilterRule((), Ending.JUMP, "none"),)),
            "",
        ),
    ],
)
def test_kill_switches(chain: FilterChain, why: str) -> None:
    findings = found("kill-switches", well(surroundings=Surroundings(filters=(chain,))))
    assert [finding.evidence for finding in findings] == ([why] if why else [])
    for finding in findings:
        accept = "ks out mark and 0x3f000000 == 0x01000000 accept"
        assert finding.remedy.endswith(f"{chain.family} {accept}")


def test_kill_switch_that_jumps_in_circles() -> None:
    jumps = tuple(
        replace(
            KILL_SWITCH,
            name=name,
            hook=hook,
            drops=False,
            rules=(FilterRule((), Ending.JUMP, target),),
        )
        for name, hook, target in (("a", "output", "b"), ("b", "", "a"))
    )
    assert found("kill-switches", well(surroundings=Surroundings(filters=jumps))) == []


@pytest.mark.parametrize(
    ("traffic", "evidence"),
    [
        (Traffic(), ""),
        (Traffic(Mode.SELECTIVE), ""),
        (Traffic(Mode.FULL_TUNNEL), "the mode is full_tunnel"),
        (Traffic(force_vpn=Overrides(uids=(Users(0, 0),))), "force_vpn.uids has its user 0"),
        (
            Traffic(force_vpn=Overrides(destinations=("203.0.113.0/24",))),
            "force_vpn.destinations has it",
        ),
        (
            Traffic(force_vpn=Overrides(cgroups=("/system.slice",))),
            "force_vpn.cgroups has /system.slice",
        ),
        (
            Traffic(Mode.FULL_TUNNEL, force_direct=Overrides(destinations=("203.0.113.0/24",))),
            "",
        ),
        (Traffic(Mode.FULL_TUNNEL, force_direct=Overrides(uids=(Users(0, 9),))), ""),
        (Traffic(Mode.FULL_TUNNEL, force_direct=Overrides(cgroups=("/system.slice",))), ""),
    ],
)
def test_endpoints(traffic: Traffic, evidence: str) -> None:
    findings = found("endpoints", with_openvpn(traffic))
    assert bool(findings) is bool(evidence)
    for finding in findings:
        assert finding.evidence == f"openvpn (tun0) talks to 203.0.113.7, and {evidence}"
        assert finding.remedy == "sudo byway bypass add 203.0.113.7"


def test_endpoints_that_are_exempt_by_themselves() -> None:
    full = Traffic(Mode.FULL_TUNNEL)
    near = replace(SERVER, prefix="192.168.1.1/32")
    other = replace(SERVER, link=9)
    assert found("endpoints", with_openvpn(full, (near, other))) == []
    case = with_openvpn(full)
    own_way = Route(Family.IPV4, 254, SERVER.prefix, gateway="192.168.1.1", link=2)
    routes = (*case.observed.routes, own_way)
    assert found("endpoints", replace(case, observed=replace(case.observed, routes=routes))) == []
    named = replace(full, force_direct=Overrides(destinations=("vpn.example",)))
    case = with_openvpn(named)
    known = replace(case.observed, host_addresses=(("vpn.example", SERVER.prefix),))
    assert found("endpoints", replace(case, observed=known)) == []
    assert len(found("endpoints", case)) == 1


@pytest.mark.parametrize(
    ("dns", "sources", "number"),
    [
        (("direct",), ("files", "resolve", "dns"), 1),
        (("direct",), ("files", "dns"), 0),
        ((), ("files", "resolve"), 0),
    ],
)
def test_names(dns: tuple[str, ...], sources: tuple[str, ...], number: int) -> None:
    profile = Profile(interface="wwan0", dns=dns)
    case = well(
        desired=desire(Config(profiles=(profile,))),
        surroundings=Surroundings(host_sources=sources),
    )
    findings = found("names", case)
    assert len(findings) == number
    assert all("take resolve" in finding.remedy for finding in findings)


def test_placement() -> None:
    installed = desire(Config(profiles=(Profile(interface="wwan0"),)), runs_units=True)
    observed = replace(laptop(), active_units=("byway-gate.service",))
    assert found("placement", well(desired=installed, observed=observed)) == []
    (gate,) = found("placement", well(desired=installed, observed=laptop()))
    assert gate.evidence == "not running"
    failed = replace(laptop(), failed_units=("byway-gate.service",), gate_note="not available: x")
    (gate,) = found("placement", well(desired=installed, observed=failed))
    assert gate.evidence == "not available: x"
    (marker,) = found("placement", well(observed=replace(laptop(), marker_fault="no bpf")))
    assert marker.evidence == "not available: no bpf"
    assert found("placement", well(desired=installed, observed=laptop(), runs=False)) == []
