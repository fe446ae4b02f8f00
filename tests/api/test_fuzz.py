"""Raw bytes on the socket: nothing but answers that are right, and nothing that grows."""

from __future__ import annotations

import random
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from raw_requests import make_raw
from served import CONFIG, Served, until

INPUTS = 100_000
WORKERS = 4
ROUNDS = 4
# In kB: at first, and later, when what Python keeps for another use has levelled off.
MOST_GROWTH = 3000


def send(served: Served, count: int, seed: int) -> Counter[int]:
    """Send so many inputs, the same at every run; return how often each status was answered."""
    generator = random.Random(seed)  # noqa: S311
    seen: Counter[int] = Counter()
    for number in range(count):
        data = make_raw(generator)
        answer = served.send(data)
        statuses = [int(found) for found in re.findall(rb"(?:^|\n)HTTP/1\.1 (\d{3}) ", answer)]
        assert all(status < 500 for status in statuses), (seed, number, data, answer)
        seen.update(statuses)
    return seen


def test_raw_bytes(served: Served) -> None:
    send(served, 300, 0)
    descriptors, memory = served.descriptors(), served.memory()
    seen = send(served, 1500, 5)
    assert served.memory() - memory < MOST_GROWTH
    sizes = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for first in range(1, ROUNDS * WORKERS, WORKERS):
            counts = [INPUTS // ROUNDS // WORKERS] * WORKERS
            seeds = range(first, first + WORKERS)
            for found in pool.map(send, [served] * WORKERS, counts, seeds):
                seen += found
            sizes.append(served.memory())
    assert seen.keys() >= {200, 204, 400, 404, 405, 413}, "it reaches the routes"
    assert seen[400] > INPUTS // 5
    until(lambda: served.descriptors() <= descriptors)
    assert sizes[-1] - sizes[ROUNDS // 2 - 1] < MOST_GROWTH, sizes
    assert served.config.read_text() == CONFIG
    assert served.get("/state")["state"] == "active"
