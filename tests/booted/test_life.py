"""Start, reload, crash, stop: what runs goes on, and nothing is left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.laptop import LISTED, Byway
from booted.topology import Topology, seen_from

if TYPE_CHECKING:
    from booted.machine import Machine

CONFIG = 'interface = "wwan0"\napps = ["/opt/app/listed"]\n'


def test_stop_leaves_nothing_but_running_apps(
    machine: Machine, topology: Topology, byway: Byway
) -> None:
    """Rules, routes, nftables, sysctls and runtime units are as before."""
    topology.vpn_up()
    before = byway.traces()
    byway.configure(CONFIG)
    byway.start()
    assert byway.traces() != before
    process = machine.spawn([LISTED, "-f", "198.51.100.10", "7001"])
    process.wait_for("10.64.0.2")
    byway.stop()
    assert byway.traces() == before
    assert process.ended() is None
    for verb in ("status", "test"):
        assert byway.run(verb, check=False).rc == 3
    assert (
        machine.run(
            "systemctl is-active byway byway-gate byway-reconcile.timer", check=False
        ).stdout.split()
        == ["inactive"] * 3
    )
    # What the generator remembers is not of this run: it works without the daemon.
    assert machine.run("ls /run/byway").stdout.split() == ["generated.json"]
    process.stop()


def test_crash_keeps_flows_and_is_repaired(machine: Machine, running: Byway) -> None:
    """After SIGKILL traffic goes on as it was, and the next daemon adopts what it finds."""
    flow = machine.spawn([LISTED, "-f", "198.51.100.10", "7001"])
    flow.wait_for("10.64.0.2")
    old = running.main_pid()
    machine.run(["systemctl", "kill", "--kill-whom=main", "-s", "KILL", "byway"])
    flow.write("while it is dead\n")
    flow.wait_for("while it is dead")
    assert seen_from(machine, [LISTED]) == "wwan0"
    machine.wait_until(
        "open('/run/byway/daemon.pid').read() != args['old']", old=f"{old}\n", timeout=30
    )
    running.settle()
    flow.write("and after\n")
    flow.wait_for("and after")
    pid = running.main_pid()
    log = machine.run(["journalctl", "-u", "byway", f"_PID={pid}", "-o", "cat"]).stdout
    assert "replace table" not in log, "the restart replaced what was in place"
    flow.stop()


@pytest.mark.one_release
def test_half_of_an_earlier_run_converges(machine: Machine, running: Byway) -> None:
    """A table and a rule are left over, routes are gone, another rule stands twice."""
    machine.run("systemctl kill -s KILL --kill-whom=main byway; systemctl stop byway")
    machine.run(
        "ip route flush table byway; ip rule add pref 99 fwmark 0x1000000/0x3f000000 lookup byway"
        " protocol kernel; nft flush chain inet byway output"
    )
    machine.run(["systemctl", "start", "byway"])
    running.settle()
    assert running.run("plan").stdout == "in sync: nothing to do\n"
    assert seen_from(machine, [LISTED]) == "wwan0"
    assert "99:" not in machine.run("ip rule").stdout


@pytest.mark.one_release
def test_reload(machine: Machine, running: Byway) -> None:
    """Apps, interface and interval change while it runs; no restart, and no signal needed."""
    pid = running.main_pid()
    running.configure('interface = "wwan0"\n')
    running.settle("not $['apps']")
    assert seen_from(machine, [LISTED]) == "vpn"
    running.configure(CONFIG)
    running.settle("$['apps']")
    assert seen_from(machine, [LISTED]) == "wwan0"
    running.configure(CONFIG.replace("wwan0", "wlan0"))
    running.settle("$['profiles'][0]['link'] == 'wlan0'")
    assert seen_from(machine, [LISTED]) == "wlan0"
    running.configure('reconcile = "1m30s"\n' + CONFIG)
    show = "systemctl show byway-reconcile.timer -P TimersMonotonic | tr ';' '\\n'"
    machine.wait_until("'1min 30s' in __import__('subprocess').getoutput(args['show'])", show=show)
    running.configure('reconcile = "0"\n' + CONFIG)
    machine.wait_until(
        "__import__('subprocess').call(['systemctl', 'is-active', '-q', 'byway-reconcile.timer'])"
    )
    machine.run(["systemctl", "reload", "byway"])
    assert running.main_pid() == pid


@pytest.mark.one_release
def test_bad_reload_keeps_the_last_good_one(machine: Machine, running: Byway) -> None:
    """It is refused whole, said in the journal and by status, and forgotten once corrected."""
    bad = CONFIG + 'interfaces = "wlan0"\n[direct]\nwhen_down = "never"\n'
    running.configure(bad)
    running.settle("len($['config_problems']) == 2")
    assert seen_from(machine, [LISTED]) == "wwan0"
    shown = running.run("status", check=False)
    assert "byway.toml:3: interfaces: unknown key (did you mean interface?)" in shown.stdout
    checked = running.run("config check", check=False)
    assert checked.rc == 2
    assert "byway.toml:5: direct.when_down" in checked.stderr
    assert "the last good one stays in force" in machine.journal("byway")
    machine.run(["systemctl", "reload", "byway"])
    machine.run(["systemctl", "daemon-reload"])  # somebody's
    assert "50-byway.conf" in machine.run("systemctl show -P DropInPaths byway.slice").stdout
    assert seen_from(machine, [LISTED]) == "wwan0"
    running.configure(CONFIG)
    running.settle("not $['config_problems']")


@pytest.mark.one_release
def test_bad_config_at_start_fails_and_boots(machine: Machine, byway: Byway) -> None:
    """The service fails with the reason, and does not come back by itself."""
    byway.configure('interface = "wwan0"\napps = ["curl"]\n')
    started = machine.run("systemctl daemon-reload; systemctl start byway", check=False)
    assert started.rc != 0
    assert machine.run("systemctl show -P NRestarts byway").stdout == "0\n"
    assert "byway.toml:2: apps[0]: not absolute: 'curl'" in machine.journal("byway")


@pytest.mark.one_release
def test_add_and_remove(machine: Machine, running: Byway) -> None:
    """The file's comments stay, and it takes effect at once."""
    running.configure('# mine\ninterface = "wwan0"\napps = [\n  "/usr/bin/curl",  # the web\n]\n')
    running.settle("[app['app'] for app in $['apps']] == ['/usr/bin/curl']")
    assert running.run("add /opt/app/listed").stdout == "added /opt/app/listed\n"
    running.settle("len($['apps']) == 2")
    assert seen_from(machine, [LISTED]) == "wwan0"
    running.run("remove /opt/app/listed")
    running.settle("len($['apps']) == 1")
    assert seen_from(machine, [LISTED]) == "vpn"
    text = machine.get("/etc/byway/byway.toml")
    assert text == '# mine\ninterface = "wwan0"\napps = [\n  "/usr/bin/curl",  # the web\n]\n'
    assert running.run("remove /opt/app/listed", check=False).rc == 5
    assert running.run("add listed", check=False).rc == 2


