#!/usr/bin/env python3
"""Measures how long the start of a program waits while clients keep the API busy.

`sudo .venv/bin/python bench/api_load.py [--count 300]`: a daemon over the tests' fake system, but
that the long lists are in this machine's kernel, in a network namespace of their own.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from latency import busy, many_destinations, measure
from served import serve

MANY = 100_000
ROUNDS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    count = parser.parse_args().count
    for name, readers, writers in (
        ("nobody asks", 0, 0),
        ("8 readers", 8, 0),
        ("40 readers", 40, 0),
        ("8 writers", 0, 8),
    ):
        with serve() as served:
            served.get("/state")
            with busy(served, readers, writers) as clients:
                waited = measure(served, count)
        show(name, waited, f"{clients.asked} rounds of theirs")
    with serve(long="kernel") as served, ThreadPoolExecutor() as pool:
        waited = []
        for number in range(ROUNDS):  # all are new, then one goes and one comes
            many = many_destinations(MANY, 2 * (number // 2) * MANY + 2 * number)
            asking = pool.submit(served.ask, "PUT", "/bypass", many)
            while not asking.done():
                waited += measure(served, 1)
            assert asking.result().status == 200
        show(f"{MANY} destinations", sorted(waited), f"{ROUNDS} times")


def show(name: str, waited: list[float], times: str) -> None:
    """Print a line of sorted seconds."""
    middle, late, most = (
        1000 * waited[place] for place in (len(waited) // 2, len(waited) * 99 // 100, -1)
    )
    print(f"{name}: median {middle:.1f} ms, 99 % {late:.1f} ms, most {most:.1f} ms ({times})")


if __name__ == "__main__":
    main()
