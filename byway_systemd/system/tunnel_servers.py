"""What tunnels that are not WireGuard's talk to: the far ends of OpenVPN, PPP, IPsec and others.

Which process has which device says ``iff:`` in /proc/PID/fdinfo (tun_chr_show_fdinfo() in
drivers/net/tun.c). A UDP socket that is not connected, as OpenVPN's, has no peer to show: the flows
that the kernel tracks from its port have. pppd has /dev/ppp open, and leaves the talking to the
program that started it or that it started. What IPsec talks to the kernel knows.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import TYPE_CHECKING

from byway_systemd.core.findings import TunnelServer
from byway_systemd.system.cgroups import cgroup_of
from byway_systemd.system.conntrack import list_destinations
from byway_systemd.system.ipsec import list_peers
from byway_systemd.system.netlink import render_address
from byway_systemd.system.proc_sockets import (
    ESTABLISHED,
    SeenSocket,
    list_inodes,
    list_sockets,
)
from byway_systemd.system.processes import descendants, network_of, parent_of, uid_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from byway_systemd.core.network import Link

_TUN, _PPP = "/dev/net/tun", "/dev/ppp"
_IPSEC = ("xfrm", "vti", "vti6")
_UDP, _DNS = 17, 53
_MOST = 16  # servers of one program


def observe_tunnel_servers(links: Iterable[Link], ppp: str = _PPP) -> tuple[TunnelServer, ...]:
    """Return the servers of the tunnels among ``links``; needs root. Raise KernelError.

    ``ppp`` is the file that whoever runs a PPP link has open.
    """
    links = tuple(links)
    found = list(_servers_of_kernel(links))
    tuns = {link.name: link.index for link in links if link.kind == "tun"}
    ppps = [link.index for link in links if link.kind == "ppp"]
    if not tuns and not ppps:
        return tuple(found)
    own, sockets = network_of(os.getpid()), list_sockets()
    for name in sorted(os.listdir("/proc")):  # noqa: PTH208
        with suppress(OSError):  # it has ended, or is in another network
            if name.isdecimal() and network_of(int(name)) == own:
                found += _servers_of(int(name), tuns, {ppp: ppps}, sockets)
    return tuple(found)


def _servers_of_kernel(links: tuple[Link, ...]) -> Iterator[TunnelServer]:
    """Yield the peers of IPsec: which link is whose, its keys do not tell."""
    tunnels = [link.index for link in links if link.kind in _IPSEC]
    own = {str(ip_interface(address).ip) for link in links for address in link.addresses}
    for address in list_peers() if tunnels else ():
        if address not in own:
            for link in tunnels:
                yield TunnelServer(link, "IPsec", _prefix(address))


def _servers_of(
    pid: int, tuns: dict[str, int], shared: dict[str, list[int]], sockets: list[SeenSocket]
) -> Iterator[TunnelServer]:
    """Yield them; a file in ``shared`` is open for any of the links that it stands for."""
    targets = _open_files(pid)
    tunnels = [
        tuns[name]
        for number, target in targets.items()
        if target == _TUN
        and (name := _device_of(Path(f"/proc/{pid}/fdinfo/{number}").read_text())) in tuns
    ]
    talking = [pid]
    for target, links in shared.items():
        if target in targets.values():
            tunnels += links
            talking += [parent_of(pid), *descendants(pid)]
    for talker in talking if tunnels else ():
        with suppress(OSError):
            yield from _peers_of(talker, tunnels, sockets)


def _peers_of(pid: int, tunnels: list[int], sockets: list[SeenSocket]) -> Iterator[TunnelServer]:
    inodes = set(list_inodes(pid))
    addresses = _find_peers([socket for socket in sockets if socket.inode in inodes])
    program = Path(f"/proc/{pid}/comm").read_text().strip()
    for address in addresses[:_MOST]:
        for link in tunnels:
            yield TunnelServer(link, program, _prefix(address), uid_of(pid), cgroup_of(pid))


def _open_files(pid: int) -> dict[str, str]:
    """Return what the descriptors are, by number."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found[entry.name] = str(entry.readlink())
    return found


def _prefix(address: str) -> str:
    return f"{address}/{ip_address(address).max_prefixlen}"


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
