"""The exec gate's steps one by one, in this process and below a cgroup of the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.apps import parse_app
from byway_systemd.core.config import GATE_CGROUP, Config, Profile
from byway_systemd.core.errors import ConfigError
from byway_systemd.system import cgroups, exec_gate, gate_patience
from byway_systemd.system.cgroups import Marker
from byway_systemd.system.exec_gate import Gate, Moved, Progress
from byway_systemd.system.fanotify import ExecPermission, HeldExec
from byway_systemd.system.file_events import FileEvents
from byway_systemd.system.gate_keeper import Keeper
from byway_systemd.system.gate_patience import Activity, Patience, activity_of, seems_hung

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Held:
    """A gate over a copy of /bin/cat and a thread that serves it while programs are started."""

    def __init__(self, mount: Path, program: Path) -> None:
        self.program = program
        self.profile = Profile(name="lte", apps=(parse_app(str(program)),))
        self.config = Config(profiles=(self.profile,))
        self.place = f"{mount}{self.profile.gate_cgroup}"
        Path(self.place).mkdir(parents=True)
        self.progress = Progress()
        self.gate = Gate(ExecPermission(), self.progress)
        self.events = FileEvents()
        self.reports: list[str] = []
        self.keeper = Keeper(self.gate, lambda: self.config, self.events, (), self.reports.append)
        self.keeper.arm()

    def close(self) -> None:
        self.gate.close()
        self.events.close()
        self.progress.close()

    def arm(self, profile: Profile) -> None:
        self.config = Config(profiles=(profile,))
        self.keeper.arm()

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start the program, or what executes it; this returns when its exec was let through."""
        found: list[subprocess.Popen[bytes]] = []
        argv = command or (str(self.program),)
        thread = threading.Thread(
            target=lambda: found.append(subprocess.Popen(argv, stdin=subprocess.PIPE))
        )
        thread.start()
        while thread.is_alive():
            self.gate.admit()
            thread.join(0.005)
        return found[0]

    def members(self) -> list[int]:
        return [pid for pid, _ in cgroups.members(self.profile.gate_cgroup)]


