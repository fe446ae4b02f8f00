#!/usr/bin/env python3
"""Sends raw bytes to the API of a daemon over a fake system: answers, time, memory, descriptors.

`bench/fuzz_socket.py [--count 100000]`; needs the checkout's .venv, and no root.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from raw_requests import make_raw
from served import Served, serve, until

WORKERS = 4
ROUNDS = 4


def fuzz(served: Served, count: int, seed: int) -> Counter[int]:
    generator = random.Random(seed)
    seen: Counter[int] = Counter()
    for _ in range(count):
        data = make_raw(generator)
        answer = served.send(data)
        statuses = [int(found) for found in re.findall(rb"(?:^|\n)HTTP/1\.1 (\d{3}) ", answer)]
        if any(status >= 500 for status in statuses):
            raise SystemExit(f"{data!r} was answered {answer!r}")
        seen.update(statuses)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    count = parser.parse_args().count
    with serve() as served, ThreadPoolExecutor(WORKERS) as pool:
        fuzz(served, 1000, 0)
        descriptors, memory = served.descriptors(), served.memory()
        started = time.monotonic()
        seen: Counter[int] = Counter()
        sizes = [memory]
        for first in range(1, ROUNDS * WORKERS, WORKERS):
            share = [count // ROUNDS // WORKERS] * WORKERS
            for found in pool.map(fuzz, [served] * WORKERS, share, range(first, first + WORKERS)):
                seen.update(found)
            sizes.append(served.memory())
        took = time.monotonic() - started
        until(lambda: served.descriptors() <= descriptors)
        print(f"{count} inputs in {took:.0f} s, answered:")
        print(", ".join(f"{status}: {number}" for status, number in sorted(seen.items())))
        print(f"memory {' '.join(map(str, sizes))} kB, by quarters; no descriptor more")


if __name__ == "__main__":
    main()
