"""A canary's own process: it sends single packets as it is told, and says what became of the call.

Run as a program, with the standard library alone. It reads a JSON object a line from standard input
and answers each with one, and ends when that is closed: with the one who started it at the latest.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from typing import Any

_TRANSPARENT = {socket.AF_INET: (socket.SOL_IP, 19), socket.AF_INET6: (socket.IPPROTO_IPV6, 75)}
# One hop: what is not dropped on its way out, as it should be, ends at the first router.
_HOPS = {
    socket.AF_INET: (socket.SOL_IP, socket.IP_TTL),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}
_KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


def send(order: dict[str, Any]) -> None:
    """Send a packet; raise OSError when the kernel refuses that.

    ``order`` has protocol, destination, port, uid, source (or an empty one), and ``cgroup``: a
    directory to be in while the socket is made, empty for none; ``mount`` is what it is below.
    """
    destination = order["destination"]
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with _open(family, _KINDS[order["protocol"]], order) as sender:
        sender.settimeout(0)
        sender.setsockopt(*_HOPS[family], 1)
        if order["source"]:  # it may be another machine's
            sender.setsockopt(*_TRANSPARENT[family], 1)
            sender.bind((order["source"], 0))
        # Dropped on its way out, as a canary is, it is EPERM; a connection is being made.
        with suppress(PermissionError, BlockingIOError):
            sender.connect((destination, order["port"]))
            sender.send(b"byway test\n")


def _open(family: int, kind: int, order: dict[str, Any]) -> socket.socket:
    """Make a socket that is a user's and, for good, of the cgroup that it is made in."""
    home = _own_cgroup()
    if order["cgroup"]:
        _enter(order["cgroup"])
    try:
        os.seteuid(order["uid"])
        return socket.socket(family, kind)
    finally:
        os.seteuid(0)
        if order["cgroup"]:
            _enter(order["mount"] + home)


def _own_cgroup() -> str:
    with open("/proc/self/cgroup", encoding="utf-8") as file:  # noqa: PTH123
        lines = [line for line in file if line.startswith("0::")]
    return lines[0][3:].rstrip("\n")


def _enter(directory: str) -> None:
    with open(f"{directory}/cgroup.procs", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write("0")


def main() -> None:
    """Answer orders until there are no more."""
    for line in sys.stdin:
        said = ""
        try:
            send(json.loads(line))
        except OSError as error:
            said = error.strerror or str(error)
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
