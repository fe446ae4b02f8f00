"""byway doctor and byway explain on the machine: what they say, and that the remedies are some."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from booted.laptop import LISTED
from booted.rivals import OPENVPN
from booted.topology import LISTED_PORT, seen_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.laptop import Byway
    from booted.machine import Machine
    from booted.topology import Topology

pytestmark = pytest.mark.one_release

KILL_SWITCH = (
    "nft 'add table inet ks; add chain inet ks out { type filter hook output priority 0; "
    'policy drop; }; add rule inet ks out oifname { "lo", "wg0", "wlan0" } accept\''
)
FULL_TUNNEL = 'interface = "wwan0"\nreconcile = "0"\n[traffic]\nmode = "full_tunnel"\n'
SERVER = "203.0.113.9"


def findings(byway: Byway, user: str | None = None) -> dict[str, list[dict[str, Any]] | None]:
    """What the doctor found, by check; its exit code fits."""
    done = byway.machine.run("byway doctor --json=short", user=user, check=False)
    said = json.loads(done.stdout)
    wrong = [f for c in said["checks"] for f in c["findings"] or () if f["wrong"]]
    assert (done.rc, said["fine"]) == (1 if wrong else 0, not wrong), done
    return {check["check"]: check["findings"] for check in said["checks"]}


def follow(machine: Machine, remedy: str) -> None:
    """Do what the doctor says, word by word."""
    command = remedy.rpartition(": ")[2].removeprefix("sudo ")
    machine.run(command)


def test_kill_switch(machine: Machine, running: Byway) -> None:
    """All is well; then a firewall is in the way, and its remedy is one. Everybody may ask."""
    said = findings(running)
    assert not any(said.values()), said
    machine.run(KILL_SWITCH)
    try:
        assert seen_from(machine, [LISTED], port=LISTED_PORT) == "none"
        (finding,) = findings(running)["kill-switches"] or ()
        assert "chain inet ks out" in finding["what"]
        follow(machine, finding["remedy"])
        assert findings(running)["kill-switches"] == []
        assert seen_from(machine, [LISTED], port=LISTED_PORT) == "wwan0"
    finally:
        machine.run("nft delete table inet ks")
    by_alice = findings(running, user="alice")
    assert by_alice["kill-switches"] is None
    assert by_alice["rules"] == []
    for user in (None, "alice"):
        shown = machine.run("byway explain byway.slice", user=user).stdout
        assert shown.startswith("byway.slice: direct (it runs in /byway.slice)")
        assert machine.run("byway explain 99999999", user=user, check=False).rc in (2, 5)
        assert machine.run("byway explain nothing-such", user=user, check=False).rc == 5


@pytest.fixture
def openvpn(machine: Machine, topology: Topology, byway: Byway) -> Iterator[None]:
    """OpenVPN, which made a host route to its server."""
    assert topology
    OPENVPN.start(machine)
    yield
    byway.stop()
    OPENVPN.stop(machine)


@pytest.mark.usefixtures("openvpn")
def test_server_that_is_led_into_its_own_tunnel(machine: Machine, byway: Byway) -> None:
    """Without the host route it goes round; the list keeps it out. byway need not run to say so."""
    byway.configure(FULL_TUNNEL)
    (stopped,) = findings(byway)["service"] or ()
    assert "does not run" in stopped["what"]
    byway.start()
    byway.settle("$['traffic']['vpn']['usable']")
    assert "default via 10.98.0.1 dev tun0" in machine.run("ip route show table agvpn").stdout
    assert findings(byway)["endpoints"] == []
    machine.run(f"ip route delete {SERVER}")
    byway.settle("$['traffic']['vpn']['usable']")
    (finding,) = findings(byway)["endpoints"] or ()
    assert f"talks to {SERVER}" in finding["evidence"]
    follow(machine, finding["remedy"])
    byway.settle("$['traffic']['overrides']['force_direct']['destinations'] == 1")
    assert findings(byway)["endpoints"] == []
    machine.run(f"byway bypass remove {SERVER}")


IPSEC = (
    "ip link add ipsec0 type xfrm dev wlan0 if_id 7 && ip link set ipsec0 up && "
    "ip address add 10.97.0.1/24 dev ipsec0 && ip route add default dev ipsec0 metric 9000 && "
    f"ip xfrm state add src 192.168.1.2 dst {SERVER} proto esp spi 1 mode tunnel if_id 7 "
    f"aead 'rfc4106(gcm(aes))' 0x{'42' * 20} 128"
)


def test_server_of_ipsec(machine: Machine, topology: Topology, running: Byway) -> None:
    """The kernel's own packets, which no program sends, go round as well."""
    topology.vpn_down()
    machine.run(IPSEC)
    try:
        running.configure(FULL_TUNNEL)
        running.settle("$['traffic']['mode'] == 'full_tunnel' and $['traffic']['vpn']['usable']")
        (finding,) = findings(running)["endpoints"] or ()
        assert (
            finding["evidence"] == f"IPsec (ipsec0) talks to {SERVER}, and the mode is full_tunnel"
        )
        follow(machine, finding["remedy"])
        assert findings(running)["endpoints"] == []
        machine.run(f"byway bypass remove {SERVER}")
    finally:
        machine.run("ip xfrm state flush; ip link delete ipsec0")
