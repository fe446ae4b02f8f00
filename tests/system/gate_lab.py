"""The exec gate as a service, run natively below a cgroup of the tests' own.

The gate sees that cgroup as the root of a unified hierarchy at /sys/fs/cgroup: it runs in a mount
and a cgroup namespace, and in all else as on a booted machine. Programs are started by a shell in
the lab's cgroup ``session``, as a process of the tests must not wait for an exec itself.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from byway_systemd.core.config import GATE_CGROUP
from byway_systemd.core.parse import ConfigFile, parse_config
from byway_systemd.system.cgroups import cgroup_of

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 20.0
_CLONE_NEWNS, _CLONE_NEWCGROUP = 0x20000, 0x2000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000


class Lab:
    """A gate with the configuration ``config``, and programs that it holds."""

    def __init__(
        self, folder: Path, config: str, *, files: int = 4096, fault: str = "none"
    ) -> None:
        """``files`` is the limit of open files that the gate gets, ``fault`` one of FAULTS."""
        self.folder = folder
        self.config = folder / "byway.toml"
        self.config.write_text(config)
        self._options = (str(files), fault)
        mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
        top = next(target for _, target, kind, *_ in mounts if kind == "cgroup2")
        self.root = Path(tempfile.mkdtemp(prefix="byway-test-", dir=top))
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.log = (folder / "gate.log").open("wb+")
        self.gate: subprocess.Popen[bytes]
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        """Start it, and wait until it holds."""
        (self.root / "session").mkdir()
        (self.root / GATE_CGROUP[1:]).mkdir(parents=True)
        address = str(self.folder / "notify")
        self.notices.bind(address)
        self.gate = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(self.root), str(self.config), *self._options],
            env={**os.environ, "NOTIFY_SOCKET": address, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=self.log,
        )
        self.wait_for_notice("READY=1")
        return self

    def __exit__(self, *_: object) -> None:
        """End it and everything in its cgroups."""
        self.gate.send_signal(signal.SIGCONT)
        self.gate.terminate()
        self.gate.wait()
        deadline = time.monotonic() + PATIENCE
        while members := self.members("/"):
            assert time.monotonic() < deadline, f"{members} do not end"
            for pid in members:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in self._started:
            if process.stdout and not process.stdout.closed:
                process.communicate()
        self.notices.close()
        self.log.close()
        for directory, _, _ in os.walk(self.root, topdown=False):
            Path(directory).rmdir()

    def wait_for_notice(self, text: str, seconds: float = PATIENCE) -> str:
        """Wait until the gate tells the manager ``text``; return the whole message."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.notices.settimeout(left)
            message = self.notices.recv(65536).decode()
            if text in message:
                return message
        raise TimeoutError(text)

    def said(self) -> str:
        """What the gate has logged."""
        return (self.folder / "gate.log").read_text()

    @property
    def handler(self) -> int:
        """The pid of the handler."""
        children = Path(f"/proc/{self.gate.pid}/task/{self.gate.pid}/children")
        (pid,) = children.read_text().split()
        return int(pid)

    def marks(self) -> set[int]:
        """The inodes the gate holds, as the kernel lists them (fanotify in proc_pid_fdinfo(5))."""
        (group,) = groups_of(self.gate.pid)
        return {int(inode, 16) for inode in re.findall(r"fanotify ino:(\w+)", group)}

    def wait_for_mark(self, path: Path) -> float:
        """Wait until the gate holds a file; return the seconds it took."""
        begin = time.monotonic()
        while path.stat().st_ino not in self.marks():
            assert time.monotonic() < begin + PATIENCE, f"{path} is not held"
            time.sleep(0.001)
        return time.monotonic() - begin

    def await_handler(self, other_than: int) -> int:
        """Wait until another handler holds; return its pid."""
        self.wait_for_notice("STATUS=holds")
        assert self.handler != other_than
        return self.handler

    def start(self, command: str) -> subprocess.Popen[str]:
        """Run a shell's line in the session; its first step is to enter that cgroup."""
        line = f"echo 0 >{self.root}/session/cgroup.procs; {command}"
        process = subprocess.Popen(
            ["/bin/sh", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    def run(self, command: str) -> str:
        """The same, to its end; return what it printed."""
        shell = self.start(command)
        output, _ = shell.communicate(timeout=PATIENCE)
        assert shell.returncode == 0, output
        return output

    def members(self, cgroup: str = GATE_CGROUP) -> list[int]:
        """The pids in a cgroup of the lab and below it."""
        found = (self.root / cgroup.strip("/")).rglob("cgroup.procs")
        return [int(pid) for path in found for pid in path.read_text().split()]


def groups_of(pid: int) -> list[str]:
    """What the kernel tells of each fanotify group a process has open."""
    texts = []
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(OSError):  # it was closed meanwhile
            texts.append(path.read_text())
    return [text for text in texts if "fanotify flags" in text]


def hang(_pid: int) -> str:
    """Look for a process's cgroup for ever."""
    time.sleep(3600)
    return ""


def fail(_pid: int) -> str:
    """Break, as nothing is expected to."""
    raise ZeroDivisionError("a fault of the tests'")


FAULTS: dict[str, Callable[[int], str]] = {"none": cgroup_of, "hang": hang, "fail": fail}


def serve(root: str, config: str, files: str, fault: str) -> None:
    """Run the gate in namespaces of its own (this is the gate's process, from here on)."""
    import resource  # noqa: PLC0415

    from byway_systemd.system import exec_gate  # noqa: PLC0415
    from byway_systemd.system.gate_supervisor import run_gate  # noqa: PLC0415
    from byway_systemd.system.notify import notify  # noqa: PLC0415

    Path(root, "cgroup.procs").write_text("0")
    libc = ctypes.CDLL(None, use_errno=True)
    for done in (
        libc.unshare(_CLONE_NEWNS | _CLONE_NEWCGROUP),
        libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None),
        libc.mount(b"none", b"/sys/fs/cgroup", b"cgroup2", 0, None),
    ):
        assert done == 0, os.strerror(ctypes.get_errno())
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(files), int(files)))
    exec_gate.cgroup_of = FAULTS[fault]
    path = Path(config)
    run_gate(lambda: parse_config((ConfigFile(config, path.read_text()),)), notify, (path,))


_PROGRAM = "import sys; from system.gate_lab import serve; serve(*sys.argv[1:])"
