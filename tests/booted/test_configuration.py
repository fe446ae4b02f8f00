"""What stands in files takes effect: drop-ins of byway's and of systemd's, and `auto`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from booted.laptop import LISTED, Byway
from booted.topology import Topology, probe_command, seen_from, seen_from_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.machine import Machine

pytestmark = pytest.mark.one_release

CONFIG = 'interface = "wwan0"\napps = ["/opt/app/listed"]\n'
PLACES = ("/usr/lib/byway", "/run/byway", "/etc/byway")
SLICE = "/sys/fs/cgroup/byway.slice/byway-home.slice"


@pytest.fixture
def drop_ins(machine: Machine, byway: Byway) -> Iterator[None]:
    """None at first; taken away afterwards."""
    folders = " ".join(f"{place}/conf.d" for place in PLACES)
    machine.run(f"rm -rf {folders}; mkdir -p {folders}")
    yield
    byway.stop()
    machine.run(f"rm -rf {folders}; mkdir -p {PLACES[-1]}/conf.d")


def test_precedence_of_drop_ins(
    machine: Machine, topology: Topology, byway: Byway, drop_ins: None
) -> None:
    """/etc masks /run masks /usr/lib by name, they apply sorted by name, and lists append."""
    texts = {
        "/usr/lib/byway/conf.d/10-masked-twice.toml": 'apps = ["/opt/app/usr"]\n',
        "/run/byway/conf.d/10-masked-twice.toml": 'apps = ["/opt/app/run"]\n',
        "/etc/byway/conf.d/10-masked-twice.toml": 'apps = ["/opt/app/listed"]\n',
        "/usr/lib/byway/conf.d/20-masked.toml": 'interface = "lo"\n',
        "/run/byway/conf.d/20-masked.toml": 'interface = "wlan0"\n',
        "/run/byway/conf.d/30-link.toml": 'interface = "wwan0"\n',
        "/usr/lib/byway/conf.d/40-null.toml": 'interface = "lo"\n',
        "/usr/lib/byway/conf.d/90-vendor.toml": 'apps = ["/usr/bin/curl"]\n',
    }
    for path, text in texts.items():
        machine.put(path, text)
    machine.run(["ln", "-s", "/dev/null", "/etc/byway/conf.d/40-null.toml"])
    byway.configure('interface = "lo"\napps = ["/opt/app/main"]\n')
    topology.vpn_up()
    byway.start()
    shown = [line for line in byway.run("config cat").stdout.splitlines() if line.startswith("# /")]
    assert shown == [
        "# /etc/byway/byway.toml",
        "# /etc/byway/conf.d/10-masked-twice.toml",
        "# /run/byway/conf.d/20-masked.toml",
        "# /run/byway/conf.d/30-link.toml",
        "# /usr/lib/byway/conf.d/90-vendor.toml",
    ]
    assert status_of(byway) == ("wwan0", ["/opt/app/main", "/opt/app/listed", "/usr/bin/curl"])
    assert seen_from(machine, [LISTED]) == "wwan0"
    # What masked is taken away while byway runs: the next in precedence comes to light.
    machine.run("rm /run/byway/conf.d/30-link.toml /etc/byway/conf.d/10-masked-twice.toml")
    byway.settle("$['profiles'][0]['link'] == 'wlan0'")
    byway.settle("'/opt/app/run' in [a['app'] for a in $['apps']]")
    assert status_of(byway) == ("wlan0", ["/opt/app/main", "/opt/app/run", "/usr/bin/curl"])
    assert seen_from(machine, [LISTED]) == "vpn"


def status_of(byway: Byway) -> tuple[str, list[str]]:
    """The link and the apps that `byway status` shows."""
    lines = byway.run("status").stdout.splitlines()
    (profile,) = [line.split() for line in lines if line.startswith("default ")]
    begin = next(number for number, line in enumerate(lines) if line.startswith("APP "))
    apps = []
    for line in lines[begin + 1 :]:
        if not line.startswith("/"):
            break
        apps.append(line.split()[0])
    return profile[1], apps


def test_the_timers_interval_is_the_users(machine: Machine, byway: Byway) -> None:
    """`systemctl edit byway-reconcile.timer` wins, and stays through reloads and changes."""
    byway.configure('reconcile = "1m30s"\n' + CONFIG)
    byway.start()
    assert intervals_of(machine) == ["1min 30s", "1min 30s"]
    own = "[Timer]\nOnActiveSec=\nOnActiveSec=7min\nOnUnitInactiveSec=7min\n"
    machine.put("/etc/systemd/system/byway-reconcile.timer.d/override.conf", own)
    machine.run(["systemctl", "daemon-reload"])
    assert intervals_of(machine) == ["7min", "7min"]
    byway.configure('reconcile = "2m30s"\n' + CONFIG)
    machine.wait_until(
        "any('2m30s' in p.read_text() for p in __import__('pathlib').Path(args['at']).glob('*'))",
        at="/run/systemd/generator/byway-reconcile.timer.d",
    )
    assert intervals_of(machine) == ["7min", "7min"]
    machine.run(["systemctl", "daemon-reload"])
    assert intervals_of(machine) == ["7min", "7min"]
    byway.settle()
    assert byway.run("plan").stdout == "in sync: nothing to do\n"
    assert machine.run("systemctl is-active byway-reconcile.timer").stdout == "active\n"


def intervals_of(machine: Machine) -> list[str]:
    """What systemd goes by."""
    shown = machine.run("systemctl show byway-reconcile.timer -P TimersMonotonic").stdout
    return re.findall(r"USec=(.*?) ;", shown)


def test_the_limits_of_a_profiles_slice_are_the_users(
    machine: Machine, topology: Topology, byway: Byway
) -> None:
    """`systemctl edit byway-home.slice`: in effect, also when byway writes the slice anew."""
    profile = '[profile.home]\ninterface = "{}"\n'
    byway.configure(CONFIG + profile.format("wlan0"))
    topology.vpn_up()
    byway.start()
    assert machine.get(f"{SLICE}/pids.max") == "max\n"
    limits = "[Slice]\nCPUWeight=50\nTasksMax=123\n"
    machine.put("/etc/systemd/system/byway-home.slice.d/override.conf", limits)
    machine.run(["systemctl", "daemon-reload"])
    # systemd puts them into effect when something starts in the slice.
    run = ["byway", "run", "-p", "home", "--", "probe"]
    assert seen_from(machine, run) == "wlan0"
    assert_limits(machine)
    unit = "/run/systemd/generator/byway-home.slice"
    before = machine.get(unit)
    byway.configure(CONFIG + profile.format("wwan0"))
    byway.settle("[p['link'] for p in $['profiles']] == ['wwan0', 'wwan0']")
    assert machine.get(unit) != before
    assert seen_from(machine, run) == "wwan0"
    assert_limits(machine)


def assert_limits(machine: Machine) -> None:
    """Systemd knows the limits, and the kernel keeps them."""
    show = "systemctl show byway-home.slice -p CPUWeight -p TasksMax | sort"
    assert machine.run(show).stdout == "CPUWeight=50\nTasksMax=123\n"
    assert machine.get(f"{SLICE}/cpu.weight") == "50\n"
    assert machine.get(f"{SLICE}/pids.max") == "123\n"


def test_auto_takes_the_best_link_that_is_no_vpn(
    machine: Machine, topology: Topology, running: Byway
) -> None:
    """It changes to the next one when that is down, and back; the VPN's link is never taken."""
    running.configure(CONFIG.replace("wwan0", "auto"))
    assert_auto(machine, topology, running, "wlan0")
    topology.link_down("wlan0")
    assert_auto(machine, topology, running, "wwan0")
    topology.restore()
    assert_auto(machine, topology, running, "wlan0")
    # With neither, the VPN's is still there, and not taken.
    topology.link_down("wlan0")
    topology.link_down("wwan0")
    running.settle("$['profiles'][0]['link'] is None")
    assert seen_from(machine, [LISTED]) == "none"
    assert machine.run("ip route get 198.51.100.10").stdout.split()[2] == "wg0"


def assert_auto(machine: Machine, topology: Topology, byway: Byway, link: str) -> None:
    """``link`` is taken, IPv4 and IPv6; the rest uses the VPN."""
    byway.settle(f"$['profiles'][0]['link'] == {link!r} and $['profiles'][0]['state'] == 'up'")
    commands = {
        (name, family): probe_command([program], family=family, port=port)
        for family in (4, 6)
        for name, program, port in (("listed", LISTED, 7001), ("unlisted", "probe", 7000))
    }
    with topology.capture("wg0") as tunnel:
        seen = seen_from_all(machine, {str(case): words for case, words in commands.items()})
    wanted = {str(case): link if case[0] == "listed" else "vpn" for case in commands}
    assert seen == wanted
    assert not tunnel.packets(destination_port=7001)
    assert tunnel.packets(destination_port=7000)
