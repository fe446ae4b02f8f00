"""What programs with a tun device talk to: the far ends of OpenVPN and others like it.

Which process has which device says ``iff:`` in /proc/PID/fdinfo (tun_chr_show_fdinfo() in
drivers/net/tun.c). A UDP socket that is not connected, as OpenVPN's, has no peer to show: the flows
that the kernel tracks from its port have.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from byway_systemd.core.findings import TunnelServer
from byway_systemd.system.cgroups import cgroup_of
from byway_systemd.system.conntrack import list_destinations
from byway_systemd.system.netlink import render_address
from byway_systemd.system.proc_sockets import ESTABLISHED, SeenSocket, list_sockets
from byway_systemd.system.processes import network_of, uid_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from byway_systemd.core.network import Link

_TUN = "/dev/net/tun"
_UDP, _DNS = 17, 53
_MOST = 16  # servers of one program


def observe_tunnel_servers(links: Iterable[Link]) -> tuple[TunnelServer, ...]:
    """Return the servers of the tun devices among ``links``; needs root. Raise KernelError."""
    devices = {link.name: link.index for link in links if link.kind == "tun"}
    if not devices:
        return ()
    own, sockets = network_of(os.getpid()), list_sockets()
    found: list[TunnelServer] = []
    for name in sorted(os.listdir("/proc")):  # noqa: PTH208
        with suppress(OSError):  # it has ended, or is in another network
            if name.isdecimal() and network_of(int(name)) == own:
                found += _servers_of(int(name), devices, sockets)
    return tuple(found)


def _servers_of(
    pid: int, devices: dict[str, int], sockets: list[SeenSocket]
) -> Iterator[TunnelServer]:
    targets = {entry: str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    tunnels = [
        devices[name]
        for entry, target in targets.items()
        if target == _TUN
        and (name := _device_of(Path(f"/proc/{pid}/fdinfo", entry.name).read_text())) in devices
    ]
    if not tunnels:
        return
    inodes = {int(t[8:-1]) for t in targets.values() if t.startswith("socket:[")}
    addresses = _find_peers([socket for socket in sockets if socket.inode in inodes])
    program = Path(f"/proc/{pid}/comm").read_text().strip()
    for address in addresses[:_MOST]:
        prefix = f"{address}/{ip_address(address).max_prefixlen}"
        for link in tunnels:
            yield TunnelServer(link, program, prefix, uid_of(pid), cgroup_of(pid))


def _device_of(information: str) -> str:
    found = re.search(r"^iff:\s*(\S+)$", information, re.MULTILINE)
    return found[1] if found else ""


def _find_peers(sockets: list[SeenSocket]) -> list[str]:
    """Return the addresses of the machines that ``sockets`` talk to, but for DNS."""
    connected = [s.remote for s in sockets if s.remote[1] and s.state == ESTABLISHED]
    ports = {(s.protocol, s.local[1]) for s in sockets if s.protocol == _UDP and not s.remote[1]}
    tracked = [(render_address(address), port) for address, port in list_destinations(ports)]
    peers = {address for address, port in (*connected, *tracked) if port != _DNS}
    return sorted(address for address in peers if not ip_address(address).is_loopback)
