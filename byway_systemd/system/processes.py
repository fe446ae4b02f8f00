"""Processes: what they run and where they are (proc(5))."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from byway_systemd.core.config import GATE_OWN_CGROUP, HOLDER_CGROUP
from byway_systemd.core.observed import Executable, FileState, Group, Process
from byway_systemd.core.placement import find_groups, match_executable, may_be_adopted
from byway_systemd.system.cgroups import cgroup_of, members, read_marker

if TYPE_CHECKING:
    from collections.abc import Iterable

_OWN_CGROUPS = (GATE_OWN_CGROUP, HOLDER_CGROUP)  # of byway's own processes
_AT_FDCWD = -100
_AT_STATX_DONT_SYNC = 0x4000
_STATX_INO = 0x100
_libc = ctypes.CDLL(None, use_errno=True)


class _Statx(ctypes.Structure):
    """struct statx of include/uapi/linux/stat.h, as far as the device."""

    _fields_ = (
        ("mask_to_size", ctypes.c_uint8 * 32),
        ("inode", ctypes.c_uint64),
        ("blocks_to_times", ctypes.c_uint8 * (0x80 - 0x28)),
        ("special_major", ctypes.c_uint32),
        ("special_minor", ctypes.c_uint32),
        ("device_major", ctypes.c_uint32),
        ("device_minor", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 112),
    )


def identify(path: str) -> tuple[int, int]:
    """Return (device, inode) of ``path`` from the kernel's memory; raise OSError.

    statx(2) with AT_STATX_DONT_SYNC: a plain stat(2) of a program on a user's own FUSE mount would
    ask that user's process, which could keep byway waiting for ever.
    """
    result = _Statx()
    flags = _AT_STATX_DONT_SYNC
    if _libc.statx(_AT_FDCWD, path.encode(), flags, _STATX_INO, ctypes.byref(result)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return os.makedev(result.device_major, result.device_minor), result.inode


def start_time(pid: int) -> int:
    """Return the process's start in clock ticks since boot; raise OSError when it is gone."""
    return _birth(pid)[0]


def uid_of(pid: int) -> int:
    """Return whose the process is, -1 when its user ids differ; raise OSError when it is gone.

    A program with the set-user-ID bit is nobody's: in a user's cgroups he could end it.
    """
    with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123
        ids = next((set(line.split()[1:]) for line in file if line.startswith(b"Uid:")), set())
    return int(ids.pop()) if len(ids) == 1 else -1


def _birth(pid: int) -> tuple[int, int]:
    """Return the process's start and its parent's pid; raise OSError when it is gone."""
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
        # The second field is the name in brackets, which may itself hold spaces and brackets.
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[19]), int(fields[1])


def parent_of(pid: int) -> int:
    """Return the pid of the process's parent; raise OSError when it is gone."""
    return _birth(pid)[1]


def network_of(pid: int) -> str:
    """Return what names the process's network namespace; raise OSError when it is gone."""
    return os.readlink(f"/proc/{pid}/ns/net")  # noqa: PTH115


def image_of(pid: int) -> bytes:
    """Return what differs after every successful exec of a process; empty when it cannot be told.

    It is the auxiliary vector (getauxval(3)), full of addresses that each exec draws anew. Neither
    the program (a script's is its interpreter's) nor the name does it (both may stay the same).
    """
    return _read(f"/proc/{pid}/auxv")


