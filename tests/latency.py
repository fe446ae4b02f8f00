"""How long the start of a program waits while clients keep the daemon busy."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from served import CONFIG, Served, UnixConnection, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST = 5000
LARGE = 'interface = "wwan0"\n' + "".join(
    f'[profile.p{number}]\napps = ["/opt/{number}/a", "/opt/{number}/b"]\n' for number in range(25)
)


def many_destinations(count: int, first: int = 0) -> list[str]:
    """Return as many addresses, none beside another, so that they stay as many prefixes."""
    return [f"11.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(first, first + 2 * count, 2)]


def measure(served: Served, count: int) -> list[float]:
    """Return the seconds from ``count`` starts to the daemon's looking at each, sorted."""
    told: dict[int, float] = {}
    already = len((served.root / "seen").read_text().splitlines())
    for number in range(count):
        pid = FIRST + already + number
        told[pid] = time.monotonic()
        served.tell(str(pid))
        time.sleep(0.01)
    until(lambda: len(_seen(served).keys() & told.keys()) == count)
    seen = _seen(served)
    return sorted(seen[pid] - told[pid] for pid in told)


def _seen(served: Served) -> dict[int, float]:
    found: dict[int, float] = {}
    for line in (served.root / "seen").read_text().splitlines():
        pid, moment = line.split()
        found.setdefault(int(pid), float(moment))
    return found


@contextmanager
def busy(served: Served, readers: int = 0, writers: int = 0, pipelining: int = 0) -> Iterator[Busy]:
    """Let clients in a process of their own ask again and again until the end of the block."""
    command = [sys.executable, __file__, str(served.root), str(readers), str(writers)]
    with subprocess.Popen(
        [*command, str(pipelining)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        found = Busy()
        try:
            yield found
        finally:
            process.stdin.close()
            found.asked = int(process.stdout.readline())


@dataclass
class Busy:
    """How often the clients have asked; known at the end."""

    asked: int = 0


def read(served: Served) -> None:
    """Ask for the status, twenty times over one connection."""
    connection = UnixConnection(served.socket)
    try:
        for _ in range(20):
            connection.request("GET", "/api/v1/status")
            assert connection.getresponse().read()
    finally:
        connection.close()


def write(served: Served) -> None:
    """Write a configuration of many entries, and the first again."""
    assert served.put("/api/v1/config", LARGE).status == 200
    assert served.put("/api/v1/config", CONFIG).status == 200


def pipeline(served: Served) -> None:
    """Ask fifty times at once."""
    close = b"GET /state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    many = b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n" * 50
    assert served.send(many + close).count(b"HTTP/1.1 200") == 51


def main(root: str, *counts: str) -> None:
    """Be the clients, until standard input ends."""
    served = Served(Path(root), None)  # type: ignore[arg-type]
    stop = threading.Event()
    done: list[None] = []

    def ask(client: Callable[[Served], None]) -> None:
        while not stop.is_set():
            client(served)
            done.append(None)

    clients = (read, write, pipeline)
    threads = [
        threading.Thread(target=ask, args=(client,))
        for client, count in zip(clients, counts, strict=True)
        for _ in range(int(count))
    ]
    for thread in threads:
        thread.start()
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    sys.stdout.write(f"{len(done)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
