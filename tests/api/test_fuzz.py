"""Raw bytes on the socket: nothing but answers that are right, and nothing that grows."""

from __future__ import annotations

import random
import re

from raw_requests import make_raw
from served import CONFIG, Served, until


def test_raw_bytes(served: Served) -> None:
    generator = random.Random(5)  # noqa: S311 - the same inputs at every run
    seen: dict[int, int] = {}
    for _ in range(300):
        served.send(make_raw(generator))
    descriptors, memory = served.descriptors(), served.memory()
    for number in range(1500):
        data = make_raw(generator)
        answer = served.send(data)
        statuses = [int(found) for found in re.findall(rb"(?:^|\n)HTTP/1\.1 (\d{3}) ", answer)]
        assert all(status < 500 for status in statuses), (number, data, answer)
        for status in statuses:
            seen[status] = seen.get(status, 0) + 1
    assert seen.keys() >= {200, 204, 400, 404, 405, 413}, "it reaches the routes"
    assert seen[400] > 300
    until(lambda: served.descriptors() <= descriptors)
    assert served.memory() - memory < 3000
    assert served.config.read_text() == CONFIG
    assert served.get("/state")["state"] == "active"
