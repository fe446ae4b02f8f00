"""The socket marker: an eBPF program that marks a socket when it is made in a cgroup (bpf(2)).

With the mark on the socket the kernel chooses the direct link's own source address at connect(2),
also under a kill switch and where the main table has no route at all; the nftables marks come too
late for that. The program is nine instructions, loaded without a compiler. An attachment outlives
the process that made it, and programs of parent and child cgroups both run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
# enum bpf_cmd, bpf_prog_type, bpf_attach_type and flags of include/uapi/linux/bpf.h
_OBJ_PIN, _OBJ_GET = 6, 7
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH = 5, 8, 9
_PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD, _PROG_QUERY = 13, 15, 16
_CGROUP_SOCK, _SOCK_CREATE, _ALLOW_MULTI = 9, 2, 2
_MARK = 16  # offset of mark in struct bpf_sock
_MOST_PROGRAMS = 64
_NAME = "byway_"
_BPF_FS_MAGIC = 0xCAFE4A11  # include/uapi/linux/magic.h
_libc = ctypes.CDLL(None, use_errno=True)


class SocketMarkers:
    """The markers on cgroups: which there are, and one more or less."""

    def __init__(self) -> None:
        """Look up the system call's number for this processor."""
        self._number = _SYSCALL.get(os.uname().machine)

    def probe(self) -> str:
        """Return why the kernel cannot load a marker; empty when it can."""
        try:
            os.close(self._load(1, 1))
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def observe(self, cgroup: str) -> tuple[int, ...]:
        """Return the marks that byway's programs on the directory ``cgroup`` set."""
        try:
            return tuple(mark for mark, _ in self._programs(cgroup))
        except FileNotFoundError:  # the cgroup has gone
            return ()

    def attach(self, cgroup: str, mark: int, mask: int) -> None:
        """Mark every socket that is made in ``cgroup`` from now on; raise OSError."""
        program = self._load(mark, mask)
        try:
            self._change(_PROG_ATTACH, cgroup, program, _ALLOW_MULTI)
        finally:
            os.close(program)

    def detach(self, cgroup: str, mark: int) -> None:
        """Take byway's programs for ``mark`` off ``cgroup``; raise OSError."""
        for found, number in self._programs(cgroup):
            if found == mark:
                program = self._call(_PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))
                try:
                    self._change(_PROG_DETACH, cgroup, program, 0)
                finally:
                    os.close(program)

    def observe_pins(self, directory: Path) -> tuple[tuple[str, int], ...] | None:
        """Return the (name, mark) of each program in ``directory``; None without a BPF file system.

        What is not byway's has the mark 0.
        """
        try:
            if _file_system(directory.parent) != _BPF_FS_MAGIC:
                return None
        except OSError:
            return None
        try:
            paths = sorted(directory.iterdir())
        except FileNotFoundError:
            return ()
        return tuple((path.name, self._pinned_mark(path)) for path in paths)

    def pin(self, path: Path, mark: int, mask: int) -> None:
        """Keep a program for ``mark`` at ``path``, in the place of any other; raise OSError.

        It is another one than what ``attach`` loads: a cgroup takes no program twice.
        """
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.unlink(missing_ok=True)
        program = self._load(mark, mask)
        name = ctypes.create_string_buffer(bytes(path))
        try:
            self._call(_OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), program, 0))
        finally:
            os.close(program)

    def unpin(self, path: Path) -> None:
        """Remove it, and the directory with the last one; where systemd attached it, it stays."""
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    def _pinned_mark(self, path: Path) -> int:
        name = ctypes.create_string_buffer(bytes(path))
        try:
            program = self._call(_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))
            return self._mark_of_program(program)
        except (OSError, ValueError):
            return 0

    def _load(self, mark: int, mask: int) -> int:
        code = ctypes.create_string_buffer(render_program(mark, mask))
        license_ = ctypes.create_string_buffer(b"GPL")
        name = f"{_NAME}{mark:08x}".encode()
        attributes = struct.pack(
            "=IIQQIIQII16sII",
            _CGROUP_SOCK, (len(code) - 1) // 8, ctypes.addressof(code),
            ctypes.addressof(license_), 0, 0, 0, 0, 0, name, 0, _SOCK_CREATE,
        )  # fmt: skip
        return self._call(_PROG_LOAD, attributes)

    def _change(self, command: int, cgroup: str, program: int, flags: int) -> None:
        directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._call(command, struct.pack("=IIII", directory, program, _SOCK_CREATE, flags))
        finally:
            os.close(directory)

    def _programs(self, cgroup: str) -> list[tuple[int, int]]:
        """Return (mark, program id) of byway's programs on ``cgroup``."""
        directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            numbers = (ctypes.c_uint32 * _MOST_PROGRAMS)()
            query = ctypes.create_string_buffer(
                struct.pack(
                    "=IIIIQII", directory, _SOCK_CREATE, 0, 0, ctypes.addressof(numbers),
                    _MOST_PROGRAMS, 0,
                )
            )  # fmt: skip
            self._call(_PROG_QUERY, query)
            count = struct.unpack_from("=I", query, 24)[0]
        finally:
            os.close(directory)
        found = []
        for number in numbers[:count]:
            with suppress(OSError, ValueError):  # gone meanwhile, or somebody else's
                found.append((self._mark_of(number), number))
        return found

    def _mark_of(self, number: int) -> int:
        return self._mark_of_program(
            self._call(_PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))
        )

    def _mark_of_program(self, program: int) -> int:
        """Return the mark in the name of a program, which is closed; ValueError if not byway's."""
        try:
            # struct bpf_prog_info: the name is at 64, 16 bytes long
            info = ctypes.create_string_buffer(256)
            length = len(info)
            query = struct.pack("=IIQ", program, length, ctypes.addressof(info))
            self._call(_OBJ_GET_INFO_BY_FD, query)
            name = info.raw[64:80].partition(b"\0")[0].decode()
        finally:
            os.close(program)
        if not name.startswith(_NAME):
            raise ValueError(name)
        return int(name.removeprefix(_NAME), 16)

    def _call(self, command: int, attributes: bytes | ctypes.Array[ctypes.c_char]) -> int:
        if self._number is None:
            raise OSError(errno.ENOSYS, f"bpf(2) is not known on {os.uname().machine}")
        if isinstance(attributes, bytes):
            attributes = ctypes.create_string_buffer(attributes, max(len(attributes), 128))
        result = _libc.syscall(self._number, command, attributes, len(attributes))
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"bpf(2) command {command}: {os.strerror(number)}")
        return int(result)


