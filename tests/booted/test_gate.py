"""The exec gate on a booted machine: right from the first packet, and nothing held for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.laptop import LISTED, RUNNING, Byway
from booted.topology import LISTED_PORT, seen_from, way_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.machine import Machine

pytestmark = pytest.mark.one_release

TARGET = "198.51.100.10 7001"
DROP_IN = "/run/systemd/system/byway-gate.service.d/test.conf"
# Nobody waits for that: it is asked to stop, and byway goes on.
UNTIL_GATE_HAS_STOPPED = (
    "while systemctl show -P ActiveState byway-gate | grep -q deactivating; do sleep 0.1; done"
)
# Takes the event of an exec, and never answers.
HANGING = """
import sys, time
from byway_systemd.system import exec_gate
exec_gate.cgroup_of = lambda pid: time.sleep(3600)
from byway_systemd.__main__ import main
sys.exit(main(["daemon", "--gate"]))
"""
HANDLER = (
    "pid = int(open('/sys/fs/cgroup/byway.slice/byway-gate.service/gate/cgroup.procs')"
    ".read().split()[-1])"
)


def gate_with(machine: Machine, byway: Byway, lines: str) -> None:
    """Start the gate anew with a drop-in of the test's."""
    machine.put(DROP_IN, f"[Service]\n{lines}\n")
    machine.run("systemctl daemon-reload; systemctl restart byway-gate")
    byway.settle("$['placement']['exec_gate'] == 'active'")


@pytest.fixture(autouse=True)
def as_installed(machine: Machine) -> Iterator[None]:
    """Take the test's drop-in away."""
    yield
    again = "systemctl daemon-reload; systemctl try-restart byway-gate"
    machine.run(f"test ! -e {DROP_IN} || {{ rm {DROP_IN}; {again}; }}")


@pytest.fixture(autouse=True)
def captured_where_it_runs(request: pytest.FixtureRequest) -> None:
    """Whatever is done to the gate."""
    if "running" in request.fixturenames:
        request.getfixturevalue("captured")


def times_said(machine: Machine, text: str) -> int:
    """How often the gate's journal has it."""
    log = machine.run("journalctl -b -u byway-gate -o cat").stdout
    return log.count(text)


def handler(machine: Machine, byway: Byway) -> int:
    """The pid of the process that answers."""
    main = byway.main_pid("byway-gate")
    return int(machine.get(f"/proc/{main}/task/{main}/children").split()[0])


def timed(machine: Machine, command: str) -> tuple[float, str]:
    """Run a command; the seconds it took inside the machine, and what it printed."""
    source = (
        "import subprocess, time; begin = time.monotonic();"
        "done = subprocess.run(args['command'], shell=True, capture_output=True, text=True);"
        "result = [time.monotonic() - begin, done.stdout]"
    )
    seconds, output = machine.python(source, command=command)
    return float(seconds), str(output)


@pytest.mark.parametrize("number", ["STOP", "KILL"])
def test_handler_that_is_stopped_or_killed(machine: Machine, running: Byway, number: str) -> None:
    """Half a second at most, and what went on without the gate is the mover's to place."""
    first, gate = handler(machine, running), running.main_pid("byway-gate")
    said = times_said(machine, "started anew")
    plain, _ = timed(machine, f"{LISTED} {TARGET}")
    machine.run(f"kill -{number} {first}")
    seconds, output = timed(machine, f"{LISTED} -w 1 {TARGET}")
    assert way_in(output) == "wwan0"
    # 0.40 s as measured where nothing is emulated; this machine is, and others run beside it.
    assert seconds - 1 - plain < 1.0
    machine.wait_until(
        "len(open(args['path']).read().split()) == 1",
        path=f"/proc/{running.main_pid('byway-gate')}/task/{running.main_pid('byway-gate')}/children",
    )
    assert handler(machine, running) != first
    machine.wait_until(
        "__import__('subprocess').getoutput(args['log']).count('started anew') > args['said']",
        log="journalctl -b -u byway-gate -o cat",
        said=said,
    )
    running.settle()
    assert seen_from(machine, [LISTED], port=LISTED_PORT) == "wwan0"
    assert running.main_pid("byway-gate") == gate


