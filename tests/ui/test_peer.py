"""Whose socket it is, as the kernel's tables have it."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from byway_systemd.ui.peer import owner_of

if TYPE_CHECKING:
    from pathlib import Path

CLIENT, SERVER = ("127.0.0.1", 40000), ("127.0.0.1", 4000)
HEADING = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout\n"
)
NUMBER = f"{struct.unpack('=I', bytes((127, 0, 0, 1)))[0]:08X}"
REST = "00000000:00000000 00:00000000 00000000"


def table(local: str, remote: str, state: str, uid: int) -> str:
    return f"{HEADING}   0: {local} {remote} {state} {REST}  {uid}        0 1234 1\n"


@pytest.mark.parametrize(
    ("name", "text", "owner"),
    [
        ("tcp", table(f"{NUMBER}:9C40", f"{NUMBER}:0FA0", "01", 1000), 1000),
        ("tcp", table(f"{NUMBER}:0FA0", f"{NUMBER}:9C40", "01", 1000), None),  # the server's own
        ("tcp", table(f"{NUMBER}:9C40", f"{NUMBER}:0FA1", "01", 1000), None),
        # Closed with something sent: it has no owner any more, which is written as 0.
        ("tcp", table(f"{NUMBER}:9C40", f"{NUMBER}:0FA0", "04", 0), None),
        ("tcp", table(f"{NUMBER}:9C40", f"{NUMBER}:0FA0", "06", 0), None),
        ("tcp6", table(*(f"{'0' * 16}FFFF0000{NUMBER}:{p}" for p in ("9C40", "0FA0")), "01", 7), 7),
        ("tcp", HEADING, None),
    ],
)
def test_the_tables(tmp_path: Path, name: str, text: str, owner: int | None) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net" / name).write_text(text)
    assert owner_of(CLIENT, SERVER, tmp_path) == owner


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_kernels_own(family: socket.AddressFamily) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(family) as client:
        port = listener.getsockname()[1]
        client.connect(("127.0.0.1" if family is socket.AF_INET else "::ffff:127.0.0.1", port))
        served, peer = listener.accept()
        assert owner_of(peer, ("127.0.0.1", port)) == os.getuid()
        client.close()
        assert owner_of(peer, ("127.0.0.1", port)) is None
        served.close()
