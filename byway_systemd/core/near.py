"""Which addresses are near: what is reached without the direct link and without the VPN."""

from __future__ import annotations

from bisect import bisect_right
from ipaddress import IPv4Address, IPv6Address, collapse_addresses, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Loopback, link-local, multicast.
_ALWAYS = ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::1/128", "fe80::/10", "ff00::/8")


class NearAddresses:
    """Loopback, link-local and multicast addresses, and those of the given prefixes."""

    def __init__(self, prefixes: Iterable[str] = ()) -> None:
        """Take prefixes in CIDR notation; raise ValueError for what is none."""
        networks = [ip_network(prefix) for prefix in (*_ALWAYS, *prefixes)]
        self._ranges: dict[int, list[tuple[int, int]]] = {}
        for version in (4, 6):
            # mypy: collapse_addresses takes one version at a time, which the list does not show.
            chosen = [network for network in networks if network.version == version]
            self._ranges[version] = sorted(
                (int(network[0]), int(network[-1]))
                for network in collapse_addresses(chosen)  # type: ignore[type-var]
            )

    def holds(self, address: str | bytes) -> bool:
        """Return whether an address, as text or packed, is near.

        An IPv4 address mapped into IPv6 counts as the IPv4 one. Raise ValueError for no address.
        """
        found: IPv4Address | IPv6Address | None = ip_address(address)
        if isinstance(found, IPv6Address):
            found = found.ipv4_mapped or found
        assert found is not None  # noqa: S101 (mypy)
        ranges, number = self._ranges[found.version], int(found)
        index = bisect_right(ranges, (number, 1 << 128)) - 1
        return index >= 0 and number <= ranges[index][1]
