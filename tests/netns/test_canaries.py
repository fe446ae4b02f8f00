"""Canaries: real packets, counted and dropped at the last place of their way out."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from dataclasses import replace
from typing import Any

import pytest

from byway_systemd.core.canaries import NO_SLICE, find_canaries
from byway_systemd.core.canary_report import TABLE, Trial, build_counting_table, present_trial
from byway_systemd.core.config import Config, Profile
from byway_systemd.core.desired import Desired, desire
from byway_systemd.core.traffic import Mode, Overrides, Traffic, Users
from byway_systemd.system.canaries import send_canaries
from byway_systemd.system.nftables import Nftables
from netns.crossing import SUBNETS, Crossing, look_around, set_owner
from netns.world import SERVERS, ip

USER = 12345
DIRECT = Overrides(
    subnets=(SUBNETS[4], SUBNETS[6]),
    uids=(Users(USER, USER + 5),),
    destinations=("198.18.7.0/24", "2001:db8:77::/48"),
)
VPN = Overrides(
    subnets=("172.31.5.0/24", "fd00:31::/64"),
    uids=(Users(USER + 100, USER + 100), Users(USER, USER)),
    destinations=("198.18.8.1/32", "2001:db8:78::8/128"),
)
_SWITCH = """
add table inet foreign
add chain inet foreign out { type filter hook output priority 5; }
add rule inet foreign out oifname direct0 drop
"""
_COUNT = """
add table inet foreign
add chain inet foreign in { type filter hook prerouting priority 0; }
add rule inet foreign in th dport 9 counter
"""
OWNERS = pytest.mark.parametrize("owner", ["nobody", "halves", "wg-quick"])


def wanted(crossing: Crossing, mode: Mode, **fields: Any) -> Desired:
    """Every kind of override; what is forced direct is in what is forced to the VPN."""
    traffic = Traffic(
        mode,
        vpn_interface="vpn0",
        force_direct=replace(DIRECT, cgroups=(crossing.cgroup(1), "/none.slice")),
        force_vpn=replace(VPN, cgroups=(crossing.cgroup(0),)),
    )
    desired = desire(Config(profiles=(Profile(interface="direct0"),), traffic=traffic))
    return replace(desired, **fields)


def run(crossing: Crossing, desired: Desired) -> dict[str, Any]:
    """Send the canaries for ``desired`` in the machine's namespace; return the report."""
    ids = tuple((crossing.cgroup(n), p.stat().st_ino) for n, p in enumerate(crossing.cgroups))
    observed = replace(look_around(crossing), cgroup_ids=ids)
    canaries, skipped = find_canaries(desired, observed)
    # There is no byway.slice here, and what would be in it is tried by the cgroups.
    canaries = tuple(canary for canary in canaries if canary.slice == NO_SLICE)
    trial = Trial(canaries, skipped, build_counting_table(canaries, desired, observed))

    def start(_slice: str, command: tuple[str, ...], pipes: tuple[int, int]) -> None:
        """The canaries stand in the root, and so in no cgroup that is listed."""
        process = subprocess.Popen(command, stdin=pipes[0], stdout=pipes[1])
        (crossing.mount / "cgroup.procs").write_text(str(process.pid), encoding="ascii")

    def send() -> dict[str, Any]:
        return present_trial(trial, send_canaries(trial, start, crossing.mount), desired, observed)

    report: dict[str, Any] = crossing.machine.run(send)
    return report


