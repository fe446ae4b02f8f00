"""The socket marker, on this kernel and in cgroups of the tests' own."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byway_systemd.system.socket_marker import SocketMarkers, render_program

if TYPE_CHECKING:
    from collections.abc import Iterator

MASK = 0x3F000000
_SO_MARK = 36


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup with a child, taken away afterwards."""
    lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    mount = next(Path(fields[1]) for fields in lines if fields[2] == "cgroup2")
    parent = Path(tempfile.mkdtemp(prefix="byway-marker-", dir=mount))
    child = parent / "child"
    child.mkdir()
    yield parent
    child.rmdir()
    parent.rmdir()


def mark_of_new_socket(cgroup: Path) -> int:
    """Return the mark of a socket that is made in ``cgroup``."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))
        with socket.socket() as made:
            mark = made.getsockopt(socket.SOL_SOCKET, _SO_MARK)
        os.write(writer, str(mark).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        return int(answer.read())


def test_attach_and_detach(cgroup: Path) -> None:
    markers = SocketMarkers()
    assert markers.probe() == ""
    assert markers.observe(str(cgroup)) == ()
    markers.attach(str(cgroup), 0x01000000, MASK)
    assert markers.observe(str(cgroup)) == (0x01000000,)
    assert mark_of_new_socket(cgroup) == 0x01000000
    assert mark_of_new_socket(cgroup / "child") == 0x01000000
    markers.detach(str(cgroup), 0x01000000)
    assert markers.observe(str(cgroup)) == ()
    assert mark_of_new_socket(cgroup) == 0


def test_the_child_wins(cgroup: Path) -> None:
    markers = SocketMarkers()
    markers.attach(str(cgroup), 0x01000000, MASK)
    markers.attach(str(cgroup / "child"), 0x03000000, MASK)
    assert mark_of_new_socket(cgroup) == 0x01000000
    assert mark_of_new_socket(cgroup / "child") == 0x03000000


def test_a_cgroup_that_has_gone(cgroup: Path) -> None:
    markers = SocketMarkers()
    assert markers.observe(str(cgroup / "gone")) == ()
    with pytest.raises(FileNotFoundError):
        markers.attach(str(cgroup / "gone"), 0x01000000, MASK)


@pytest.fixture
def bpf_file_system(tmp_path: Path) -> Iterator[Path]:
    """One of the tests' own."""
    subprocess.run(["mount", "-t", "bpf", "bpf", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_pins(bpf_file_system: Path) -> None:
    markers = SocketMarkers()
    pins = bpf_file_system / "byway"
    assert markers.observe_pins(pins) == ()
    for mark in (0x01000000, 0x03000000):  # the second one replaces the first
        markers.pin(pins / "default", mark, MASK)
        assert markers.observe_pins(pins) == (("default", mark),)
    (pins / "of-nobody").mkdir()
    assert markers.observe_pins(pins) == (("default", 0x03000000), ("of-nobody", 0))
    (pins / "of-nobody").rmdir()
    for _ in range(2):
        markers.unpin(pins / "default")
        assert not pins.exists()


def test_no_pins_without_their_file_system(tmp_path: Path) -> None:
    assert SocketMarkers().observe_pins(tmp_path / "byway") is None
    assert SocketMarkers().observe_pins(tmp_path / "gone" / "byway") is None


def test_program_is_whole_instructions() -> None:
    assert len(render_program(0x01000000, MASK)) == 9 * 8
