"""Open TCP connections with their bytes (sock_diag(7)), and the processes that own them.

By struct and not through pyroute2: of 50,000 connections only those are taken apart that somebody
who is asked about owns.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from byway_systemd.core.counters import Carried, Connection, Owner
from byway_systemd.system import cgroups
from byway_systemd.system.netlink import NetlinkSocket, parse_attributes, render_address
from byway_systemd.system.proc_sockets import list_inodes
from byway_systemd.system.processes import observe_process
from byway_systemd.system.routing import Routing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Set

    from byway_systemd.core.observed import Executable

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
# struct inet_diag_req_v2: family, protocol, extensions, padding, states, then a socket's ends.
_REQUEST = struct.Struct("=BBBxI48x")
# struct inet_diag_msg: family, state, timer, retransmits; ports, both addresses, link, cookie;
# expires, the two queues, uid, inode.
_MESSAGE = struct.Struct("=4x2H16s16sI8x12x4xI")
_INFO, _MARK = 2, 15  # INET_DIAG_INFO, INET_DIAG_MARK
_OPEN = sum(1 << state for state in (1, 4, 5, 8, 9, 11))  # established, and closing on either side
_RECEIVED, _SENT = 128, 200  # tcpi_bytes_received, tcpi_bytes_sent of struct tcp_info
_U32, _U64 = struct.Struct("=I"), struct.Struct("=Q")
_FAMILIES = (2, 10)
_MAPPED = bytes(10) + b"\xff\xff"


def observe_carried(places: Iterable[str], executables: tuple[Executable, ...]) -> Carried:
    """Return what the processes below the cgroups ``places`` and the links carry; raise OSError."""
    owners = tuple(_list_owners(places, executables))
    wanted = frozenset[int]().union(*(owner.sockets for owner in owners))
    connections = tuple(list_connections(wanted)) if wanted else ()
    with Routing() as routing:
        return Carried(owners, connections, routing.observe_link_bytes())


def _list_owners(places: Iterable[str], executables: tuple[Executable, ...]) -> Iterator[Owner]:
    pids = {pid for place in places for pid, _ in cgroups.members(place)}
    for pid in sorted(pids):
        sockets = frozenset(list_inodes(pid))
        process = observe_process(pid, executables) if sockets else None
        if process:
            yield Owner(process, sockets)


def list_connections(inodes: Set[int]) -> Iterator[Connection]:
    """Yield the open TCP connections of this network namespace that have one of ``inodes``.

    Marks are shown to those with CAP_NET_ADMIN only. Raises KernelError.
    """
    with NetlinkSocket(_NETLINK_SOCK_DIAG) as netlink:
        for family in _FAMILIES:
            request = _REQUEST.pack(family, 6, 1 << (_INFO - 1), _OPEN)
            for reply in netlink.dump(_SOCK_DIAG_BY_FAMILY, request, "list TCP connections"):
                fields = _MESSAGE.unpack_from(reply.payload)
                if fields[-1] in inodes:
                    yield _parse(family, fields, reply.payload)


def _parse(
    family: int, fields: tuple[int, int, bytes, bytes, int, int], payload: bytes
) -> Connection:
    _, _, local, remote, bound, inode = fields
    found = parse_attributes(payload, _MESSAGE.size)
    info, mark = found.get(_INFO, b""), found.get(_MARK, b"")
    return Connection(
        inode,
        _render(family, local),
        _render(family, remote),
        bound,
        _U32.unpack(mark)[0] if mark else 0,
        _number(info, _SENT),
        _number(info, _RECEIVED),
    )


def _render(family: int, address: bytes) -> str:
    if family == _FAMILIES[0]:
        return render_address(address[:4])
    return render_address(address.removeprefix(_MAPPED))


def _number(info: bytes, offset: int) -> int:
    return int(_U64.unpack_from(info, offset)[0]) if len(info) >= offset + _U64.size else 0
