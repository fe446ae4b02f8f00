"""WireGuard's own marks and endpoints, over generic netlink.

Numbers: ``include/uapi/linux/wireguard.h`` and ``genetlink.h``. The kernel tells of no changes of
endpoints, so they are read whenever the network is looked at.
"""

from __future__ import annotations

import errno
import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING

from byway_systemd.core.network import Tunnel
from byway_systemd.system.netlink import (
    NETLINK_GENERIC,
    KernelError,
    Message,
    NetlinkSocket,
    list_attributes,
    parse_attributes,
    render_address,
    render_attribute,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from byway_systemd.core.network import Link

_CONTROLLER, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = (
    16,
    3,
    1,
    2,
)  # GENL_ID_CTRL, CTRL_CMD_*, _ATTR_*
_GENERIC = struct.Struct("=BBxx")  # struct genlmsghdr: command, version
_GET_DEVICE, _VERSION = 0, 1  # WG_CMD_GET_DEVICE
_IFINDEX, _FWMARK, _PEERS = 1, 7, 8  # WGDEVICE_A_*
_ENDPOINT = 4  # WGPEER_A_ENDPOINT
_U16, _U32 = struct.Struct("=H"), struct.Struct("=I")
_AF_INET, _AF_INET6 = 2, 10
_KINDS = {"wireguard": b"wireguard\0", "amneziawg": b"amneziawg\0"}


def observe_tunnels(links: Iterable[Link]) -> tuple[Tunnel, ...]:
    """Return the WireGuard links among ``links`` that can be read, in the same order.

    One that has gone meanwhile, or whose module speaks otherwise, is left out.
    """
    chosen = [link for link in links if link.kind in _KINDS]
    if not chosen:
        return ()
    with NetlinkSocket(NETLINK_GENERIC) as netlink:
        return tuple(tunnel for link in chosen for tunnel in _observe(netlink, link))


def _observe(netlink: NetlinkSocket, link: Link) -> Iterator[Tunnel]:
    payload = _GENERIC.pack(_GET_DEVICE, _VERSION)
    payload += render_attribute(_IFINDEX, _U32.pack(link.index))
    try:
        family = _find_family(netlink, _KINDS[link.kind])
        replies = netlink.dump(family, payload, f"read the endpoints of {link.name}")
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP, errno.EINVAL):
            return
        raise
    yield parse_tunnel(link.index, (reply.payload for reply in replies))


def _find_family(netlink: NetlinkSocket, name: bytes) -> int:
    payload = _GENERIC.pack(_GET_FAMILY, _VERSION) + render_attribute(_FAMILY_NAME, name)
    reply = netlink.get(Message(_CONTROLLER, 0, payload, "find WireGuard"))
    return int(_U16.unpack(parse_attributes(reply.payload, _GENERIC.size)[_FAMILY_ID])[0])


def parse_tunnel(index: int, payloads: Iterable[bytes]) -> Tunnel:
    """Return what the messages of WG_CMD_GET_DEVICE say; a long list of peers takes several."""
    mark, endpoints = 0, set()
    for payload in payloads:
        found = parse_attributes(payload, _GENERIC.size)
        if _FWMARK in found:
            mark = int(_U32.unpack(found[_FWMARK])[0])
        for _, peer in list_attributes(found.get(_PEERS, b"")):
            endpoint = parse_attributes(peer).get(_ENDPOINT, b"")
            if prefix := _parse_endpoint(endpoint):
                endpoints.add(prefix)
    return Tunnel(index, mark, tuple(sorted(endpoints)))


def _parse_endpoint(address: bytes) -> str:
    """Return the prefix of a struct sockaddr_in or sockaddr_in6, nothing for another family."""
    family = int(_U16.unpack_from(address)[0]) if len(address) >= _U16.size else 0
    if family == _AF_INET and len(address) >= 8:
        return f"{render_address(address[4:8])}/32"
    if family == _AF_INET6 and len(address) >= 24:
        text = render_address(address[8:24])
        return "" if ip_address(text).is_link_local else f"{text}/128"
    return ""
