"""What is kept below /run/byway."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from byway_systemd.system.files import STATE
from byway_systemd.system.state import State

if TYPE_CHECKING:
    from pathlib import Path


def test_sysctls_are_remembered_across_restarts(tmp_path: Path) -> None:
    State(tmp_path).save_sysctl("net/a", "0")
    State(tmp_path).save_sysctl("net/b", "2")
    assert State(tmp_path).saved_sysctls() == {"net/a": "0", "net/b": "2"}
    State(tmp_path).forget_sysctl("net/a")
    State(tmp_path).forget_sysctl("net/none")
    assert State(tmp_path).saved_sysctls() == {"net/b": "2"}
    State(tmp_path).forget_sysctl("net/b")
    assert list((tmp_path / STATE).iterdir()) == []


def test_status_is_for_everyone(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.read_status() == {}
    state.publish_status({"in_sync": True})
    assert state.read_status() == {"in_sync": True}
    (path,) = (tmp_path / STATE).iterdir()
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\udcff"])
def test_broken_state_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE).mkdir(parents=True)
    for name in ("status.json", "sysctls.json", "daemon.pid"):
        (tmp_path / STATE / name).write_bytes(text.encode(errors="surrogateescape"))
    state = State(tmp_path)
    assert (state.read_status(), state.saved_sysctls()) == ({}, {})
    if text != "3":
        assert state.daemon_pid() == 0


def test_daemon_pid_is_that_of_a_living_daemon(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.daemon_pid() == 0
    state.enter()
    assert state.daemon_pid() == os.getpid()
    (tmp_path / STATE / "daemon.pid").write_text("2\n")  # a kernel thread, or nobody
    assert state.daemon_pid() == 0
    (tmp_path / STATE / "daemon.pid").write_text("4194305\n")  # above PID_MAX_LIMIT
    assert state.daemon_pid() == 0


def test_touch_says_that_it_is_alive(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.touch()  # before it entered: nothing
    state.enter()
    path = tmp_path / STATE / "daemon.pid"
    os.utime(path, (1, 1))
    state.touch()
    assert path.stat().st_mtime > 1


def test_leave_removes_everything(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.enter()
    state.save_sysctl("a", "1")
    state.publish_status({})
    state.leave()
    state.leave()
    assert list((tmp_path / STATE).iterdir()) == []


def test_placements_are_of_one_manager(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.placements(1000, 5) == ""
    state.remember_placements(1000, 5, "a")
    state.remember_placements(1001, 6, "b")
    assert (state.placements(1000, 5), state.placements(1001, 6)) == ("a", "b")
    assert state.placements(1000, 7) == ""
    state.leave()
    assert state.placements(1000, 5) == ""
