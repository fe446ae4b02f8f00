"""What IPsec in the kernel talks to: the destinations of its security associations (XFRM)."""

from __future__ import annotations

import errno
import struct
from socket import AF_INET

from byway_systemd.system.netlink import KernelError, NetlinkSocket, render_address

_NETLINK_XFRM = 6
_GET_ASSOCIATION = 0x12  # XFRM_MSG_GETSA
# struct xfrm_usersa_info of include/uapi/linux/xfrm.h: the destination stands behind the selector,
# the family behind source, life times, statistics, sequence and request id.
_DESTINATION = slice(56, 72)
_FAMILY = struct.Struct("=H")
_FAMILY_OFFSET = 212
_ABSENT = (errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.ECONNREFUSED)


def list_peers() -> tuple[str, ...]:
    """Return the addresses that packets are encrypted for, this machine's own among them.

    None where the kernel has no IPsec. Needs root. Raise KernelError.
    """
    try:
        netlink = NetlinkSocket(_NETLINK_XFRM)
    except OSError as error:
        if error.errno in _ABSENT:
            return ()
        raise
    try:
        replies = netlink.dump(_GET_ASSOCIATION, b"", "list the security associations of IPsec")
        found = {parse_peer(reply.payload) for reply in replies}
    except KernelError as error:
        if error.errno not in _ABSENT:
            raise
        found = set()
    finally:
        netlink.close()
    return tuple(sorted(found - {""}))


def parse_peer(association: bytes) -> str:
    """Return the destination of a ``struct xfrm_usersa_info``; empty when it is cut off."""
    if len(association) < _FAMILY_OFFSET + _FAMILY.size:
        return ""
    (family,) = _FAMILY.unpack_from(association, _FAMILY_OFFSET)
    address = association[_DESTINATION]
    return render_address(address[:4] if family == AF_INET else address)
