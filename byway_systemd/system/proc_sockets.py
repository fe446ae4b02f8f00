"""The TCP and UDP sockets of this network namespace, as anybody may read them (proc_net_tcp)."""

from __future__ import annotations

import os
import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from byway_systemd.system.netlink import render_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TCP, _UDP = 6, 17  # IPPROTO_*
_FILES = (("tcp", _TCP), ("tcp6", _TCP), ("udp", _UDP), ("udp6", _UDP))
_MAPPED = "::ffff:"
_SOCKET = "socket:["
ESTABLISHED = 1  # TCP_ESTABLISHED of include/net/tcp_states.h


class SeenSocket(NamedTuple):
    """A socket: its protocol's number, both ends as (address, port), its state and its inode."""

    protocol: int
    local: tuple[str, int]
    remote: tuple[str, int]
    state: int
    inode: int


def list_inodes(pid: int) -> Iterator[int]:
    """Yield the inodes of the sockets that a process has open; none when it has ended."""
    base = f"/proc/{pid}/fd"
    with suppress(OSError):
        for name in os.listdir(base):  # noqa: PTH208
            with suppress(FileNotFoundError):
                target = os.readlink(f"{base}/{name}")  # noqa: PTH115
                if target.startswith(_SOCKET):
                    yield int(target[len(_SOCKET) : -1])


def list_sockets(
    protocols: tuple[int, ...] = (_TCP, _UDP), proc: str = "/proc"
) -> list[SeenSocket]:
    """Return the sockets of ``protocols``; those of another network namespace are not here."""
    found: list[SeenSocket] = []
    for name, protocol in _FILES:
        if protocol in protocols:
            with suppress(OSError):  # IPv6 may be switched off
                text = Path(proc, "net", name).read_text(encoding="ascii")
                found += parse_sockets(text, protocol)
    return found


def list_connected(ports: Iterable[int], proc: str = "/proc") -> list[tuple[str, str]]:
    """Return (remote, local) address of the TCP connections that are open at one of ``ports``.

    Of 50,000 connections, only those that fit are taken apart.
    """
    numbers = "|".join(f"{port:04X}" for port in sorted({*ports}))
    ends = rf"([0-9A-F]+:(?:{numbers})) ([0-9A-F]+:[0-9A-F]{{4}})"
    fits = re.compile(rf"^ *\d+: {ends} 01 ", re.MULTILINE)  # TCP_ESTABLISHED
    found: list[tuple[str, str]] = []
    for name, protocol in _FILES:
        if protocol == _TCP:
            with suppress(OSError):
                text = Path(proc, "net", name).read_text(encoding="ascii")
                found += [(_parse_end(b)[0], _parse_end(a)[0]) for a, b in fits.findall(text)]
    return found


def parse_sockets(text: str, protocol: int) -> Iterator[SeenSocket]:
    """Yield the sockets of a file such as /proc/net/tcp, without its heading."""
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 9:
            local, remote = _parse_end(words[1]), _parse_end(words[2])
            yield SeenSocket(protocol, local, remote, int(words[3], 16), int(words[9]))


def _parse_end(text: str) -> tuple[str, int]:
    """Return the address and the port of `0100007F:0016`: words of the machine's byte order."""
    address, _, port = text.partition(":")
    words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
    shown = render_address(struct.pack(f"={len(words)}I", *words))
    if shown.startswith(_MAPPED):  # an IPv4 connection of an IPv6 socket
        shown = render_address(struct.pack("=I", words[-1]))
    return shown, int(port, 16)
