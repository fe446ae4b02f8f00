"""WireGuard's endpoints and mark, from the kernel's messages."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from byway_systemd.core.network import Link, Tunnel
from byway_systemd.system.netlink import render_attribute
from byway_systemd.system.tunnels import observe_tunnels, parse_tunnel

NESTED = 0x8000


def endpoint(address: str, port: int = 51820) -> bytes:
    packed = ip_address(address).packed
    if len(packed) == 4:
        return struct.pack("=H", 2) + struct.pack(">H", port) + packed + bytes(8)
    return struct.pack("=H", 10) + struct.pack(">HI", port, 0) + packed + bytes(4)


def device(*peers: bytes, mark: int | None = None) -> bytes:
    """Return a message of WG_CMD_GET_DEVICE: genlmsghdr, WGDEVICE_A_*."""
    payload = bytes((0, 1, 0, 0)) + render_attribute(1, struct.pack("=I", 4))
    if mark is not None:
        payload += render_attribute(7, struct.pack("=I", mark))
    listed = b"".join(
        render_attribute(n | NESTED, render_attribute(1, bytes(32)) + peer)
        for n, peer in enumerate(peers)
    )
    return payload + render_attribute(8 | NESTED, listed)


def at(address: str) -> bytes:
    return render_attribute(4, endpoint(address))


def test_reads_the_mark_and_every_endpoint() -> None:
    messages = (device(at("198.51.100.7"), b"", mark=0xCA6C), device(at("2001:db8::7")))
    assert parse_tunnel(4, messages) == Tunnel(4, 0xCA6C, ("198.51.100.7/32", "2001:db8::7/128"))


def test_a_link_without_peers_or_mark_has_none() -> None:
    assert parse_tunnel(4, (bytes(4),)) == Tunnel(4)


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"\2",
        struct.pack("=H", 2) + bytes(2),
        struct.pack("=H", 10) + bytes(10),
        struct.pack("=H", 77) + bytes(30),
        endpoint("fe80::1"),
    ],
)
def test_what_is_no_endpoint_is_left_out(odd: bytes) -> None:
    assert parse_tunnel(4, (device(render_attribute(4, odd)),)) == Tunnel(4)


def test_what_is_no_wireguard_is_not_asked() -> None:
    assert observe_tunnels((Link(1, "lo"), Link(2, "tun0", kind="tun"))) == ()


def test_a_link_that_is_not_there_is_left_out() -> None:
    assert observe_tunnels((Link(999_999, "gone0", kind="wireguard"),)) == ()
