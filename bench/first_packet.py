#!/usr/bin/env python3
"""Measures how often a listed program's first packet is right, and what that costs; as root.

  bench/first_packet.py [--count N]                  on this machine's kernel
  bench/first_packet.py --machine 13 [--count N]     on a booted machine (half an hour with 1,000)

Right is, here, a SYN whose socket is in the slice by the kernel's own match (nftables, `socket
cgroupv2`), in a network of the bench's own; there, an answer that came by the direct link.
Isolated is 100 to 200 ms apart; a burst is without a pause, on the booted machine four at a time.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from booted.laptop import LISTED, Byway  # noqa: E402
from booted.machine import Machine  # noqa: E402
from booted.topology import Topology  # noqa: E402
from system.gate_lab import Lab  # noqa: E402

from byway_systemd.system.process_events import ExecEvents, LostEventsError  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
UNRELATED = 10_000
AT_ONCE = 25  # launches that the booted machine is asked for: a slow one takes a minute
LATENCIES = 1000
# How a program gets into the slice, and the setting of the gate for it.
PLACEMENTS = {"gate": "auto", "watcher alone": "off", "launcher (byway run)": "off"}
NFT = """
table inet bench {
  counter right { }
  counter wrong { }
  chain output {
    type filter hook output priority 0;
    tcp flags & (syn|ack) != syn accept
    socket cgroupv2 level 2 "byway.slice" counter name right accept
    counter name wrong
  }
}
"""


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", choices=["12", "13"], help="Debian's release")
    parser.add_argument("--count", type=int, default=1000, help="launches of a kind (1000)")
    parser.add_argument("--only", choices=list(PLACEMENTS), help="one placement, with --machine")
    options = parser.parse_args()
    if options.machine:
        placements = [options.only] if options.only else list(PLACEMENTS)
        measure_booted(options.machine, options.count, placements)
    else:
        measure_here(options.count)


def measure_here(count: int) -> None:
    """Measure on this machine's kernel, without systemd."""
    events = ExecEvents()  # they are of the first network namespace alone
    if ctypes.CDLL(None).unshare(CLONE_NEWNET):
        sys.exit("first_packet: must run as root")
    run("ip", "link", "set", "lo", "up")
    print(f"Linux {os.uname().release}, {os.cpu_count()} processors, {count} launches of a kind\n")
    with tempfile.TemporaryDirectory() as name, listener() as port:
        folder = Path(name)
        program, other = folder / "connect", folder / "unlisted"
        run("gcc", "-O1", "-static", "-o", program, ROOT / "bench" / "connect.c")
        run("cp", program, other)
        curl = folder / "curl"
        run("cp", run("sh", "-c", "command -v curl").strip(), curl)
        (folder / "gate").mkdir()
        row("first packet right", "program", "isolated", "in bursts")
        commands = {
            "connect": [program, "127.0.0.1", str(port)],
            "curl": [curl, "-s", "-m", "5", f"http://127.0.0.1:{port}/"],
        }
        bare = latencies([other, "127.0.0.1", str(port)])
        with Lab(folder / "gate", f'apps = ["{program}", "{curl}"]\n') as lab:
            for kind, command in commands.items():
                number = count if kind == "connect" else min(count, 300)
                shares = [share(lab, command, number, pause) for pause in (True, False)]
                row("gate", kind, *shares)
            print_cost(lab, program, other, port, bare)
        (folder / "none").mkdir()
        with Lab(folder / "none", "") as lab:
            (lab.root / "byway.slice/launched").mkdir()
            for kind, command in commands.items():
                few = min(count, 300)
                with watcher(events, lab, {str(program), str(curl)}):
                    shares = [share(lab, command, few, pause) for pause in (True, False)]
                row("watcher alone", kind, *shares)
                enter = f'echo 0 >{lab.root}/byway.slice/launched/cgroup.procs; exec "$@"'
                words = ["sh", "-c", enter, "sh", *command]
                number = count if kind == "connect" else few
                shares = [share(lab, words, number, pause) for pause in (True, False)]
                row("launcher (byway run)", kind, *shares)


def share(lab: Lab, command: list[str | Path], count: int, pause: bool) -> str:  # noqa: FBT001
    """Launch; return how many SYNs were of sockets in the slice."""
    # In the gate's namespace, where nft(8) finds the lab's cgroups at the usual place.
    enter = ("nsenter", f"--mount=/proc/{lab.gate.pid}/ns/mnt")
    run(*enter, "nft", "-f", "-", text="table inet bench\ndelete table inet bench\n" + NFT)
    session = f"echo 0 >{lab.root}/session/cgroup.procs"
    words = " ".join(f"'{word}'" for word in command)
    wait = "sleep 0.$((RANDOM % 100 + 100))" if pause else ":"
    loop = f"{session}; for ((i = 0; i < {count}; i++)); do {words} >/dev/null; {wait}; done"
    subprocess.run(["bash", "-c", loop], check=False)
    listed = run("nft", "list", "counters", "table", "inet", "bench").split()
    packets = [int(listed[i + 1]) for i, word in enumerate(listed) if word == "packets"]
    names = [listed[i + 1] for i, word in enumerate(listed) if word == "counter"]
    found = dict(zip(names, packets, strict=True))
    return f"{found['right']}/{found['right'] + found['wrong']}"