@pytest.fixture
def held(mount: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    # With vfork(2) the interpreter's lock is held until the exec is done, and the gate in the same
    # process could never let it through (docs.python.org/3/library/subprocess.html, _USE_VFORK).
    monkeypatch.setattr(subprocess, "_USE_VFORK", False)
    made = Held(mount, Path(shutil.copy("/bin/cat", tmp_path / "cat")))
    yield made
    made.close()


def finish(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.close()
    assert process.wait() == 0


def test_places_before_the_first_instruction(held: Held) -> None:
    origin = exec_gate.cgroup_of(os.getpid())
    process = held.start()
    ((pid, cgroup),) = cgroups.members(held.profile.gate_cgroup)
    assert pid == process.pid
    assert cgroups.read_marker(cgroup) == Marker(origin, str(held.program))
    again = held.start()
    assert {c for _, c in cgroups.members(held.profile.gate_cgroup)} == {cgroup}, "one an origin"
    held.keeper.sweep()
    assert len(held.members()) == 2
    finish(process)
    finish(again)
    held.keeper.sweep()
    assert [p for p in Path(held.place).iterdir() if p.is_dir()] == []
    finish(held.start())  # and places anew
    assert held.gate.failure == ""


SESSION = "/user.slice/user-7.slice/session-1.scope"
HOLDER = "/user.slice/user-7.slice/user@7.service/byway.slice/byway-apps.service"


@pytest.mark.parametrize(
    ("uid", "holds", "mode", "at_home"),
    [
        (7, True, 0o755, True),
        (7, False, 0o755, False),
        (0, True, 0o755, False),  # behind sudo
        (7, True, 0o4755, False),  # becomes root's
    ],
)
def test_a_users_process_stays_with_the_session(  # noqa: PLR0913, PLR0917
    held: Held, mount: Path, monkeypatch: pytest.MonkeyPatch, uid: int, holds: bool, mode: int,
    at_home: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(exec_gate, "uid_of", lambda _: uid)
    (mount / SESSION[1:]).mkdir(parents=True)
    if holds:
        (mount / HOLDER[1:]).mkdir(parents=True)
    held.program.chmod(mode)
    enter = f"echo $$ >{mount}{SESSION}/cgroup.procs; exec {held.program}"
    process = held.start("/bin/sh", "-c", f"{enter}")
    until = time.monotonic() + 5
    while not (found := [*cgroups.members("/byway.slice"), *cgroups.members(HOLDER)]):
        held.gate.admit()
        assert time.monotonic() < until
    assert [pid for pid, _ in found] == [process.pid]
    cgroup = found[0][1]
    assert cgroup.startswith(f"{HOLDER}/lte/gate-" if at_home else "/byway.slice/")
    assert cgroups.read_marker(cgroup) == Marker(SESSION, str(held.program))
    if at_home:
        assert (mount / cgroup[1:]).stat().st_uid == uid
    finish(process)


def test_lets_go_on_what_it_cannot_place(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "refused")

    monkeypatch.setattr(exec_gate, "write_marker", refuse)
    finish(held.start())
    held.keeper.say_failure()
    assert held.reports[-1] == "holds 1 file; could not place: [Errno 1] refused"


def test_survives_a_cgroup_that_was_removed(held: Held) -> None:
    finish(held.start())
    (cgroup,) = (path for path in Path(held.place).iterdir() if path.is_dir())
    cgroup.rmdir()
    process = held.start()
    assert held.members() == [process.pid]
    finish(process)


def test_leaves_alone_what_is_not_listed_any_more(held: Held) -> None:
    held.arm(Profile(name="lte"))
    assert held.gate.targets == {}
    process = subprocess.Popen([held.program], stdin=subprocess.PIPE)  # nobody admits
    assert cgroups.members(GATE_CGROUP) == []
    finish(process)


def test_bad_configuration_changes_nothing(held: Held) -> None:
    def refuse() -> Config:
        raise ConfigError(())

    before = held.gate.targets
    keeper = Keeper(held.gate, refuse, held.events, (), held.reports.append)
    keeper.arm()
    assert held.gate.targets == {}, "nothing was ever listed"
    held.keeper.arm()
    held.keeper._load = refuse  # noqa: SLF001
    held.keeper.arm()
    assert held.gate.targets == before


def test_first_profile_that_lists_a_file_has_it(held: Held) -> None:
    other = Profile(name="other", apps=(parse_app(str(held.program.with_name("c?t"))),))
    held.config = Config(profiles=(held.profile, other))
    held.keeper.arm()
    assert [target.profile.name for target in held.gate.targets.values()] == ["lte"]


@pytest.fixture
def dead() -> int:
    """A pidfd of a process that has ended."""
    process = subprocess.Popen(["true"])
    descriptor = os.pidfd_open(process.pid)
    process.wait()
    return descriptor


def admit(held: Held, pid: int, pidfd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the exec of the program by a process were held."""
    descriptor = os.open(held.program, os.O_RDONLY)
    execs = [HeldExec(descriptor, pid, pidfd)]
    monkeypatch.setattr(ExecPermission, "read", lambda _: execs)
    monkeypatch.setattr(ExecPermission, "allow", lambda *_: None)
    held.gate.admit()
    os.close(descriptor)


def test_pid_that_is_another_process_now(
    held: Held, mount: Path, sleeper: int, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has the pid of a killed process was moved in its place: back to where its parent is."""
    (mount / "there").mkdir()
    cgroups.write_pid("/there", sleeper)
    admit(held, sleeper, dead, monkeypatch)
    assert held.members() == []
    assert exec_gate.cgroup_of(sleeper) == exec_gate.cgroup_of(os.getpid())
    assert len(held.gate.moved) == 0
    os.close(dead)


def test_pid_that_is_still_the_same(
    held: Held, mount: Path, sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pidfd = os.pidfd_open(sleeper)
    admit(held, sleeper, pidfd, monkeypatch)
    assert held.members() == [sleeper]
    assert [moved.pid for moved in held.gate.moved] == [sleeper]
    os.close(pidfd)
    cgroups.write_pid("/", sleeper)


def test_pid_that_is_gone(held: Held, dead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    admit(held, 2**22 + 1, dead, monkeypatch)
    admit(held, 2**22 + 1, -1, monkeypatch)
    assert held.gate.failure == ""
    os.close(dead)


def moved(held: Held, pid: int, image: bytes, call: bytes) -> Moved:
    cgroup = f"{held.profile.gate_cgroup}/it"
    Path(held.place, "it").mkdir(exist_ok=True)
    cgroups.write_pid(cgroup, pid)
    entry = Moved(100.0, pid, "/", cgroup, image, call)
    held.gate.moved.append(entry)
    return entry


def test_failed_exec_is_undone_after_a_second(held: Held, sleeper: int) -> None:
    moved(held, sleeper, exec_gate.image_of(sleeper), b"59 another")
    held.keeper.return_failed(100.9)
    assert held.members() == [sleeper]
    held.keeper.return_failed(101.0)
    assert held.members() == []
    assert not held.gate.moved


def test_exec_that_succeeded_is_not_undone(held: Held, sleeper: int) -> None:
    moved(held, sleeper, b"another image", b"59 another")
    held.keeper.return_failed(101.0)
    assert held.members() == [sleeper]
    assert not held.gate.moved
    cgroups.write_pid("/", sleeper)


def test_exec_that_somebody_else_holds_is_waited_for(held: Held, sleeper: int) -> None:
    call = exec_gate.call_of(sleeper)
    moved(held, sleeper, exec_gate.image_of(sleeper), call)
    held.keeper.return_failed(101.0)
    assert held.members() == [sleeper]
    assert [entry.moment for entry in held.gate.moved] == [101.0]
    cgroups.write_pid("/", sleeper)


def patience(held: Held, handler: int, monkeypatch: pytest.MonkeyPatch, states: str) -> Patience:
    """Patience with a handler whose threads are in ``states`` and use no CPU."""
    monkeypatch.setattr(gate_patience, "activity_of", lambda _: Activity(states, 0.0))
    return Patience(held.gate.permission, held.progress, handler)


@pytest.mark.parametrize(("states", "looks"), [("T", 5), ("SS", 5), ("RS", 40), ("SD", 40)])
def test_patience(held: Held, monkeypatch: pytest.MonkeyPatch, states: str, looks: int) -> None:
    """So many looks without progress, counted from when something is held."""
    watch = patience(held, os.getpid(), monkeypatch, states)
    assert not watch.is_over(1000.0), "nothing is held"
    held.progress.begin()
    watch.begin(0.0)
    watch.begin(0.01)
    assert [watch.is_over(0.1 * n) for n in range(1, looks)] == [False] * (looks - 1)
    held.progress.count()
    assert [watch.is_over(10 + 0.1 * n) for n in range(looks)] == [False] * looks
    held.progress.end()
    assert not watch.is_over(20.0)
    assert watch.next_look == float("inf")
    held.progress.begin()
    watch.begin(30.0)
    assert [watch.is_over(30 + 0.1 * n) for n in range(1, looks + 1)][-2:] == [False, True]


def test_a_clock_that_jumps_is_no_delay(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = patience(held, os.getpid(), monkeypatch, "T")
    held.progress.begin()
    watch.begin(0.0)
    assert not watch.is_over(3600.0), "one look"
    assert not watch.is_over(3600.0), "and the next is due later"


@pytest.mark.parametrize(
    ("states", "seconds", "hung"),
    [
        ("T", 0.0, True),
        ("SS", 0.0, True),
        ("SS", 0.08, True),
        ("RS", 0.07, True),  # it runs, and comes to no end
        ("RS", 0.03, False),  # others run
        ("DS", 0.0, False),
        ("TD", 0.0, False),
    ],
)
def test_seems_hung(states: str, seconds: float, hung: bool) -> None:
    assert seems_hung(Activity("RR", 1.0), Activity(states, 1.0 + seconds)) is hung


def test_activity(sleeper: int) -> None:
    assert activity_of(sleeper) == Activity("S", activity_of(sleeper).seconds)
    assert "R" in activity_of(os.getpid()).states
    assert activity_of(os.getpid()).seconds > 0
