"""Where byway cannot work it refuses to start: why, what to do, and nothing of it is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.laptop import LISTED, Byway
from booted.machine import Machine
from booted.session import end_machines
from booted.topology import Topology, seen_from

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.one_release

CONFIG = 'interface = "wwan0"\napps = ["/opt/app/listed"]\n'
HYBRID = "systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"


@pytest.fixture
def own_machine(release: str, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """One that has just booted, with the options of its kernel that are given."""
    end_machines(request.config)
    with Machine(release, kernel_options=getattr(request, "param", "")) as machine:
        yield machine


@pytest.mark.parametrize("own_machine", [HYBRID], indirect=True, ids=["hybrid"])
def test_old_cgroup_hierarchy(own_machine: Machine) -> None:
    """Where systemd has the new hierarchy for itself alone, sockets could not be matched."""
    mounts = "for at in /sys/fs/cgroup /sys/fs/cgroup/unified; do stat -f -c %T $at; done"
    assert own_machine.run(mounts).stdout == "tmpfs\ncgroup2fs\n", "not what this test is about"
    assert_refused(
        Byway(own_machine),
        "/sys/fs/cgroup is not the unified cgroup hierarchy: sockets cannot be matched by cgroup "
        "(boot with systemd.unified_cgroup_hierarchy=1)",
    )


def test_no_socket_expression(own_machine: Machine) -> None:
    """The kernel's module for it is not there."""
    machine, topology, byway = own_machine, Topology(own_machine), Byway(own_machine)
    machine.run(["mkdir", "-p", "/run/modprobe.d"])
    machine.put("/run/modprobe.d/none.conf", "install nft_socket /bin/false\n")
    topology.vpn_up()
    assert_refused(
        byway, "this kernel cannot match sockets by cgroup: ", "(byway needs Linux 5.13 or later"
    )
    assert "nft_socket" not in machine.get("/proc/modules"), "the module came in after all"
    assert seen_from(machine, [LISTED]) == "vpn"
    # The control: with the module it starts.
    machine.run(["rm", "/run/modprobe.d/none.conf"])
    byway.start()
    assert seen_from(machine, [LISTED]) == "wwan0"


def assert_refused(byway: Byway, *reasons: str) -> None:
    """It does not start, says why with exit code 1, does not try again, and leaves nothing."""
    machine = byway.machine
    byway.configure(CONFIG)
    machine.run(["systemctl", "daemon-reload"])
    before = byway.traces()
    assert machine.run(["systemctl", "start", "byway"], check=False).rc != 0
    show = "for name in ExecMainStatus NRestarts; do systemctl show -P $name byway; done"
    assert machine.run(show).stdout == "1\n0\n"
    log = machine.run("journalctl -b -u byway -o cat").stdout
    for reason in reasons:
        assert reason in log
    applied = byway.run("apply", check=False)
    assert applied.rc == 1
    assert reasons[0] in applied.stderr
    machine.wait_until(
        "__import__('subprocess').call(['pgrep', '-f', '/usr/bin/byway daemon']) == 1", timeout=5
    )
    # A slice stays until it is stopped; there is nothing in it.
    running = "systemctl list-units --plain --no-legend --state=active,activating 'byway*'"
    units = [line.split()[0] for line in machine.run(running).stdout.splitlines()]
    assert units == ["byway.slice"]
    assert machine.run("ls /run/byway").stdout.split() == ["generated.json"]
    assert byway.traces() == before
