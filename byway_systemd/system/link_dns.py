"""The DNS servers that links have, as networkd and resolved have written them down.

networkd keeps what it got for a link (DHCP, router advertisements, its own configuration) in
/run/systemd/netif/links/INDEX; resolved what others have set for a link by D-Bus (NetworkManager,
resolvectl) in /run/systemd/resolve/netif/INDEX. sd_network_link_get_dns() reads the first; there is
no such call for the second, and resolved's D-Bus may hang, which a file cannot: link_save_user() in
systemd's src/resolve/resolved-link.c. Where neither knows any, NetworkManager is asked itself.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from byway_systemd.core.config import LINKS_OWN_DNS
from byway_systemd.core.name_servers import read_server
from byway_systemd.system.network_manager import list_servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from byway_systemd.core.config import Profile
    from byway_systemd.core.network import Link

# What is set by hand counts more than what the network says.
_SOURCES = (("run/systemd/resolve/netif", "SERVERS="), ("run/systemd/netif/links", "DNS="))
_NETWORK_MANAGER = "run/NetworkManager"
_LARGEST = 1 << 16
_MOST = 8


def observe_link_dns(
    root: Path, profiles: tuple[Profile, ...], links: tuple[Link, ...]
) -> Iterator[tuple[int, str]]:
    """Yield (link index, address), where any profile asks for its link's own servers."""
    if any(profile.dns == (LINKS_OWN_DNS,) for profile in profiles):
        is_managed = (root / _NETWORK_MANAGER).exists()
        for link in links:
            if not link.loopback:
                found = _written(root, link.index)
                if not found and is_managed and link.up:
                    found = [
                        address
                        for word in list_servers(link.name)
                        if (address := read_server(word))
                    ]
                yield from ((link.index, address) for address in found[:_MOST])


def _written(root: Path, index: int) -> list[str]:
    for directory, key in _SOURCES:
        with suppress(OSError), (root / directory / str(index)).open(encoding="utf-8") as file:
            lines = [line for line in file.read(_LARGEST).splitlines() if line.startswith(key)]
            words = [word for line in lines for word in line.removeprefix(key).split()]
            if found := [address for word in words if (address := read_server(word))]:
                return found
    return []
