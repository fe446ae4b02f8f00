"""What the kernel tells of execs, and holding them: needs root in the initial namespaces."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byway_systemd.system.fanotify import ExecPermission
from byway_systemd.system.process_events import ExecEvents, LostEventsError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
PATIENCE = 5.0


@pytest.fixture
def permission() -> Iterator[ExecPermission]:
    opened = ExecPermission()
    yield opened
    if Path(f"/proc/self/fd/{opened.fileno()}").exists():
        opened.close()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return Path(shutil.copy("/bin/true", tmp_path / "true"))


@pytest.fixture
def execs() -> Iterator[ExecEvents]:
    opened = ExecEvents()
    opened.read()
    yield opened
    opened.close()


def readable(source: ExecPermission | ExecEvents, seconds: float = PATIENCE) -> bool:
    return bool(select.select([source.fileno()], [], [], seconds)[0])


def spawn(program: Path) -> int:
    """Start a program; return its pid at once, while Popen would wait for the exec that is held.

    By a shell: a fork of this process would hold the group open until it has executed something.
    """
    return os.posix_spawn("/bin/sh", ["sh", "-c", 'exec "$0"', str(program)], os.environ)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_exec_is_told_with_its_pid(execs: ExecEvents) -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    seen: list[int] = []
    deadline = time.monotonic() + PATIENCE
    while process.pid not in seen and time.monotonic() < deadline:
        assert readable(execs)
        seen += execs.read()
    assert seen.count(process.pid) == 1


def test_forks_and_exits_are_not_told(execs: ExecEvents) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    subprocess.run(["/bin/true"], check=True)
    assert readable(execs)
    assert pid not in execs.read()


def test_nothing_to_read(execs: ExecEvents) -> None:
    execs.read()
    assert isinstance(execs.read(), list)


def test_lost_events_are_said_to_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byway_systemd.system.process_events._BUFFER", 2048)
    small = ExecEvents()
    try:
        subprocess.run(["sh", "-c", "for i in $(seq 60); do /bin/true; done"], check=True)
        with pytest.raises(LostEventsError):
            small.read()
        assert isinstance(small.read(), list), "and then it goes on"
    finally:
        small.close()


def test_exec_waits_until_it_is_allowed(permission: ExecPermission, program: Path) -> None:
    permission.mark(str(program))
    pid = spawn(program)
    assert readable(permission)
    (held,) = permission.read()
    assert held.pid == pid
    assert held.pidfd >= 0
    status = os.fstat(held.descriptor)
    assert (status.st_dev, status.st_ino) == (program.stat().st_dev, program.stat().st_ino)
    time.sleep(0.05)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it waits"
    assert Path(f"/proc/{pid}/exe").resolve() != program
    permission.allow(held)
    assert ended(pid) == 0
    for descriptor in (held.descriptor, held.pidfd):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_other_files_are_not_held(permission: ExecPermission, program: Path) -> None:
    permission.mark(str(program))
    other = Path(shutil.copy("/bin/true", program.with_name("other")))
    assert ended(spawn(other)) == 0
    assert not readable(permission, 0)


def test_hard_link_is_the_same_file(permission: ExecPermission, program: Path) -> None:
    permission.mark(str(program))
    link = program.with_name("link")
    link.hardlink_to(program)
    pid = spawn(link)
    assert readable(permission)
    for held in permission.read():
        permission.allow(held)
    assert ended(pid) == 0


def test_reading_is_not_held(permission: ExecPermission, program: Path) -> None:
    permission.mark(str(program))
    assert program.read_bytes()
    assert not readable(permission, 0)


def test_nothing_is_held_after_unmarking(permission: ExecPermission, program: Path) -> None:
    permission.mark(str(program))
    permission.unmark(str(program))
    assert ended(spawn(program)) == 0


def test_end_of_the_holder_releases(permission: ExecPermission, program: Path) -> None:
    permission.mark(str(program))
    pid = spawn(program)
    assert readable(permission)
    permission.close()
    assert ended(pid) == 0


def test_killed_holder_releases(program: Path) -> None:
    ready, told = os.pipe()
    holder = os.fork()
    if holder == 0:
        held = ExecPermission()
        held.mark(str(program))
        os.write(told, b"x")
        time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    pid = spawn(program)
    time.sleep(0.05)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it waits"
    os.kill(holder, 9)
    os.waitpid(holder, 0)
    assert ended(pid) == 0
    os.close(ready)
    os.close(told)


def test_mark_of_what_is_not_there(permission: ExecPermission) -> None:
    with pytest.raises(FileNotFoundError):
        permission.mark("/nonexistent")


def test_nothing_to_answer(permission: ExecPermission) -> None:
    assert list(permission.read()) == []