def test_handler_that_hangs(machine: Machine, running: Byway) -> None:
    """It has taken the exec and does not answer."""
    machine.put("/opt/app/hanging.py", HANGING)
    said = times_said(machine, "hung with an exec held")
    line = "ExecStart=\nExecStart=/usr/lib/byway/bin/python3 /opt/app/hanging.py"
    gate_with(machine, running, line)
    for _ in range(2):
        seconds, output = timed(machine, f"{LISTED} -w 1 {TARGET}")
        assert way_in(output) == "wwan0"
        assert 0.3 < seconds - 1 < 2.0
    assert times_said(machine, "hung with an exec held") > said


def test_supervisor_that_is_killed(machine: Machine, running: Byway) -> None:
    """What is held goes on, systemd starts another, and the next launch is right."""
    machine.run(f"kill -STOP {handler(machine, running)}")
    held = machine.spawn([LISTED, "-w", "2", *TARGET.split()])
    machine.run("systemctl kill --kill-whom=main -s KILL byway-gate")
    assert way_in(held.wait_for("10.64.0.2")) == "wwan0"
    held.stop()
    machine.wait_until(
        "'active' == __import__('subprocess').getoutput('systemctl is-active byway-gate')"
    )
    running.settle("$['placement']['exec_gate'] == 'active'")
    assert seen_from(machine, [LISTED], port=LISTED_PORT) == "wwan0"


@pytest.mark.parametrize("files", [524288, 48])
def test_two_hundred_at_once(machine: Machine, running: Byway, files: int) -> None:
    """None is denied, with few descriptors neither, and no packet is in the tunnel."""
    if files != 524288:
        gate_with(machine, running, f"LimitNOFILE={files}")
    printed = machine.run(
        "for i in $(seq 50); do mkdir -p /sys/fs/cgroup/test-$i; done\n"
        "for i in $(seq 200); do (echo 0 >/sys/fs/cgroup/test-$((i % 50 + 1))/cgroup.procs;"
        " exec /opt/app/listed -t 30 198.51.100.10 7001) & done; wait\n"
        "for i in $(seq 50); do rmdir /sys/fs/cgroup/test-$i; done",
        timeout=120,
    ).stdout
    ways = [way_in(line) for line in printed.splitlines()]
    assert ways == ["wwan0"] * 200


def test_upgrade_while_it_runs(machine: Machine, running: Byway) -> None:
    """The next launch after a new file's mark is in is right, and the old one stays."""
    old = machine.spawn([LISTED, "-f", *TARGET.split()])
    old.wait_for("10.64.0.2")
    source = (
        "import os, re, shutil, time\n"
        f"{HANDLER}\n"
        "shutil.copy('/usr/local/bin/probe', '/opt/app/new')\n"
        "inode = os.stat('/opt/app/new').st_ino\n"
        "begin = time.monotonic()\n"
        "os.rename('/opt/app/new', '/opt/app/listed')\n"
        "def marks():\n"
        "    for name in os.listdir(f'/proc/{pid}/fdinfo'):\n"
        "        text = open(f'/proc/{pid}/fdinfo/{name}').read()\n"
        "        if 'fanotify' in text:\n"
        "            return [int(i, 16) for i in re.findall(r'ino:(\\w+)', text)]\n"
        "while inode not in marks() and time.monotonic() < begin + 20:\n"
        "    time.sleep(0.001)\n"
        "result = time.monotonic() - begin\n"
    )
    for _ in range(5):
        assert machine.python(source) < 5.0
        assert seen_from(machine, [LISTED], port=LISTED_PORT) == "wwan0"
    old.write("still\n")
    old.wait_for("10.64.0.2 still")
    old.stop()


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    "sandbox",
    [
        "unshare --user --map-root-user --mount",
        "unshare --mount --pid --fork",
        "bwrap --bind / / --dev /dev --proc /proc --unshare-all --share-net",
    ],
)
def test_sandboxes(machine: Machine, sandbox: str) -> None:
    """A sandbox that keeps the machine's network is seen through."""
    inside = sandbox.split()
    for family in (4, 6):
        assert seen_from(machine, [*inside, LISTED], family=family, port=LISTED_PORT) == "wwan0"
    assert seen_from(machine, [*inside, "probe"]) == "vpn"


