"""The DNS servers that NetworkManager has for a link (org.freedesktop.NetworkManager on D-Bus).

It writes those of a single link down nowhere, and tells resolved only where there is one.
"""

from __future__ import annotations

import logging
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("byway")

_NAME = "org.freedesktop.NetworkManager"
_PATIENCE = 0.5  # seconds for all questions about a link: byway does nothing else meanwhile
_NONE = "/"  # the path of a configuration that there is not
_ERROR_NAME = 4  # of the header's fields


def list_servers(link: str, patience: float = _PATIENCE) -> tuple[str, ...]:
    """Return the addresses of the servers of a link; none where NetworkManager does not say.

    It is not started for that.
    """
    try:
        return tuple(_ask(link, time.monotonic() + patience))
    except Exception as error:  # no bus, no NetworkManager, or not one that can be understood
        log.debug("NetworkManager cannot be asked for the DNS servers of %s: %s", link, error)
        return ()


def _ask(link: str, deadline: float) -> Iterator[str]:
    from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415 - few need it

    with open_dbus_connection("SYSTEM") as connection:
        device = _call(
            connection, deadline, f"/{_NAME.replace('.', '/')}", _NAME, "GetDeviceByIpIface", link
        )
        for version, key in ((4, "NameserverData"), (6, "Nameservers")):
            path = _get(connection, deadline, device, "Device", f"Ip{version}Config")
            if path == _NONE:
                continue
            for server in _get(connection, deadline, path, f"IP{version}Config", key):
                # a{sv} with the address as text, or its bytes in network order
                address = server["address"][1] if version == 4 else bytes(server)
                yield str(ip_address(address))


def _get(connection: Any, deadline: float, path: str, interface: str, key: str) -> Any:
    """Return a property's value."""
    properties = "org.freedesktop.DBus.Properties"
    return _call(connection, deadline, path, properties, "Get", f"{_NAME}.{interface}", key)[1]


def _call(
    connection: Any, deadline: float, path: str, interface: str, method: str, *words: str
) -> Any:
    from jeepney import DBusAddress, MessageFlag, new_method_call  # noqa: PLC0415

    address = DBusAddress(path, _NAME, interface)
    call = new_method_call(address, method, "s" * len(words), words)
    call.header.flags |= MessageFlag.no_auto_start
    reply = connection.send_and_get_reply(call, timeout=max(0.0, deadline - time.monotonic()))
    if reply.header.fields.get(_ERROR_NAME):
        raise ValueError(f"{method}: {reply.body}")
    return reply.body[0]
