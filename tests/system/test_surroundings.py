"""What only the doctor looks at, and the kernel's lists of sockets."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.config import Config, Profile
from byway_systemd.core.desired import desire
from byway_systemd.core.network import Link
from byway_systemd.core.traffic import Mode, Traffic
from byway_systemd.system.ipsec import list_peers, parse_peer
from byway_systemd.system.proc_sockets import (
    ESTABLISHED,
    list_connected,
    list_sockets,
    parse_sockets,
)
from byway_systemd.system.surroundings import observe_case, observe_surroundings
from byway_systemd.system.tunnel_servers import observe_tunnel_servers

if TYPE_CHECKING:
    from pathlib import Path

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout"
REST = "00000000:00000000 00:00000000 00000000     0        0"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("hosts: files dns", ("files", "dns")),
        ("hosts:\tmymachines resolve [!UNAVAIL=return] files # dns",
         ("mymachines", "resolve", "files")),
        ("passwd: files", ()),
    ],
)  # fmt: skip
def test_where_names_are_looked_up(tmp_path: Path, line: str, text: tuple[str, ...]) -> None:
    assert observe_surroundings(tmp_path, (), is_root=False).host_sources == ()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nsswitch.conf").write_text(f"# nsswitch.conf(5)\n{line}\n")
    assert observe_surroundings(tmp_path, (), is_root=False).host_sources == text


def test_reverse_filters_of_links_that_are_gone(tmp_path: Path) -> None:
    links = (Link(1, "lo", loopback=True), Link(9, "byway-none"))
    ((name, mode, _),) = observe_surroundings(tmp_path, links, is_root=False).reverse_filters
    assert name == "byway-none"
    assert mode in (0, 1, 2)  # what counts for all


def test_without_root(tmp_path: Path) -> None:
    """The network is anybody's to look at."""
    desired = desire(Config(profiles=(Profile(interface="lo"),), traffic=Traffic(Mode.DIRECT)))
    case = observe_case(tmp_path, desired, None, ("bad",), runs=False)
    assert any(link.loopback for link in case.observed.links)
    assert any(rule.table == 255 for rule in case.observed.rules)
    assert (case.surroundings.filters, case.remaining, case.problems) == ((), (), ())


def test_no_tunnels() -> None:
    assert observe_tunnel_servers((Link(1, "lo"), Link(2, "wg0", kind="wireguard"))) == ()


@pytest.mark.parametrize(
    ("family", "address", "text"),
    [
        (socket.AF_INET, "203.0.113.9", "203.0.113.9"),
        (socket.AF_INET6, "2001:db8::9", "2001:db8::9"),
    ],
)
def test_parse_peer(family: socket.AddressFamily, address: str, text: str) -> None:
    """The destination and the family of a security association, as the kernel lays it out."""
    there = socket.inet_pton(family, address).ljust(16, b"\0")
    association = bytes(56) + there + bytes(140) + struct.pack("=H", family) + bytes(10)
    assert parse_peer(association) == text
    assert parse_peer(association[:200]) == ""


def test_no_ipsec() -> None:
    assert list_peers() == ()


@pytest.mark.skipif(os.sys.byteorder == "big", reason="the words are a little-endian machine's")
def test_parse_sockets() -> None:
    four = f"   0: 0A40A8C0:0016 070071CB:C350 01 {REST} 4711 1 0"
    six = (
        "   1: B80D0120000000000000000001000000:0016 "
        f"0000000000000000FFFF0000070071CB:C350 0A {REST} 42 1 0"
    )
    first, second = parse_sockets("\n".join((HEADING, four, six, "broken")), 6)
    assert first == (6, ("192.168.64.10", 22), ("203.113.0.7", 50000), 1, 4711)
    assert second.local == ("2001:db8::1", 22)
    assert (second.remote, second.state) == (("203.113.0.7", 50000), 10)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_real_sockets(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind((address, 0))
        listener.listen()
        client.connect(listener.getsockname())
        port = listener.getsockname()[1]
        seen = [one for one in list_sockets((6,)) if one.local[1] == port]
        mine = os.fstat(listener.fileno()).st_ino
        assert any(one.inode == mine and one.state == 10 for one in seen)
        plain = address.removeprefix("::ffff:")
        assert (plain, plain) in list_connected((1, port))
        assert list_connected((1,)) == []
        ends = {(one.local[0], one.remote[1]) for one in seen if one.state == ESTABLISHED}
        assert (address.removeprefix("::ffff:"), client.getsockname()[1]) in ends
