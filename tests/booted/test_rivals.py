"""Other VPN clients, the real programs: byway stands in front of them and leaves theirs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.laptop import FIRST, LISTED, Byway
from booted.rivals import BYSTANDER, RIVALS, Rival
from booted.topology import Topology, probe_command, seen_from_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.machine import Machine

pytestmark = pytest.mark.one_release

# Without the timer: what comes right, comes right by events.
CONFIG = 'interface = "wwan0"\nreconcile = "0"\napps = ["/opt/app/listed"]\n'


@pytest.fixture(params=RIVALS)
def rival(
    request: pytest.FixtureRequest, machine: Machine, topology: Topology, byway: Byway
) -> Iterator[Rival]:
    """The VPN client, down; taken away afterwards, before the world is restored."""
    chosen = RIVALS[request.param]
    yield chosen
    chosen.stop(machine)


def test_before_and_after_byway(
    machine: Machine, topology: Topology, byway: Byway, rival: Rival
) -> None:
    """In either order, and after the rival's restart; its rules stay as it made them."""
    byway.configure(CONFIG)
    before = byway.foreign_rules()
    rival.start(machine)
    alone = byway.foreign_rules()
    byway.start()
    assert_steered(topology, byway, rival)
    assert byway.foreign_rules() == alone

    restart_watched(machine, rival)
    assert_steered(topology, byway, rival)
    assert byway.foreign_rules() == alone

    rival.stop(machine)
    byway.wait_for_rules("11590:")
    byway.settle()
    assert byway.foreign_rules() == before
    rival.start(machine)
    assert_steered(topology, byway, rival)
    assert byway.foreign_rules() == alone
    byway.stop()
    assert byway.foreign_rules() == alone


def restart_watched(machine: Machine, rival: Rival) -> None:
    """Restart it; no rule of byway's is taken away meanwhile, not even for a moment."""
    machine.run(f"ip rule add pref 20000 {BYSTANDER}")
    watch = machine.spawn(["ip", "-4", "monitor", "rule"])
    machine.run("sleep 0.3; ip rule add pref 20001 to 192.0.2.1; ip rule del pref 20001")
    watch.wait_for("Deleted 20001:")
    rival.start_again(machine)
    deleted = [line for line in watch.stop().splitlines() if line.startswith("Deleted")]
    assert not [line for line in deleted if "lookup byway" in line], deleted
    # The control: one that purges has purged what is not protected.
    assert any(BYSTANDER in line for line in deleted) == rival.purges
    machine.run("ip rule del pref 20000", check=False)


def assert_steered(topology: Topology, byway: Byway, rival: Rival) -> None:
    """By the direct link what is listed, by the tunnel what is not; byway's rules come first."""
    byway.wait_for_rules(FIRST)
    byway.settle()
    commands, wanted = {}, {}
    for family in (4, 6):
        for protocol in ("tcp", "udp"):
            case = f"listed, IPv{family}, {protocol}"
            commands[case] = probe_command([LISTED], family=family, protocol=protocol, port=7001)
            wanted[case] = "wwan0"
            case = f"unlisted, IPv{family}, {protocol}"
            commands[case] = probe_command(["probe"], family=family, protocol=protocol)
            wanted[case] = "vpn" if family in rival.families else "wlan0"
    with topology.capture(rival.tunnel) as tunnel:
        assert seen_from_all(byway.machine, commands) == wanted
    assert not tunnel.packets(destination_port=7001), "a listed program's packet was in the tunnel"
    # The positive control: what was not listed was in the tunnel.
    assert tunnel.packets(destination_port=7000)