def test_failed_exec(machine: Machine, running: Byway) -> None:
    """A program that could not execute a listed one does not stay in the slice."""
    machine.put("/opt/app/no-format", "neither ELF nor #!", 0o755)
    running.configure(RUNNING.replace("]", ', "/opt/app/no-format"]'))
    running.settle("len($['apps']) == 2")
    program = machine.spawn([
        "python3", "-c",
        "import os, sys\ntry: os.execv('/opt/app/no-format', ['x'])\n"
        "except OSError: print(open('/proc/self/cgroup').read(), flush=True); sys.stdin.read()",
    ])  # fmt: skip
    assert "byway-gate.service" in program.wait_for("0::")
    machine.wait_until(
        "'byway' not in open(args['path']).read()", path=f"/proc/{program.pid}/cgroup"
    )
    program.stop()


def test_off_and_on_again(machine: Machine, running: Byway) -> None:
    """It is ended while it is off, and the status says so."""
    state = "systemctl show -P ActiveState -P NRestarts byway-gate"
    for _ in range(2):
        running.configure(RUNNING + '[placement]\ngate = "off"\n')
        running.settle("$['placement']['exec_gate'] == 'off (placement.gate)'")
        machine.run(UNTIL_GATE_HAS_STOPPED)
        assert "inactive" in machine.run(state).stdout.split()
        assert "exec gate off (placement.gate)" in running.run("status").stdout
        running.configure(RUNNING)
        running.settle("$['placement']['exec_gate'] == 'active'")
        assert seen_from(machine, [LISTED], port=LISTED_PORT) == "wwan0"


def test_not_started_where_it_is_off(machine: Machine, byway: Byway) -> None:
    """Not even for a moment: its invocation is the one before."""
    state = "systemctl show -P ActiveState -P InvocationID byway-gate"
    machine.run(UNTIL_GATE_HAS_STOPPED)
    before = machine.run(state).stdout
    assert "inactive" in before
    byway.configure(RUNNING + '[placement]\ngate = "off"\n')
    byway.start()
    assert machine.run(state).stdout == before


def test_kernel_that_cannot(machine: Machine, byway: Byway) -> None:
    """It fails once with the reason, which the status shows, and byway works without it."""
    byway.configure(RUNNING)
    machine.put(DROP_IN, "[Service]\nSystemCallFilter=~fanotify_init:EPERM\n")
    byway.start()
    byway.settle("$['placement']['exec_gate'].startswith('not available: ')")
    shown = byway.run("status").stdout
    assert "exec gate not available: fanotify cannot be used: Operation not permitted" in shown
    assert "a program's first connections may use the VPN" in shown
    assert machine.run("systemctl show -P NRestarts byway-gate").stdout == "0\n"


def test_right_as_soon_as_byway_is_ready(machine: Machine, running: Byway) -> None:
    """`systemctl start byway` returns when the gate holds."""
    for _ in range(3):
        running.stop()
        printed = machine.run(f"systemctl start byway && {LISTED} {TARGET}").stdout
        assert way_in(printed) == "wwan0"


def test_what_is_refused(machine: Machine, running: Byway) -> None:
    """Byway's own interpreter and multi-call programs are not held, and it is said."""
    python = machine.run("readlink -f /usr/bin/python3").stdout.strip()
    machine.run("ln -sf $(command -v busybox) /opt/app/wget")
    running.configure(f'interface = "wwan0"\napps = ["{python}"]\n')
    running.settle("len($['apps']) == 1")
    assert "busybox is many programs in one file" in running.run("add /opt/app/wget").stderr
    running.settle("len($['apps']) == 2")
    checked = running.run("config check").stderr
    shown = running.run("status", check=False).stdout
    for text in (checked, shown):
        assert f"{python} is part of byway or of what it works with" in text
        assert "busybox is many programs in one file" in text
    where = machine.run(["python3", "-c", "print(open('/proc/self/cgroup').read())"]).stdout
    assert "byway" not in where
