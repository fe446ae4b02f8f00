"""Whose program is at the other end of a connection over the loopback.

A cookie goes to every port of an address, and a command line is everybody's to read: what keeps
another user of the machine out, who has caught the cookie or the token, is the kernel's own record.
"""

from __future__ import annotations

import struct
from pathlib import Path
from socket import inet_aton

_TABLES = ("proc/net/tcp", "proc/net/tcp6")  # a socket of IPv6 may talk to an IPv4 one
_ROOT = Path("/")
_ESTABLISHED = "01"  # one that is closed already is nobody's, which reads as root's


def owner_of(client: tuple[str, int], server: tuple[str, int], root: Path = _ROOT) -> int | None:
    """Return the user id that owns the client's socket, None when that is closed.

    The tables are described in proc_net_tcp.txt of the kernel's documentation.
    """
    local, remote = _as_listed(*client), _as_listed(*server)
    for table in _TABLES:
        try:
            lines = (root / table).read_text().splitlines()[1:]
        except OSError:  # without IPv6 there is one
            continue
        for line in lines:
            fields = line.split()
            if fields[1].endswith(local) and fields[2].endswith(remote):
                return int(fields[7]) if fields[3] == _ESTABLISHED else None
    return None


def _as_listed(address: str, port: int) -> str:
    """Return an IPv4 address as the tables have it: a number of this machine's byte order."""
    (number,) = struct.unpack("=I", inet_aton(address))
    return f"{number:08X}:{port:04X}"
