"""byway on the machine, as its user works with it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from booted.machine import Machine, Result
    from booted.topology import Topology

CONFIG = "/etc/byway/byway.toml"
STATUS = "/run/byway/status.json"
LISTED = "/opt/app/listed"
# What the tests share that need byway running with the VPN up. Without the timer: what heals, heals
# by events.
RUNNING = f'interface = "wwan0"\nreconcile = "0"\napps = ["{LISTED}"]\n'
# byway's rule in front of everybody's, as `ip rule` shows it.
FIRST = r"^0:.*\n.*lookup byway"
_AS_CONFIGURED = (
    f"[app['app'] for app in $['apps']] == [{LISTED!r}]"
    " and [(p['link'], p['state'], p['when_down']) for p in $['profiles']]"
    " == [('wwan0', 'up', 'block')]"
    " and $['placement']['exec_gate'] == $['placement']['socket_marker'] == 'active'"
)

# What a stopped byway must leave as it found it.
TRACES = (
    "ip rule",
    "ip -6 rule",
    "ip route show table all",
    "ip -6 route show table all | grep -v '^ff00::/8\\|expires'",
    "nft list ruleset",
    "sysctl -a -r 'net.ipv[46].conf..*.(src_valid_mark|rp_filter|router_probe_interval)'",
    "find /run/systemd/system -name '*byway*'",
)

# Sends a datagram from a new socket every few milliseconds, and notes by which link each answer
# says it came. Prints "TIME WAY" lines, the time in seconds of the monotonic clock. Given a cgroup,
# it waits until that is made anew, and begins in it at once.
PINGER = """
import os, select, socket, sys, time
links = {"10.64.0.2": "direct", "192.168.1.10": "wlan0", "203.0.113.9": "vpn"}
poll, open_sockets = select.poll(), {}
def report(answered, sent):
    try:
        address = answered.recv(100).split()[0].decode()
        print(f"{sent:.4f} {links.get(address, address)}", flush=True)
    except OSError:
        print(f"{sent:.4f} refused", flush=True)
def number_of(cgroup):
    try:
        return os.stat(cgroup).st_ino
    except FileNotFoundError:
        return None
old = [number_of(cgroup) for cgroup in sys.argv[2:]]
print("ready", flush=True)
for cgroup in sys.argv[2:]:
    while number_of(cgroup) in (None, *old):
        time.sleep(0.001)
    os.mkdir(f"{cgroup}/pinger")
    with open(f"{cgroup}/pinger/cgroup.procs", "w") as file:
        file.write("0")
    print(f"{time.monotonic():.4f} entered", flush=True)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    now = time.monotonic()
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sender.sendto(b"?\\n", ("198.51.100.10", 7001))
        open_sockets[sender.fileno()] = (sender, now)
        poll.register(sender, select.POLLIN)
    except OSError:
        print(f"{now:.4f} refused", flush=True)
    for number, _ in poll.poll(5):
        poll.unregister(number)
        report(*open_sockets.pop(number))
    time.sleep(0.005)
while open_sockets and (answers := poll.poll(1000)):  # what is under way still
    for number, _ in answers:
        poll.unregister(number)
        report(*open_sockets.pop(number))
for sender, sent in open_sockets.values():
    print(f"{sent:.4f} lost", flush=True)
