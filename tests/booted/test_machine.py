"""The machine and the world are what the other tests take them for; byway is not running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.topology import INTERNET, LAN_HOST, Topology, curl_from, seen_from, way_in

if TYPE_CHECKING:
    from booted.machine import Machine

SYSTEMD = {"12": "252", "13": "257"}


def test_systemd_runs_and_nothing_failed(machine: Machine, release: str) -> None:
    """PID 1 is the release's systemd, all units are well."""
    assert machine.run("systemctl is-system-running", check=False).stdout == "running\n", (
        machine.run("systemctl --failed --no-legend").stdout
    )
    assert machine.run("systemctl --version").stdout.split()[1] == SYSTEMD[release]


def test_the_agent_is_no_part_of_byway(machine: Machine) -> None:
    """What the tests start is in a cgroup of its own."""
    assert machine.run("cat /proc/self/cgroup").stdout == "0::/system.slice/booted-agent.service\n"


@pytest.mark.one_release
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_traffic_follows_the_vpn(
    machine: Machine, topology: Topology, family: int, protocol: str
) -> None:
    """By wlan0, with the VPN up by the VPN, and by wlan0 again."""
    assert seen_from(machine, family=family, protocol=protocol) == "wlan0"
    topology.vpn_up()
    assert seen_from(machine, family=family, protocol=protocol) == "vpn"
    assert curl_from(machine, family=family) == "vpn"
    topology.vpn_down()
    assert seen_from(machine, family=family, protocol=protocol) == "wlan0"


@pytest.mark.one_release
@pytest.mark.parametrize("family", [4, 6])
def test_either_link_reaches_the_internet(
    machine: Machine, topology: Topology, family: int
) -> None:
    """wwan0 takes over when wlan0 goes down."""
    topology.link_down("wlan0")
    assert seen_from(machine, family=family) == "wwan0"
    topology.restore()
    assert seen_from(machine, family=family) == "wlan0"


@pytest.mark.one_release
@pytest.mark.parametrize("link", ["wlan0", "wwan0"])
def test_a_changed_gateway_is_followed_by_main(
    machine: Machine, topology: Topology, link: str
) -> None:
    """The old gateway answers no more, the new one does."""
    topology.change_gateway(link)
    if link == "wwan0":
        topology.link_down("wlan0")
    assert seen_from(machine) == link
    assert seen_from(machine, family=6) == link


@pytest.mark.one_release
def test_the_provider_drops_foreign_addresses(machine: Machine, topology: Topology) -> None:
    """A packet with wlan0's address that leaves by wwan0 arrives nowhere, and is counted."""
    before = topology.spoofed()["wwan0"]
    machine.run(["ip", "route", "add", INTERNET[4], "via", "10.64.0.1", "dev", "wwan0"])
    with topology.capture_outside("wwan0") as outside:
        sent = machine.run(
            ["probe", "-t", "1", "-b", "192.168.1.10", INTERNET[4], "7000"], check=False
        )
    machine.run(["ip", "route", "del", INTERNET[4]])
    assert way_in(sent.stdout) == "none"
    assert outside.packets(direction="in", source="192.168.1.10", destination_port=7000)
    assert topology.spoofed()["wwan0"] > before


@pytest.mark.one_release
def test_the_neighbours(machine: Machine, topology: Topology) -> None:
    """The LAN's host is there with the VPN up, and the container leaves as the laptop does."""
    container = ["nsenter", "--net=/run/netns/container", "probe"]
    assert seen_from(machine, container) == "wlan0"
    topology.vpn_up()
    for address in LAN_HOST.values():
        machine.run(["ping", "-c", "1", "-W", "2", address])
    assert seen_from(machine, container) == "vpn"


@pytest.mark.one_release
def test_a_flow_stays_open(machine: Machine, topology: Topology) -> None:
    """A program left running is written to and read from."""
    flow = machine.spawn(["probe", "-f", INTERNET[4], "7000"])
    flow.wait_for("192.168.1.10 ")
    flow.write("here\n")
    flow.wait_for("192.168.1.10 here\n")
    flow.stop()


@pytest.mark.one_release
def test_nothing_is_captured_that_is_not_there(machine: Machine, topology: Topology) -> None:
    """A capture sees the probe on its link (the positive control) and nothing on the other."""
    with topology.capture_outside("wlan0") as there, topology.capture_outside("wwan0") as elsewhere:
        assert seen_from(machine) == "wlan0"
    assert there.packets(direction="in", destination=INTERNET[4], destination_port=7000)
    assert not elsewhere.packets(destination=INTERNET[4])
