"""The proc connector: the kernel tells of every exec (include/uapi/linux/cn_proc.h)."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

_NETLINK_CONNECTOR = 11
_CN_IDX_PROC = _CN_VAL_PROC = 1
_LISTEN = 1  # PROC_CN_MCAST_LISTEN
_EXEC = 2  # PROC_EVENT_EXEC
_NLMSG_DONE = 3
_SO_RCVBUFFORCE = 33
_SO_ATTACH_FILTER = 26
_BUFFER = 8 * 1024 * 1024  # 20,000 events
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_CONNECTOR = struct.Struct("=IIIIHH")  # struct cn_msg
_WHAT = _HEADER.size + _CONNECTOR.size  # of struct proc_event: what, cpu, timestamp, then the data
_EVENT = struct.Struct("=IIQII")


class LostEventsError(Exception):
    """The buffer overflowed: processes must be scanned for."""


class ExecEvents:
    """Exec events of the whole machine; needs CAP_NET_ADMIN and the initial namespaces."""

    def __init__(self) -> None:
        """Subscribe; raise OSError where the kernel or a container does not allow it."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, _NETLINK_CONNECTOR
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            _attach_exec_filter(self._socket)
            self._socket.bind((0, _CN_IDX_PROC))
            self._send(struct.pack("=I", _LISTEN))
            # Linux 6.6 filters before it queues, given a mask; older ones ignore the longer form.
            self._send(struct.pack("=II", _LISTEN, _EXEC))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Unsubscribe."""
        self._socket.close()

    def read(self) -> list[int]:
        """Return the pids of processes that have executed a program.

        Raises LostEventsError when events were lost; what was queued is then dropped, since every
        process must be looked at anyway.
        """
        pids: list[int] = []
        lost = False
        while True:
            try:
                message = self._socket.recv(4096)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost = True
                continue
            if len(message) >= _WHAT + _EVENT.size:
                what, _, _, _, pid = _EVENT.unpack_from(message, _WHAT)
                if what == _EXEC:
                    pids.append(pid)
        if lost:
            raise LostEventsError
        return pids

    def _send(self, body: bytes) -> None:
        connector = _CONNECTOR.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, len(body), 0)
        length = _HEADER.size + len(connector) + len(body)
        header = _HEADER.pack(length, _NLMSG_DONE, 0, 0, os.getpid())
        self._socket.sendto(header + connector + body, (0, 0))


def _attach_exec_filter(events: socket.socket) -> None:
    """Let only exec events be queued: a classic BPF filter, for kernels before 6.6."""
    code = struct.Struct("=HBBI")
    instructions = b"".join(
        (
            code.pack(0x20, 0, 0, _WHAT),  # ld [what]: loads are big-endian
            code.pack(0x15, 0, 1, socket.htonl(_EXEC)),  # jeq
            code.pack(0x06, 0, 0, 0xFFFFFFFF),  # ret all
            code.pack(0x06, 0, 0, 0),  # ret nothing
        )
    )
    buffer = ctypes.create_string_buffer(instructions)
    program = struct.pack("HP", len(instructions) // code.size, ctypes.addressof(buffer))
    events.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
