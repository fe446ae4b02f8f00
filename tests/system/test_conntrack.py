"""Which tracked flows are forgotten: what the kernel says, as bytes."""

from __future__ import annotations

import socket
import struct

import pytest

from byway_systemd.core.near import NearAddresses
from byway_systemd.system import conntrack
from byway_systemd.system.conntrack import LocalEnd, forget_flows
from byway_systemd.system.netlink import Message, Reply, render_attribute

MASK, DIRECT = 0x3F000000, 0x01000000
HOST, PEER, LAN = "10.2.0.1", "198.51.100.1", "192.168.1.5"
NEAR = NearAddresses(["192.168.1.0/24"])


def flow(
    one: tuple[str, int], other: tuple[str, int], *, mark: int = 0, protocol: int = 17
) -> bytes:
    """Return a flow as a dump has it: the original tuple, the mark and the id."""
    (source, source_port), (destination, port) = one, other
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    first = 3 if family is socket.AF_INET6 else 1
    addresses = b"".join(
        render_attribute(first + index, socket.inet_pton(family, address))
        for index, address in enumerate((source, destination))
    )
    ports = render_attribute(1, bytes([protocol]))
    if protocol in (1, 58):
        ports += render_attribute(4 if protocol == 1 else 7, struct.pack("!H", source_port))
    elif protocol == 17:
        ports += render_attribute(2, struct.pack("!H", source_port))
        ports += render_attribute(3, struct.pack("!H", port))
    original = render_attribute(0x8001, addresses) + render_attribute(0x8002, ports)
    return (
        struct.pack("=BBH", family, 0, 0)
        + render_attribute(0x8001, original)
        + (render_attribute(8, struct.pack("!I", mark)) if mark else b"")
        + render_attribute(12, b"\0\0\0\7")
    )


class Kernel:
    """Stands in for the netlink socket: has these flows, and remembers what was deleted."""

    def __init__(self, flows: list[bytes]) -> None:
        self._flows = flows
        self.deleted: list[bytes] = []

    def __call__(self, protocol: int) -> Kernel:
        return self

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def dump(self, kind: int, payload: bytes, attempt: str) -> list[Reply]:
        return [Reply(kind, 0, 1, payload) for payload in self._flows]

    def request(self, message: Message) -> None:
        self.deleted.append(message.payload)


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


@pytest.mark.parametrize(
    ("tracked", "end", "forgotten"),
    [
        (flow((HOST, 4000), (PEER, 53)), LocalEnd(17, 4000), True),
        (flow((HOST, 4000), (PEER, 53)), LocalEnd(17, 4000, packed(HOST)), True),
        (flow((HOST, 4000), (PEER, 53)), LocalEnd(17, 4000, packed(LAN)), False),
        (flow((HOST, 4000), (PEER, 53)), LocalEnd(17, 4001), False),
        (flow((HOST, 4000), (PEER, 53)), LocalEnd(136, 4000), False),
        (flow((HOST, 4000), (PEER, 53), mark=DIRECT | 5), LocalEnd(17, 4000), False),
        (flow((HOST, 4000), (PEER, 53), mark=0x3000000), LocalEnd(17, 4000), True),
        (flow((HOST, 4000), (LAN, 53)), LocalEnd(17, 4000), False),
        (flow((PEER, 53), (HOST, 4000)), LocalEnd(17, 4000), True),
        (flow((PEER, 53), (HOST, 4000)), LocalEnd(17, 4000, packed(HOST)), True),
        (flow((LAN, 53), (HOST, 4000)), LocalEnd(17, 4000), False),
        (flow(("2001:db8::1", 4000), ("2001:db8:9::1", 53)), LocalEnd(17, 4000), True),
        (flow((HOST, 77), (PEER, 0), protocol=1), LocalEnd(1, 77), True),
        (flow(("2001:db8::1", 77), ("2001:db8:9::1", 0), protocol=58), LocalEnd(58, 77), True),
        (flow((HOST, 0), (PEER, 0), protocol=50), LocalEnd(17, 0), False),
    ],
)
def test_which_flows_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, tracked: bytes, end: LocalEnd, forgotten: bool
) -> None:
    kernel = Kernel([tracked])
    monkeypatch.setattr(conntrack, "NetlinkSocket", kernel)
    assert forget_flows([end], DIRECT, MASK, NEAR) == int(forgotten)
    assert bool(kernel.deleted) is forgotten
    if forgotten:
        assert kernel.deleted[0][:1] == tracked[:1]
        assert kernel.deleted[0].endswith(render_attribute(12, b"\0\0\0\7"))