"""


class Byway:
    """byway on one machine."""

    def __init__(self, machine: Machine) -> None:
        """Prepare what the tests list: copies of the probe, so that each is a file of its own."""
        self.machine = machine
        machine.run(
            "mkdir -p /opt/app /etc/byway; cp -n $(command -v probe) /opt/app/listed;"
            "cp -n $(command -v probe) /opt/app/real; ln -sf real /opt/app/link;"
            "printf '#!/bin/sh\\nprobe \"$@\"\\n' >/opt/app/script; chmod 755 /opt/app/script"
        )

    def configure(self, text: str) -> None:
        """Write the configuration, as an editor does: all at once."""
        self.machine.put(CONFIG + ".new", text)
        self.machine.run(["mv", CONFIG + ".new", CONFIG])

    def start(self) -> None:
        """`systemctl start byway`, with the generator's drop-ins in effect as after a boot."""
        self.machine.run(["systemctl", "daemon-reload"])
        self.machine.run(["systemctl", "start", "byway"])

    def stop(self) -> None:
        """`systemctl stop byway`."""
        self.machine.run(["systemctl", "stop", "byway"])

    def remove(self) -> None:
        """Stop it and take its configuration away, the list of bypassed destinations too.

        What systemd generated goes with the reload that the next ``start`` begins with: each takes
        seconds of every test.
        """
        self.stop()
        self.machine.run(
            "rm -rf /etc/byway/* /var/lib/byway/* /etc/systemd/system/*.d;"
            "systemctl reset-failed; systemctl stop byway.slice 2>/dev/null; true"
        )

    def run_as_shared(self, topology: Topology, *, runs: bool) -> None:
        """Bring it to how the tests share it: RUNNING, with the VPN up; ``runs`` when it does."""
        self.configure(RUNNING)
        topology.vpn_up()
        if not runs:
            self.start()
        self.wait_for_rules(FIRST)
        self.settle(_AS_CONFIGURED)

    def run(self, arguments: str, *, check: bool = True) -> Result:
        """A byway command."""
        return self.machine.run(f"byway {arguments}", check=check)

    def status(self) -> dict[str, Any]:
        """What the daemon published last."""
        return dict(json.loads(self.machine.get(STATUS)))

    def foreign_rules(self) -> str:
        """Everybody else's routing rules, with their preferences, in order."""
        shown = self.machine.run("ip -4 rule; echo; ip -6 rule").stdout
        return "\n".join(line for line in shown.splitlines() if "lookup byway" not in line)

    def wait_for_rules(self, pattern: str) -> None:
        """Wait until the kernel's rules match, IPv4 and IPv6.

        What byway published just after somebody changed them can be from before that.
        """
        self.machine.wait_until(
            "all(__import__('re').search(args['pattern'], __import__('subprocess').check_output("
            "['ip', family, 'rule'], text=True)) for family in ('-4', '-6'))",
            pattern=pattern,
        )

    def settle(self, condition: str = "True", timeout: float = 15) -> None:
        """Wait until the daemon says that all is in sync and ``condition`` holds of its status."""
        test = "not s['drift'] and not s['failures'] and bool(eval(args['extra']))"
        self.machine.wait_until(
            f"(lambda s: {test})(__import__('json').load(open('{STATUS}')))",
            timeout=timeout,
            extra=condition.replace("$", "s"),
        )

    def traces(self) -> str:
        """Everything of the machine that byway could have left something in."""
        return self.machine.run("; ".join(TRACES)).stdout

    def main_pid(self, unit: str = "byway") -> int:
        """The main process of a service."""
        shown = self.machine.run(["systemctl", "show", "-P", "MainPID", unit])
        return int(shown.stdout)

    def heal(self, event: str, seconds: float = 4.0, *, joins: str = "") -> list[tuple[float, str]]:
        """Ping from inside the slice while ``event`` (a shell command) happens.

        Returns (seconds since the event's start, what became of the datagram), in order. With
        ``joins``, a cgroup that the event makes anew, it pings from there, and the time counts from
        then on.
        """
        self.machine.put("/opt/app/pinger.py", PINGER)
        command = ["python3", "/opt/app/pinger.py", str(seconds)]
        in_slice = ["systemd-run", "--slice=byway.slice", "--scope", "-q", *command]
        pinger = self.machine.spawn([*command, joins] if joins else in_slice)
        pinger.wait_for("ready")
        time.sleep(0.5)
        source = (
            "import subprocess, time; begin = time.monotonic();"
            "subprocess.run(args['event'], shell=True, check=True); result = begin"
        )
        begin = float(self.machine.python(source, event=event))
        pinger.wait(timeout=seconds + 30)
        lines = [line.split() for line in pinger.output().splitlines() if line[:1].isdigit()]
        if joins:
            assert lines[0][1] == "entered", lines[:1]
            begin = float(lines.pop(0)[0])
        return sorted((float(moment) - begin, way) for moment, way in lines)


def time_to_heal(pings: list[tuple[float, str]]) -> float:
    """Seconds from the event to the first datagram after which all went by the direct link."""
    wrong = [moment for moment, way in pings if moment >= 0 and way != "direct"]
    if not wrong:
        return 0.0
    healed = [moment for moment, _ in pings if moment > wrong[-1]]
    assert healed, f"it never healed: {pings[-5:]}"
    return healed[0]
