"""A cgroup of the tests' own that stands for the root of the hierarchy."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byway_systemd.system import cgroups, exec_gate, gate_keeper, homes

if TYPE_CHECKING:
    from collections.abc import Iterator

BUS = """<busconfig><listen>unix:path={0}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>"""


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make it; it and all below are removed. What is outside of it is in its root, to byway."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    root = Path(next(target for _, target, kind, *_ in mounts if kind == "cgroup2"))
    own = Path(tempfile.mkdtemp(prefix="byway-test-", dir=root))
    real = cgroups.cgroup_of

    def seen(pid: int) -> str:
        cgroup = real(pid)
        return cgroup.removeprefix(f"/{own.name}") or "/" if cgroup else ""

    for module in (cgroups, exec_gate, gate_keeper):
        monkeypatch.setattr(module, "MOUNT", own)
    for module in (exec_gate, gate_keeper, homes):
        monkeypatch.setattr(module, "cgroup_of", seen)
    yield own
    end = time.monotonic() + 5  # a killed process stays for a moment
    while "populated 1" in (own / "cgroup.events").read_text() and time.monotonic() < end:
        time.sleep(0.01)
    for directory, _, _ in os.walk(own, topdown=False):
        Path(directory).rmdir()


@pytest.fixture
def sleeper() -> Iterator[int]:
    """Run a program, until it waits; its pid."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        while "pipe_read" not in Path(f"/proc/{process.pid}/wchan").read_text():
            time.sleep(0.001)
        yield process.pid
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a message bus that stands in for the system's."""
    (tmp_path / "bus.conf").write_text(BUS.format(tmp_path))
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
    command = ["dbus-daemon", "--nofork", "--print-address", f"--config-file={tmp_path}/bus.conf"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout
        assert daemon.stdout.readline()
        yield
        daemon.terminate()
