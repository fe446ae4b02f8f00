"""Which addresses are near."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway_systemd.core.near import NearAddresses

NEAR = NearAddresses(["192.168.1.0/24", "192.168.1.128/25", "10.0.0.7/32", "2001:db8::/64"])


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("127.0.0.53", True),
        ("::1", True),
        ("169.254.3.4", True),
        ("fe80::1", True),
        ("239.255.255.250", True),
        ("ff02::fb", True),
        ("192.168.1.255", True),
        ("192.168.2.0", False),
        ("192.168.0.255", False),
        ("10.0.0.7", True),
        ("10.0.0.6", False),
        ("::ffff:10.0.0.7", True),
        ("::ffff:10.0.0.8", False),
        ("2001:db8::ffff", True),
        ("2001:db8:0:1::", False),
        ("0.0.0.0", False),  # noqa: S104
        ("255.255.255.255", False),
    ],
)
def test_near(address: str, near: bool) -> None:
    assert NEAR.holds(address) is near
    assert NEAR.holds(ip_address(address).packed) is near


def test_what_is_no_prefix_is_refused() -> None:
    with pytest.raises(ValueError, match="192"):
        NearAddresses(["192.168.1.1/24"])


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(16, 32))), st.integers(0, 255))
def test_as_one_by_one(pairs: list[tuple[int, int]], last: int) -> None:
    prefixes = [str(ip_network((f"10.0.0.{n}", length), strict=False)) for n, length in pairs]
    address = ip_address(f"10.0.0.{last}")
    expected = any(address in ip_network(prefix) for prefix in prefixes)
    assert NearAddresses(prefixes).holds(str(address)) is expected
