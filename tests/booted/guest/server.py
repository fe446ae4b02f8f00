"""The internet's host: tells whoever asks by what address it was reached.

TCP 80 and 443 speak HTTP and answer with the peer's address as the body. TCP 7000 to 7003 greet
with "ADDRESS PORT" and send every line back behind the address, for as long as the client stays.
UDP 443, 5353 and 7000 to 7003 answer every datagram with "ADDRESS PORT".
"""

import asyncio
import os
import socket

HTTP_PORTS = (80, 443)
LINE_PORTS = range(7000, 7004)
DATAGRAM_PORTS = (443, 5353, *LINE_PORTS)


def name_of(peer):
    """ADDRESS PORT; a mapped IPv4 address as IPv4."""
    return f"{peer[0].removeprefix('::ffff:')} {peer[1]}"


async def serve_http(reader, writer):
    """Answer one request."""
    await reader.readuntil(b"\r\n\r\n")
    body = name_of(writer.get_extra_info("peername")).split()[0] + "\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write((head + body).encode())
    await writer.drain()
    writer.close()


async def serve_lines(reader, writer):
    """Greet, and send every line back."""
    peer = name_of(writer.get_extra_info("peername"))
    writer.write(f"{peer}\n".encode())
    try:
        while line := await reader.readline():
            writer.write(peer.split()[0].encode() + b" " + line)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


class Datagrams(asyncio.DatagramProtocol):
    """Answers each datagram from the address it was sent to."""

    def connection_made(self, transport):
        """Keep what to answer with."""
        self.transport = transport

    def datagram_received(self, octets, peer):
        """Answer."""
        self.transport.sendto(f"{name_of(peer)}\n".encode(), peer)


async def main():
    """Listen on everything, then say so to systemd."""
    loop = asyncio.get_running_loop()
    hosts = (10, 20, 30)
    addresses = [
        f"{network}{host}" for network in ("198.51.100.", "2001:db8:f::") for host in hosts
    ]
    for port in HTTP_PORTS:
        await asyncio.start_server(serve_http, "::", port, family=socket.AF_INET6)
        await asyncio.start_server(serve_http, "0.0.0.0", port)
    for port in LINE_PORTS:
        await asyncio.start_server(serve_lines, "::", port, family=socket.AF_INET6)
        await asyncio.start_server(serve_lines, "0.0.0.0", port)
    for port in DATAGRAM_PORTS:
        for address in addresses:
            await loop.create_datagram_endpoint(Datagrams, local_addr=(address, port))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    await asyncio.Event().wait()


asyncio.run(main())
