"""Many prefixes: the same as ipaddress makes of them, and fast."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway_systemd.core.prefixes import collapse, read_plain_prefix


def networks(bits: int) -> st.SearchStrategy[str]:
    """Prefixes that are close to each other, so that they overlap and join."""
    kind = IPv4Network if bits == 32 else IPv6Network
    low = st.integers(0, 40) | st.integers(0, (1 << bits) - 1)
    return st.builds(
        lambda number, length: str(kind((number >> (bits - length) << (bits - length), length))),
        low,
        st.integers(bits - 6, bits) | st.integers(0, bits),
    )


@pytest.mark.parametrize("bits", [32, 128])
@given(data=st.data())
def test_is_what_ipaddress_makes_of_them(bits: int, data: st.DataObject) -> None:
    values = tuple(data.draw(st.lists(networks(bits), max_size=20)))
    wanted = sorted(map(str, collapse_addresses(map(ip_network, values))))  # type: ignore[type-var]
    assert list(collapse(values, bits)) == wanted


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("1.1.1.1", "1.1.1.1/32"),
        ("127.0.0.1", ""),
        ("0.1.2.3", ""),
        ("224.0.0.1", ""),
        ("255.255.255.255", ""),
        ("192.0.2.256", ""),
        ("192.0.2.07", ""),
        ("192.0.2", ""),
        ("192.0.2.7/32", "192.0.2.7/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.1/24", ""),
        ("192.0.2.0/024", ""),
        ("192.0.2.0/33", ""),
        ("192.0.0.0/7", ""),
        ("192.0.2.0/", ""),
        ("192.0.2.7 ", ""),
        ("::1", ""),
        ("a.b.c.d", ""),
        ("", ""),
    ],
)
def test_plain_prefixes_are_told_from_all_else(text: str, prefix: str) -> None:
    assert read_plain_prefix(text) == prefix