def _file_system(path: Path) -> int:
    """Return the magic number of the file system at ``path`` (statfs(2)); raise OSError."""
    status = ctypes.create_string_buffer(256)
    if _libc.statfs(bytes(path), status) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    return int(struct.unpack_from("@l", status)[0])


def render_program(mark: int, mask: int) -> bytes:
    """Return the instructions: set the masked bits of the socket's mark unless one is set already.

    Unless: the child's program runs before the parent's, and is the more special one.
    """
    foreign = ~mask & 0xFFFFFFFF

    def instruction(code: int, registers: int, offset: int, value: int) -> bytes:
        return struct.pack("=BBhI", code, registers, offset, value)

    return b"".join(
        (
            instruction(0x61, 0x12, _MARK, 0),  # r2 = *(u32 *)(r1 + mark)
            instruction(0xBC, 0x23, 0, 0),  # w3 = w2
            instruction(0x54, 0x03, 0, mask),  # w3 &= mask
            instruction(0x55, 0x03, 3, 0),  # if r3 != 0 goto end
            instruction(0x54, 0x02, 0, foreign),  # w2 &= ~mask
            instruction(0x44, 0x02, 0, mark),  # w2 |= value
            instruction(0x63, 0x21, _MARK, 0),  # *(u32 *)(r1 + mark) = r2
            instruction(0xB7, 0x00, 0, 1),  # end: r0 = 1, the socket may be made
            instruction(0x95, 0, 0, 0),  # exit
        )
    )