def wrong(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [result for result in report["results"] if not result["passed"]]


@OWNERS
@pytest.mark.parametrize("mode", Mode)
def test_all_is_right(crossing: Crossing, mode: Mode, owner: str) -> None:
    set_owner(crossing, owner)
    desired = wanted(crossing, mode)
    crossing.converge(desired)
    before = look_around(crossing)
    report = run(crossing, desired)
    assert report["passed"], wrong(report)
    found = {(r["check"], r["family"], r["protocol"]) for r in report["results"]}
    checks = ("outside", "uid", "cgroup", "source", "destination")
    assert found == {(c, f, p) for c in checks for f in ("ipv4", "ipv6") for p in ("tcp", "udp")}
    left = {(r["side"], *r["left_by"]) for r in report["results"] if r["side"] != "rest"}
    assert left == {("direct", "direct0"), ("vpn", "vpn0")}
    assert [skipped["selects"] for skipped in report["skipped"]] == ["/none.slice"]
    assert look_around(crossing) == before


def test_what_is_wrong_is_found(crossing: Crossing) -> None:
    """Without its table, and without the rules of the mode."""
    set_owner(crossing, "wg-quick")
    desired = wanted(crossing, Mode.SELECTIVE)
    crossing.converge(desired)
    for preference in (12000, 12001):
        ip("-n", crossing.machine.name, "rule", "delete", "preference", preference)
    report = run(crossing, desired)
    assert {(r["check"], r["family"], r["problem"]) for r in wrong(report)} == {
        ("outside", "ipv4", "it left by another link")
    }
    crossing.converge(desired)
    crossing.machine.run(_drop_table)
    problems = {r["problem"] for r in wrong(run(crossing, desired))}
    assert problems == {"it left by another link", "it has no mark of byway's"}


def _drop_table() -> None:
    with Nftables() as nftables:
        nftables.delete_table("byway")


def test_what_somebody_drops_is_found(crossing: Crossing) -> None:
    desired = wanted(crossing, Mode.FULL_TUNNEL)
    crossing.converge(desired)
    crossing.machine.run(lambda: nft(_SWITCH))
    try:
        report = run(crossing, desired)
    finally:
        crossing.machine.run(lambda: nft("delete table inet foreign"))
    assert {(r["side"], r["problem"]) for r in wrong(report)} == {("direct", "it did not leave")}


def nft(commands: str) -> str:
    return subprocess.run(["nft", commands], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("mode", [Mode.BYPASS, Mode.FULL_TUNNEL])
def test_while_routes_are_cleared(crossing: Crossing, mode: Mode) -> None:
    """By its own link or not at all; all else by the main table."""
    set_owner(crossing, "wg-quick")
    crossing.converge(wanted(crossing, mode))
    desired = wanted(crossing, mode, cleared=True)
    crossing.converge(desired)
    report = run(crossing, desired)
    assert report["passed"], wrong(report)
    ways = {(r["side"], *r["left_by"]) for r in report["results"]}
    assert ways == {("direct",), ("vpn", "vpn0"), ("rest", "vpn0")}


def test_nothing_leaves_the_machine(crossing: Crossing) -> None:
    """Nothing comes out of the direct link; the control is a datagram that is no canary."""
    desired = wanted(crossing, Mode.SELECTIVE)
    crossing.converge(desired)
    crossing.direct.run(lambda: nft(_COUNT))
    try:
        report = run(crossing, desired)
        assert "direct0" in {link for r in report["results"] for link in r["left_by"]}
        assert "packets 0 " in crossing.direct.run(lambda: nft("list table inet foreign"))
        crossing.machine.run(_send_to_discard)
        assert "packets 1 " in crossing.direct.run(lambda: nft("list table inet foreign"))
    finally:
        crossing.direct.run(lambda: nft("delete table inet foreign"))
    assert TABLE not in crossing.machine.run(lambda: nft("list tables"))


def _send_to_discard() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"?", (SERVERS[4], 9))


def test_table_goes_with_its_process(crossing: Crossing) -> None:
    """However that ends; and meanwhile nobody else can touch it."""
    desired = wanted(crossing, Mode.BYPASS)
    observed = look_around(crossing)
    canaries, _ = find_canaries(desired, observed)
    table = build_counting_table(canaries, desired, observed)

    def hold() -> None:
        with Nftables() as nftables:
            nftables.own_table(table)
            time.sleep(60)

    child = crossing.machine.start(hold)

    def tables() -> str:
        found: str = crossing.machine.run(lambda: nft("list tables"))
        return found

    _until(lambda: TABLE in tables())
    with pytest.raises(subprocess.CalledProcessError):
        crossing.machine.run(lambda: nft(f"delete table inet {TABLE}"))
    with pytest.raises(OSError, match="add nft table inet byway-test"):
        crossing.machine.run(lambda: _own(table))
    os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    _until(lambda: TABLE not in tables())


def _own(table: Any) -> None:
    with Nftables() as nftables:
        nftables.own_table(table)


def _until(holds: Any) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