@contextmanager
def watcher(events: ExecEvents, lab: Lab, listed: set[str]) -> Iterator[None]:
    """Do what the mover does, without the manager's 2 ms: hear of an exec, write the cgroup."""
    stopped = threading.Event()
    with suppress(LostEventsError):
        events.read()  # of what was before
    own = str(lab.root / "byway.slice/launched/cgroup.procs")

    def move() -> None:
        while not stopped.is_set():
            if not select.select([events.fileno()], [], [], 0.1)[0]:
                continue
            for pid in events.read():
                with suppress(OSError):
                    if os.readlink(f"/proc/{pid}/exe") in listed:
                        target = os.open(own, os.O_WRONLY)
                        try:
                            os.write(target, str(pid).encode())
                        finally:
                            os.close(target)

    thread = threading.Thread(target=move)
    thread.start()
    yield
    stopped.set()
    thread.join()


def print_cost(lab: Lab, program: Path, other: Path, port: int, bare: list[float]) -> None:
    """Print what an exec costs more, and what the gate takes of unrelated ones."""
    (lab.root / "session/cgroup.procs").write_text("0")  # what is started is born there
    words = ["127.0.0.1", str(port)]
    print()
    row("launch to end, ms", "median", "p99", "")
    row("not listed, no gate", *spread(bare))
    row("not listed, gate active", *spread(latencies([other, *words])))
    row("listed, in a burst", *spread(latencies([program, *words])))
    row("not listed, isolated", *spread(latencies([other, *words], 0.15, 200)))
    row("listed, isolated", *spread(latencies([program, *words], 0.15, 200)))
    before = cpu(lab)
    for _ in range(UNRELATED):
        launch([other, *words])
    print(f"\nthe gate's CPU for {UNRELATED} unrelated execs: {cpu(lab) - before:.2f} s\n")
    (lab.root.parent / "cgroup.procs").write_text("0")
    row("first packet right", "program", "isolated", "in bursts")


def latencies(command: list[str | Path], pause: float = 0, count: int = LATENCIES) -> list[float]:
    """Launch one after the other; return how long each took, in ms."""
    found = []
    for _ in range(count):
        if pause:
            time.sleep(pause * random.uniform(0.7, 1.3))
        begin = time.perf_counter()
        launch(command)
        found.append((time.perf_counter() - begin) * 1000)
    return found


def launch(command: list[str | Path]) -> None:
    """Run a program to its end, with as little besides as there can be."""
    words = [str(word) for word in command]
    os.waitpid(os.posix_spawn(words[0], words, {}), 0)


def spread(values: list[float]) -> tuple[str, str, str]:
    """Median and p99."""
    return f"{statistics.median(values):.2f}", f"{statistics.quantiles(values, n=100)[98]:.2f}", ""


def cpu(lab: Lab) -> float:
    """Seconds of CPU that supervisor and handler have taken."""
    ticks = 0
    for pid in (lab.gate.pid, lab.handler):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def listener() -> Iterator[int]:
    """Accept and answer on a port of loopback."""
    server = socket.create_server(("127.0.0.1", 0), backlog=1000)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                client.setblocking(False)
                with client, suppress(OSError):
                    client.send(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]


GUEST = """
import collections, random, subprocess, time
from concurrent.futures import ThreadPoolExecutor
def launch(_):
    done = subprocess.run(args["command"], capture_output=True, text=True)
    if args["pause"]:
        time.sleep(random.uniform(0.1, 0.2))
    return (done.stdout.split() or ["none"])[0]
with ThreadPoolExecutor(1 if args["pause"] else 4) as launchers:
    result = collections.Counter(launchers.map(launch, range(args["count"])))
"""


def measure_booted(release: str, count: int, placements: list[str]) -> None:
    """Measure on a booted machine, with the VPN up: by which link the answer came."""
    with Machine(release) as machine:
        topology, byway = Topology(machine), Byway(machine)
        print(f"Debian {release}, {machine.run('uname -r').stdout.strip()}, emulated\n")
        config = f'interface = "wwan0"\napps = ["{LISTED}", "/usr/bin/curl"]\n'
        topology.vpn_up()
        probe, curl = ["198.51.100.10", "7000"], ["-sS", "-m", "9", "http://198.51.100.10/"]
        row("first packet right", "program", "isolated", "in bursts")
        for name in placements:
            byway.configure(f'{config}[placement]\ngate = "{PLACEMENTS[name]}"\n')
            byway.start()
            byway.settle()
            if name == "launcher (byway run)":
                words = ["byway", "run", "--", "probe", *probe]
                row(name, "probe", *booted_shares(machine, words, count))
                continue
            few = count if name == "gate" else min(count, 100)
            for kind, command in (("probe", [LISTED, *probe]), ("curl", ["/usr/bin/curl", *curl])):
                number = few if kind == "probe" else min(few, 200)  # curl takes a second there
                row(name, kind, *booted_shares(machine, command, number))


def booted_shares(machine: Machine, command: list[str], count: int) -> list[str]:
    """Return how many of ``count`` bursts, and a fifth as many isolated launches, were right."""
    shares = []
    for number, pause in ((max(20, count // 5), True), (count, False)):
        right = 0
        for done in range(0, number, AT_ONCE):
            few = min(AT_ONCE, number - done)
            counts = machine.python(GUEST, timeout=900, command=command, count=few, pause=pause)
            right += counts.get("10.64.0.2", 0)
            print(f"\r{done + few}/{number}", end="", file=sys.stderr, flush=True)
        shares.append(f"{right}/{number}")
    return shares


def run(*command: str | Path, text: str = "") -> str:
    """Run a tool; return what it printed."""
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, capture_output=True, text=True, input=text).stdout


def row(*cells: str) -> None:
    """Print a row of a table."""
    print(f"{cells[0]:<26}" + "".join(f"{cell:>14}" for cell in cells[1:]), flush=True)


if __name__ == "__main__":
    main()
