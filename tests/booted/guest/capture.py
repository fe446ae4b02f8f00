"""Captures packets inside the agent, in any network namespace, without starting a program."""

import ctypes
import ipaddress
import socket
import struct
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
ALL_PROTOCOLS = 0x0003
PORTS_OF = {6, 17}
captures = {}


def open_in(namespace, interface, made):
    """Open a packet socket in NAMESPACE; only this thread goes there."""
    try:
        if namespace:
            with open(f"/run/netns/{namespace}") as there:
                if LIBC.setns(there.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {namespace}")
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PROTOCOLS))
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
        packets.bind((interface, ALL_PROTOCOLS))
        made.append(packets)
    except OSError as error:
        made.append(error)


def start(interface, namespace=None):
    """Begin; the capture's number."""
    made = []
    opener = threading.Thread(target=open_in, args=(namespace, interface, made))
    opener.start()
    opener.join()
    if isinstance(made[0], OSError):
        raise made[0]
    number = made[0].fileno()
    seen = []
    captures[number] = (made[0], seen)
    threading.Thread(target=receive, args=(made[0], seen), daemon=True).start()
    return number


def receive(packets, seen):
    """Note every packet until the socket is shut."""
    while True:
        try:
            octets, address = packets.recvfrom(256)
        except OSError:
            return
        if packet := describe(octets, address):
            seen.append(packet)


def describe(octets, address):
    """[direction, source, destination, protocol, source port, destination port] of an IP packet."""
    direction = "out" if address[2] == socket.PACKET_OUTGOING else "in"
    if address[1] == 0x0800:
        source, destination, protocol = octets[12:16], octets[16:20], octets[9]
        inner = octets[(octets[0] & 15) * 4 :]
    elif address[1] == 0x86DD:
        source, destination, protocol = octets[8:24], octets[24:40], octets[6]
        inner = octets[40:]
    else:
        return None
    ports = struct.unpack_from("!HH", inner) if protocol in PORTS_OF and len(inner) >= 4 else (0, 0)
    ends = [str(ipaddress.ip_address(end)) for end in (source, destination)]
    return [direction, *ends, protocol, *ports]


def seen(number):
    """All packets so far."""
    return list(captures[number][1])


def stop(number):
    """End, and all packets."""
    packets, seen = captures.pop(number)
    packets.close()
    return seen
