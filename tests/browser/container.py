"""A booted Debian 13 with byway and Cockpit, as a container with a network of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from booted.image import image_for, report
from booted.payload import byway_tar, overlay
from netns.world import find_cgroup2

if TYPE_CHECKING:
    from collections.abc import Callable

# What each test finds.
START = 'interface = "wwan0"\nreconcile = "0"\napps = ["/usr/bin/curl"]\n'
PASSWORD = "correct horse"  # noqa: S105 - of everybody in there
# alice may use sudo, bob nothing, carol is a member of the group byway.
PEOPLE = f"""
usermod --append --groups sudo alice
useradd --create-home --shell /bin/bash --groups byway carol
for name in alice bob carol; do echo "$name:{PASSWORD}"; done | chpasswd
"""
# wwan0 is the direct link, wlan0 the way to the VPN's server; what leaves goes to a namespace that
# answers nothing. The VPN is a tun device that a program outside holds open. Addresses are there at
# once: Chromium gives up what it loads when one comes.
NETWORK = """
sysctl --quiet net.ipv6.conf.default.accept_dad=0
ip netns add outside
for link in wwan0=10.64.0 wlan0=192.168.1; do
    name=${link%=*} net=${link#*=}
    ip link add $name type veth peer name $name netns outside
    ip address add $net.10/24 dev $name
    ip link set $name up
    ip -n outside address add $net.1/24 dev $name
    ip -n outside link set $name up
done
ip route add default via 192.168.1.1 dev wlan0
ip route add default via 10.64.0.1 dev wwan0 metric 700
ip address add 10.8.0.2/24 dev tun0
ip link set tun0 up
ip route add 0.0.0.0/1 dev tun0
ip route add 128.0.0.0/1 dev tun0
"""
# What a test may have changed, and how it is put right; the list of bypassed destinations and what
# waits to be confirmed stand in /var/lib/byway.
LEFT = """
systemctl is-active byway; cat /etc/byway/byway.toml
find /etc/byway/conf.d /run/byway/conf.d -type f
find /var/lib/byway -type f -size +0 ! -name hosts.json
"""
CONFIGURE = "curl -sS --unix-socket /run/byway/byway.sock -T - http://localhost/api/v1/config"
FRESH = """
systemctl stop byway; systemctl reset-failed 'byway*' || true
rm -rf /etc/byway/conf.d/* /run/byway/conf.d /var/lib/byway/*
cat >/etc/byway/byway.toml; systemctl start byway
"""
# linux/if_tun.h: TUNSETIFF, IFF_TUN | IFF_NO_PI. Reads, and throws away, what the VPN is to carry.
TUNNEL = """
import fcntl, os, struct
tunnel = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tunnel, 0x400454CA, struct.pack("16sH", b"tun0", 0x1001))
os.write(1, b"up")
while os.read(tunnel, 65536):
    pass
"""
# The test machine's own agent, for a serial port that is not there.
_MASKED = ("booted-agent.service", "booted-shell.service")
PATIENCE = 30.0


class Container:
    """One container; a context manager that boots it and takes it away."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self.leader = 0
        self._name = f"byway-{secrets.token_hex(3)}"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Boot."""
        with ExitStack() as stack:
            self._boot(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Pull the plug."""
        self._stack.close()

    @property
    def root(self) -> Path:
        """Its files, from outside."""
        return Path(f"/proc/{self.leader}/root")

    def run(
        self, *command: str, check: bool = True, typed: str = "", timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root; one word is a shell's line."""
        words = command if len(command) > 1 else ("bash", "-euc", *command)
        inside = ["nsenter", "--target", str(self.leader), "--all", "--", *words]
        done = subprocess.run(
            inside, input=typed, capture_output=True, text=True, check=False, timeout=timeout
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def journal(self, *units: str) -> str:
        """Return the last lines that these units wrote."""
        chosen = [f"--unit={unit}" for unit in units]
        return self.run("journalctl", "--no-pager", "--lines=80", *chosen, check=False).stdout

    def start_over(self) -> None:
        """Let byway run as START has it, whatever it was before; restart it where that must be."""
        wanted = f"active\n{START}"
        for put_right in (CONFIGURE, FRESH):
            if self.run(LEFT, check=False).stdout == wanted:
                return
            self.run(put_right, typed=START, check=put_right == FRESH)
        assert self.run(LEFT, check=False).stdout == wanted

    def _boot(self, stack: ExitStack) -> None:
        assert os.geteuid() == 0, "these tests boot a container: run them as root"
        image = image_for("13")
        tar = byway_tar(image)
        started = time.monotonic()
        root, _ = stack.enter_context(overlay(image.root))
        subprocess.run(["tar", "-xpf", str(tar), "-C", str(root)], check=True)
        (root / "etc/fstab").write_text("")
        for unit in _MASKED:
            (root / "etc/systemd/system" / unit).unlink(missing_ok=True)
            (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
        self._spawn(root, stack)
        until(self._is_up, "the container did not boot")
        self._join_network(stack)
        self.run(PEOPLE)
        report(f"booted the container in {time.monotonic() - started:.1f} s")

    def _spawn(self, root: Path, stack: ExitStack) -> None:
        """Start systemd in there, in a cgroup of its own: another container may run beside it."""
        cgroup = find_cgroup2() / self._name
        cgroup.mkdir()
        stack.callback(_remove_cgroup, cgroup)
        log = stack.enter_context((root / "var/log/console").open("wb"))
        nspawn = subprocess.Popen(
            [
                *("bash", "-c", 'echo 0 >"$0" && exec "$@"', str(cgroup / "cgroup.procs")),
                # It never outlives the tests, however they end.
                *("setpriv", "--pdeathsig", "KILL"),
                *("systemd-nspawn", "--quiet", "--boot", f"--machine={self._name}"),
                *(f"--directory={root}", "--private-network", "--register=no", "--keep-unit"),
                *("--console=pipe", "--link-journal=no", "--resolv-conf=off", "--settings=no"),
                "--timezone=off",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )
        self._nspawn = nspawn
        stack.callback(nspawn.wait)
        stack.callback(nspawn.kill)  # which systemd dies with
        stack.callback(self._kill_leader)

    def _kill_leader(self) -> None:
        """End systemd first: nspawn cleans up behind it."""
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.kill(self.leader or self._nspawn.pid, signal.SIGKILL)
            self._nspawn.wait(5)

    def _is_up(self) -> bool:
        """Return whether systemd has booted; nspawn has another child before that one."""
        pid = self._nspawn.pid
        assert self._nspawn.poll() is None, "nspawn has ended"
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.leader = int(children[-1]) if children else 0
        if not self.leader:
            return False
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def _join_network(self, stack: ExitStack) -> None:
        tunnel = subprocess.Popen(
            ["nsenter", f"--net=/proc/{self.leader}/ns/net", "/usr/bin/python3", "-c", TUNNEL],
            stdout=subprocess.PIPE,
        )
        stack.callback(tunnel.wait)
        stack.callback(tunnel.kill)
        assert tunnel.stdout
        stack.callback(tunnel.stdout.close)
        assert tunnel.stdout.read(2) == b"up"
        self.run(NETWORK)


def until(holds: Callable[[], object], otherwise: str, patience: float = PATIENCE) -> None:
    """Wait until something holds."""
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)


def _remove_cgroup(top: Path) -> None:
    """Remove a cgroup and all below it; what was killed leaves them a moment later."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            for path in sorted(top.rglob("*/"), reverse=True):
                path.rmdir()
            top.rmdir()
            return
        time.sleep(0.05)