@pytest.mark.one_release
@pytest.mark.usefixtures("running")
def test_without_root(machine: Machine) -> None:
    """Readers work, the others say what to do."""
    machine.run("id -u alice >/dev/null 2>&1 || useradd alice")
    for verb, code in (
        ("status", 0),
        ("list", 0),
        ("config check", 0),
        ("add /opt/app/real", 4),
        ("apply", 4),
        ("plan", 0),
        ("reconcile", 4),
        ("run true", 4),
    ):
        done = machine.run(f"byway {verb}", user="alice", check=False)
        assert done.rc == code, done
        assert "Traceback" not in done.stderr


@pytest.mark.one_release
def test_foreground(machine: Machine, topology: Topology, byway: Byway) -> None:
    """`byway daemon --config FILE` works like the original, and cleans up on Ctrl+C."""
    topology.vpn_up()
    before = byway.traces()
    machine.put("/root/mine.toml", 'reconcile = "5s"\n' + CONFIG)
    daemon = machine.spawn(["byway", "daemon", "--config", "/root/mine.toml"])
    machine.wait_until("__import__('os').path.exists('/run/byway/status.json')", timeout=30)
    in_slice = ["systemd-run", "-q", "--wait", "--pipe", "--slice=byway.slice", "probe"]
    assert seen_from(machine, in_slice) == "wwan0"
    machine.run(["kill", "-INT", str(daemon.pid)])
    assert daemon.wait() == 0
    assert byway.traces() == before


def test_generator_and_the_verb_agree(machine: Machine, byway: Byway) -> None:
    """`byway generate DIR` writes what stands in /run/systemd/generator, and systemd accepts it."""
    byway.configure(
        'interface = "wwan0"\nreconcile = "1m30s"\n'
        'apps = ["unit:ssh.service", "unit:a@b.service"]\n'
        '[profile.lte]\ninterface = "lte%i"\napps = ["unit:c.service"]\n'
    )
    machine.run("systemctl daemon-reload; rm -rf /root/generated; mkdir /root/generated")
    byway.run("generate /root/generated")
    files = byway.run("generate /root/generated").stdout.split()
    assert len(files) == 6
    for file in files:
        assert machine.get(f"/run/systemd/generator/{file}") == machine.get(
            f"/root/generated/{file}"
        )
    machine.run(["systemctl", "daemon-reload"])  # from what was remembered
    for file in files:
        assert machine.get(f"/run/systemd/generator/{file}") == machine.get(
            f"/root/generated/{file}"
        )
    checked = machine.run(
        "systemd-analyze verify --man=no --recursive-errors=one byway.service byway-gate.service"
        " byway-reconcile.service byway-reconcile.timer byway.slice byway-lte.slice",
        check=False,
    )
    # systemd 252 says so of the line that newer ones need, and keeps the one above it.
    old = "byway.service:12: Failed to parse service type, ignoring: notify-reload"
    said = [line for line in checked.stderr.splitlines() if not line.endswith(old)]
    assert said == []
    byway.configure("nonsense")
    assert machine.run("systemctl daemon-reload", check=False).rc == 0
    assert machine.run("systemctl start byway", check=False).rc == 1
    assert machine.run("ls /run/byway").stdout == "generated.json\n", "it says that it is active"
