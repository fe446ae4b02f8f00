"""Users' holders, below a cgroup of the tests' own."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.steering import RELEASED
from byway_systemd.system import cgroups, homes
from byway_systemd.system.cgroups import Marker
from byway_systemd.system.processes import descendants, start_time, uid_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

UID = 12345
SLICE = f"/user.slice/user-{UID}.slice"
HOLDER = f"{SLICE}/user@{UID}.service/byway.slice/byway-apps.service"
HOME = f"{HOLDER}/default"
MARKER = Marker(f"{SLICE}/session-1.scope", "/usr/bin/curl")


@contextmanager
def running(uid: int = UID, script: str = "cat") -> Iterator[int]:
    shell = ["/bin/sh", "-c", script]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, user=uid, start_new_session=True) as child:
        yield child.pid
        os.killpg(child.pid, 9)


def place(pid: int, start: int = 0) -> tuple[int, ...]:
    return homes.place(pid, start or start_time(pid), HOME, MARKER)


def test_places_with_descendants_and_gives_back(mount: Path) -> None:
    (mount / HOLDER[1:]).mkdir(parents=True)
    (mount / MARKER.origin[1:]).mkdir()
    with running(script="sleep 60 & sleep 60; true") as pid:
        end = time.monotonic() + 5
        while len(descendants(pid)) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert place(pid) == ()
        found = {cgroup for _, cgroup in cgroups.members(HOLDER)}
        assert len(cgroups.members(HOLDER)) == 3
        assert len(found) == 1
        home = found.pop()
        assert home.startswith(f"{HOME}/moved-")
        assert cgroups.read_marker(home) == MARKER
        assert (mount / home[1:]).stat().st_uid == (mount / HOME[1:]).stat().st_uid == UID
        assert homes.give_back(pid, start_time(pid), MARKER.origin)
        assert (pid, MARKER.origin) in cgroups.members(MARKER.origin)
        for other, _ in cgroups.members(HOLDER):
            homes.give_back(other, start_time(other), f"{SLICE}/session-2.scope")  # has ended
        assert {c for _, c in cgroups.members(HOLDER)} == {f"{HOLDER}/{RELEASED}/rest"}
    end = time.monotonic() + 5
    (mount / f"{HOME[1:]}/made-by-the-user").mkdir()
    while not cgroups.empty_homes() and time.monotonic() < end:
        time.sleep(0.01)
    assert cgroups.empty_homes() == [home]
    cgroups.remove(home)
    assert cgroups.empty_homes() == []


def test_without_a_holder(mount: Path) -> None:
    (mount / SLICE[1:]).mkdir(parents=True)
    with running() as pid, pytest.raises(FileNotFoundError):
        place(pid)
    with running() as pid, pytest.raises(FileNotFoundError):
        homes.place(pid, start_time(pid), "", MARKER)
    assert not list(mount.glob("**/byway*"))


def test_only_the_users_own_processes(mount: Path) -> None:
    (mount / HOLDER[1:]).mkdir(parents=True)
    for uid in (0, UID + 1):
        with running(uid) as pid, pytest.raises(ProcessLookupError):
            place(pid)
    with running() as pid, pytest.raises(ProcessLookupError):
        place(pid, start=1)  # the pid was another's
    with running() as pid:
        assert not homes.give_back(pid, start_time(pid), "/system.slice")
        assert not homes.give_back(pid, start_time(pid), MARKER.origin)  # is not in the session
    assert cgroups.members("") == []


def test_ids_that_differ_are_nobodys() -> None:
    with running() as pid:
        assert uid_of(pid) == UID
    script = f"import os; os.setresuid(0, {UID}, 0); print(flush=True); input()"
    with subprocess.Popen(
        ["python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        assert uid_of(child.pid) == -1
        child.kill()
