#!/usr/bin/env python3
"""Measures how long the start of a program waits while clients keep the API busy.

`.venv/bin/python bench/api_load.py [--count 300]`; a daemon over the tests' fake system, no root.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from latency import busy, measure
from served import serve


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
                waited = [1000 * seconds for seconds in measure(served, count)]
        middle, late = waited[len(waited) // 2], waited[len(waited) * 99 // 100]
        shown = f"median {middle:.1f} ms, 99 % {late:.1f} ms, most {waited[-1]:.1f} ms"
        print(f"{name}: {shown} ({clients.asked} rounds of theirs)")


if __name__ == "__main__":
    main()
