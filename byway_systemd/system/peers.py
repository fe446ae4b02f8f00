"""Sockets of the API: those that systemd passed, and who is at the other end of a connection."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from byway_systemd.api.peer import Peer

if TYPE_CHECKING:
    from collections.abc import MutableMapping

# asm-generic/socket.h
_SO_PEERGROUPS = 59
_SO_PEERPIDFD = 77
_CREDENTIALS = struct.Struct("=iII")  # struct ucred of unix(7)
_MOST_GROUPS = 65536  # NGROUPS_MAX
_FIRST = 3  # SD_LISTEN_FDS_START


def take_listeners(environment: MutableMapping[str, str]) -> tuple[socket.socket, ...]:
    """Return the listening unix sockets that systemd passed (sd_listen_fds(3)).

    The variables are taken out of ``environment``: they are not for children.
    """
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return ()
    found = []
    for descriptor in range(_FIRST, _FIRST + int(count)):
        os.set_inheritable(descriptor, False)  # noqa: FBT003
        sock = socket.socket(fileno=descriptor)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if sock.family is socket.AF_UNIX and sock.type is socket.SOCK_STREAM and listens:
            sock.setblocking(False)  # noqa: FBT003
            found.append(sock)
        else:
            sock.close()
    return tuple(found)


def identify(sock: socket.socket) -> Peer:
    """Return who opened a connection; raise OSError when it is gone."""
    size = _CREDENTIALS.size
    packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, gid = _CREDENTIALS.unpack(packed)
    return Peer(pid, uid, frozenset((gid, *_groups_of(sock))), _pidfd_of(sock))


def _groups_of(sock: socket.socket) -> tuple[int, ...]:
    """Return the supplementary groups; the kernel asks for a buffer that holds all (ERANGE)."""
    for most in (64, _MOST_GROUPS):
        with suppress(OSError):
            packed = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, most * 4)
            return tuple(number for (number,) in struct.iter_unpack("=I", packed))
    return ()


def _pidfd_of(sock: socket.socket) -> int:
    """Return a pidfd of the peer (Linux 6.5), -1 where there is none."""
    try:
        descriptor = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return -1
    os.set_inheritable(descriptor, False)  # noqa: FBT003
    return descriptor


def group_id(root: Path, name: str) -> int | None:
    """Return a local group's id, None when there is none.

    Read from /etc/group itself, where systemd-sysusers puts it: name services may have to ask the
    network, and the daemon would wait.
    """
    with suppress(OSError):
        for line in Path(root / "etc/group").read_text(errors="replace").splitlines():
            fields = line.split(":")
            if len(fields) == 4 and fields[0] == name and fields[2].isdecimal():
                return int(fields[2])
    return None