def call_of(pid: int) -> bytes:
    """Return the system call a process waits in, with its arguments; empty when it is gone."""
    return _read(f"/proc/{pid}/syscall")


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def observe_process(pid: int, executables: Iterable[Executable]) -> Process | None:
    """Return a process, None when it is gone or a kernel thread.

    The interpreted script is only looked up where ``executables`` has scripts.
    """
    has_scripts = any(e.state is FileState.SCRIPT for e in executables)
    try:
        start, parent = _birth(pid)
        base = f"/proc/{pid}"
        path = os.readlink(f"{base}/exe")  # noqa: PTH115
        device, inode = identify(f"{base}/exe")
        script = _script(pid) if has_scripts else ""
        in_host_namespace = os.readlink(f"{base}/ns/mnt") == _host_namespace()  # noqa: PTH115
        uid = uid_of(pid)
    except OSError:
        return None
    cgroup = cgroup_of(pid)
    marker = read_marker(cgroup) if "/byway.slice/" in cgroup else None
    return Process(
        pid, start, path, device, inode, cgroup, script,
        origin=marker.origin if marker else "",
        app=marker.app if marker else "",
        in_host_namespace=in_host_namespace,
        parent=parent,
        uid=uid,
    )  # fmt: skip


def observe_processes(
    executables: tuple[Executable, ...], slices: Iterable[str]
) -> tuple[Process, ...]:
    """Return the processes that match ``executables`` or are in one of the ``slices``."""
    placed = (member for cgroup in slices for member in members(cgroup))
    pids = {pid for pid, cgroup in placed if not cgroup.endswith(_OWN_CGROUPS)}
    if executables:
        has_scripts = any(e.state is FileState.SCRIPT for e in executables)
        pids.update(pid for pid in _all_pids() if runs_listed(pid, executables, has_scripts))
    pids.discard(os.getpid())
    pids.discard(1)
    found = (observe_process(pid, executables) for pid in sorted(pids))
    return tuple(process for process in found if process)


def observe_groups(
    processes: tuple[Process, ...],
    executables: tuple[Executable, ...],
    known: tuple[Group, ...] = (),
) -> tuple[Group, ...]:
    """Return the cgroups outside of all slices in which one listed app runs, and nothing else.

    But for those that are ``known`` to be an app's already.
    """
    cgroups = {
        process.cgroup
        for process in processes
        if may_be_adopted(process.cgroup) and match_executable(process, executables)
    }
    cgroups.difference_update(group.cgroup for group in known)
    seen = {cgroup: _observe_members(cgroup, executables) for cgroup in cgroups}
    return find_groups(seen, executables)


def _observe_members(cgroup: str, executables: tuple[Executable, ...]) -> tuple[Process, ...]:
    """Return all processes in and below ``cgroup``; what cannot be looked at matches nothing."""
    return tuple(
        observe_process(pid, executables) or Process(pid, 0, "", cgroup=place)
        for pid, place in members(cgroup)
    )


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208


def runs_listed(pid: int, executables: tuple[Executable, ...], has_scripts: bool) -> bool:  # noqa: FBT001
    """Whether a process runs one of ``executables``, in whichever namespace."""
    try:
        path = os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115
        device, inode = identify(f"/proc/{pid}/exe")
        script = _script(pid) if has_scripts else ""
    except OSError:
        return False
    process = Process(pid, 0, path, device, inode, script=script)
    return match_executable(process, executables) is not None


def _script(pid: int) -> str:
    """Return the absolute path of the first argument that is no option; empty when none.

    It is text alone: the path is never opened, as it is the process's own and may lead anywhere.
    """
    with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
        arguments = file.read(8192).split(b"\0")[1:4]
    for argument in arguments:
        if argument and not argument.startswith(b"-"):
            text = argument.decode(errors="surrogateescape")
            if not text.startswith("/"):
                text = os.path.join(os.readlink(f"/proc/{pid}/cwd"), text)  # noqa: PTH115, PTH118
            return os.path.normpath(text)
    return ""


def _host_namespace() -> str:
    return os.readlink("/proc/1/ns/mnt")  # noqa: PTH115


def descendants(pid: int) -> list[int]:
    """Return the pids of the process's descendants, nearest first."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop(0)
        try:
            for task in os.listdir(f"/proc/{parent}/task"):  # noqa: PTH208
                with open(f"/proc/{parent}/task/{task}/children", "rb") as file:  # noqa: PTH123
                    children = [int(child) for child in file.read().split()]
                found += children
                waiting += children
        except OSError:
            continue
    return found
