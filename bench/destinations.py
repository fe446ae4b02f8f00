#!/usr/bin/env python3
"""Measures what many bypassed destinations cost: to load, to change, and a packet; as root.

  .venv/bin/python bench/destinations.py [--count N]

Everything happens in a network namespace of its own, on this machine's kernel. A packet is a UDP
datagram of a new flow each, sent to a destination that is not in the set, and to one that is; the
set-ups take turns, so that the machine's other work falls on all alike.
"""

from __future__ import annotations

import argparse
import ctypes
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from byway_systemd.core.config import Config, Profile  # noqa: E402
from byway_systemd.core.desired import desire  # noqa: E402
from byway_systemd.core.observed import Observed  # noqa: E402
from byway_systemd.core.operations import ReplaceTable  # noqa: E402
from byway_systemd.core.parse import ConfigFile, parse_config  # noqa: E402
from byway_systemd.core.plan import plan  # noqa: E402
from byway_systemd.system.nftables import Nftables  # noqa: E402
from byway_systemd.system.routing import Routing  # noqa: E402

if TYPE_CHECKING:
    from byway_systemd.core.nftables import NftTable

SIZES = (0, 10, 1_000, 100_000)
INSIDE, OUTSIDE = "11.0.0.0", "198.51.100.1"
PACKETS = 2_000
_CLONE_NEWNET = 0x40000000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5, help="rounds (default 5)")
    count = parser.parse_args().count
    enter_namespace()
    tables = {size: build(size) for size in SIZES}
    packets: dict[tuple[int, str], list[float]] = {}
    with Nftables() as nftables:
        for _ in range(count):
            for size, table in tables.items():
                nftables.replace_table(table)
                for where in (OUTSIDE, INSIDE):
                    packets.setdefault((size, where), []).append(send(where))
        measure_changes(nftables, tables[SIZES[-1]])
    measure_looks()
    for size in SIZES:
        out, inside = (statistics.median(packets[size, where]) for where in (OUTSIDE, INSIDE))
        print(f"{size:>7} destinations: {out:6.2f} us a packet to others, {inside:6.2f} to them")


def enter_namespace() -> None:
    """Enter a network namespace with a link that swallows what is sent."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare (are you root?)")
    for words in (
        "link set lo up",
        "link add direct0 type veth peer name there0",
        "link set direct0 up",
        "link set there0 up",
        "address add 10.1.0.1/24 dev direct0",
        "neighbour add 10.1.0.2 lladdr 02:00:00:00:00:02 dev direct0",
        "route add default via 10.1.0.2",
    ):
        subprocess.run(["ip", *words.split()], check=True)


def build(size: int) -> NftTable:
    """Return byway's table for so many destinations, saying how long each step took."""
    began = time.perf_counter()
    lines = "".join(f"11.{n >> 16}.{n >> 8 & 255}.{n & 255}\n" for n in range(0, 2 * size, 2))
    config = parse_config((ConfigFile("list", lines, is_list=True),))
    read = time.perf_counter()
    config = Config(profiles=(Profile(interface="direct0"),), traffic=config.traffic)
    with Routing() as routing:
        observed = Observed(
            links=routing.observe_links(),
            routes=routing.observe_routes(),
            cgroup_ids=(("/byway.slice", 1),),
        )
    operations = plan(desire(config), observed)
    table = next(o.table for o in operations if isinstance(o, ReplaceTable))
    planned = time.perf_counter()
    with Nftables() as nftables:
        nftables.replace_table(table)
    loaded = time.perf_counter()
    times = f"read {read - began:.3f} s, planned {planned - read:.3f} s"
    print(f"{size:>7} destinations: {times}, loaded {loaded - planned:.3f} s")
    return table


def measure_changes(nftables: Nftables, table: NftTable) -> None:
    """Print how long one more destination takes in the full set."""
    nftables.replace_table(table)
    kind = next(s.kind for s in table.sets if s.name == "direct_destinations4")
    times = []
    for number in range(20):
        began = time.perf_counter()
        nftables.update_set("byway", "direct_destinations4", kind, [f"12.0.0.{2 * number}/32"], [])
        times.append(time.perf_counter() - began)
    print(f"one more among {SIZES[-1]}: {1000 * statistics.median(times):.2f} ms")


def measure_looks() -> None:
    """Print how long a look at the table takes after somebody else has changed one of his."""
    for follows in (False, True):
        with Nftables() as nftables:
            if follows:
                nftables.follow("byway")
            times = []
            for number in range(6):
                subprocess.run(["nft", f"add table other{number}"], check=True)
                began = time.perf_counter()
                nftables.observe_table("byway")
                times.append(time.perf_counter() - began)
        how = "following what is committed" if follows else "not following"
        milliseconds = 1000 * statistics.median(times)
        print(f"a look after others' commit, {how}: {milliseconds:.2f} ms")


def send(address: str) -> float:
    """Return the processor's microseconds for a datagram of a new flow."""
    began = time.process_time()
    for _ in range(PACKETS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x" * 64, (address, 9))
    return (time.process_time() - began) / PACKETS * 1e6


if __name__ == "__main__":
    main()
