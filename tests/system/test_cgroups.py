"""The cgroup2 hierarchy and the exec gate, below a cgroup of the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.apps import parse_app
from byway_systemd.core.config import GATE_CGROUP, Profile
from byway_systemd.core.errors import UnsupportedError
from byway_systemd.system import cgroups, exec_gate
from byway_systemd.system.cgroups import Marker
from byway_systemd.system.executables import observe_executables
from byway_systemd.system.fanotify import ExecPermission
from byway_systemd.system.host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a cgroup that stands for the root of the hierarchy; it and all below are removed."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    root = Path(next(target for _, target, kind, *_ in mounts if kind == "cgroup2"))
    own = Path(tempfile.mkdtemp(prefix="byway-test-", dir=root))
    monkeypatch.setattr(cgroups, "MOUNT", own)
    monkeypatch.setattr(exec_gate, "MOUNT", own)
    yield own
    for directory, _, _ in os.walk(own, topdown=False):
        Path(directory).rmdir()


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process.pid
        assert process.stdin
        process.stdin.close()


@pytest.mark.parametrize(
    ("mounts", "fits"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", True),
        ("x / ext4 rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", True),
        ("tmpfs /sys/fs/cgroup tmpfs rw 0 0\n", False),
        ("cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n", False),
        ("\xff\n\nshort\n", False),
    ],
)
def test_require_unified(tmp_path: Path, mounts: str, fits: bool) -> None:
    path = tmp_path / "mounts"
    path.write_bytes(mounts.encode("latin-1"))
    if fits:
        cgroups.require_unified(str(path))
    else:
        with pytest.raises(UnsupportedError, match="unified"):
            cgroups.require_unified(str(path))


def test_the_gate_refuses_what_the_daemon_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse() -> None:
        raise UnsupportedError("not unified")

    monkeypatch.setattr(cgroups, "require_unified", refuse)
    with pytest.raises(UnsupportedError):  # without it: ConfigError, as there is no such file
        Host(tmp_path / "none.toml").run_gate()


def test_cgroup_of_reads_the_unified_line(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_bytes(b"12:pids:/other\n0::/a b/\xff\n")
    assert cgroups.cgroup_of(7, str(tmp_path)) == "/a b/\udcff"
    assert cgroups.cgroup_of(8, str(tmp_path)) == ""
    assert cgroups.cgroup_of(os.getpid()).startswith("/")


def test_id_is_the_inode(mount: Path) -> None:
    (mount / "a").mkdir()
    assert cgroups.cgroup_id("/a") == (mount / "a").stat().st_ino
    assert cgroups.cgroup_id("/none") is None


def test_moves_and_members(mount: Path, sleeper: int) -> None:
    (mount / "a/b").mkdir(parents=True)
    assert cgroups.members("/a") == []
    cgroups.write_pid("/a/b", sleeper)
    assert cgroups.members("/a") == [(sleeper, "/a/b")]
    assert cgroups.cgroup_of(sleeper).endswith("/a/b")
    assert cgroups.members("/none") == []
    origin = cgroups.cgroup_of(os.getpid())
    with pytest.raises(ProcessLookupError):
        cgroups.write_pid("/a/b", 2**22 - 1)
    assert cgroups.cgroup_of(os.getpid()) == origin
    Path(f"{mount.parent}/cgroup.procs").write_text(str(sleeper))


def test_marker_of_the_nearest_cgroup(mount: Path) -> None:
    (mount / "a/b/c").mkdir(parents=True)
    (mount / "a/d").mkdir()
    assert cgroups.read_marker("/a/b/c") is None
    cgroups.write_marker("/a/b", Marker("/user.slice/\u00e9", "/opt/*/x"))
    assert cgroups.read_marker("/a/b/c") == Marker("/user.slice/\u00e9", "/opt/*/x")
    assert cgroups.read_marker("/a/b") == cgroups.read_marker("/a/b/c")
    assert cgroups.read_marker("/a/d") is None


def test_empty_scopes_are_byways_own(mount: Path, sleeper: int) -> None:
    for name in ("byway-a.scope", "byway-b.scope", "foreign.scope", "byway-c.service"):
        (mount / "byway.slice" / name).mkdir(parents=True)
    cgroups.write_pid("/byway.slice/byway-b.scope", sleeper)
    assert cgroups.empty_scopes("/byway.slice") == ["byway-a.scope"]
    assert cgroups.empty_scopes("/none") == []
    Path(f"{mount.parent}/cgroup.procs").write_text(str(sleeper))


class Held:
    """A gate over a copy of /bin/sleep and a thread that serves it while programs are started."""

    def __init__(self, mount: Path, program: Path) -> None:
        self.program = program
        self.profile = Profile(name="lte", apps=(parse_app(str(program)),))
        self.place = f"{mount}{self.profile.gate_cgroup}"
        Path(self.place).mkdir(parents=True)
        self.gate = exec_gate.Gate(ExecPermission())
        self.arm(self.profile)

    def arm(self, profile: Profile) -> None:
        self.gate.arm(observe_executables([profile]), (profile,))

    def start(self) -> subprocess.Popen[bytes]:
        """Start the program; this returns when its exec was let through."""
        found: list[subprocess.Popen[bytes]] = []
        thread = threading.Thread(
            target=lambda: found.append(subprocess.Popen([self.program], stdin=subprocess.PIPE))
        )
        thread.start()
        while thread.is_alive():
            self.gate.admit()
            thread.join(0.005)
        return found[0]


@pytest.fixture
def held(mount: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    # With vfork(2) the interpreter's lock is held until the exec is done, and the gate in the same
    # process could never let it through (docs.python.org/3/library/subprocess.html, _USE_VFORK).
    monkeypatch.setattr(subprocess, "_USE_VFORK", False)
    made = Held(mount, Path(shutil.copy("/bin/cat", tmp_path / "cat")))
    yield made
    made.gate.permission.close()
    for descriptor in made.gate.cgroups.values():
        os.close(descriptor)


def finish(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.close()
    assert process.wait() == 0


def test_gate_places_before_the_first_instruction(held: Held) -> None:
    origin = cgroups.cgroup_of(os.getpid())
    process = held.start()
    ((pid, cgroup),) = cgroups.members(held.profile.gate_cgroup)
    assert pid == process.pid
    assert cgroups.read_marker(cgroup) == Marker(origin, str(held.program))
    again = held.start()
    assert {c for _, c in cgroups.members(held.profile.gate_cgroup)} == {cgroup}, "one an origin"
    held.gate.sweep()
    assert len(cgroups.members(held.profile.gate_cgroup)) == 2
    finish(process)
    finish(again)
    held.gate.sweep()
    assert [p for p in Path(held.place).iterdir() if p.is_dir()] == []
    finish(held.start())  # and places anew
    assert held.gate.failure == ""


def test_gate_lets_go_on_what_it_cannot_place(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "refused")

    monkeypatch.setattr(exec_gate, "write_marker", refuse)
    finish(held.start())
    assert "refused" in held.gate.failure


def test_gate_survives_a_cgroup_that_was_removed(held: Held) -> None:
    finish(held.start())
    (cgroup,) = (path for path in Path(held.place).iterdir() if path.is_dir())
    cgroup.rmdir()
    process = held.start()
    assert [pid for pid, _ in cgroups.members(held.profile.gate_cgroup)] == [process.pid]
    finish(process)


def test_gate_leaves_alone_what_is_not_listed_any_more(held: Held) -> None:
    held.arm(Profile(name="lte"))
    assert held.gate.targets == {}
    process = subprocess.Popen([held.program], stdin=subprocess.PIPE)  # nobody admits
    assert cgroups.members(GATE_CGROUP) == []
    finish(process)


def test_gate_never_holds_the_manager(mount: Path, tmp_path: Path) -> None:
    program = Path(shutil.copy("/bin/true", tmp_path / "systemd"))
    profile = Profile(apps=(parse_app(str(program)),))
    gate = exec_gate.Gate(ExecPermission())
    gate.arm(observe_executables([profile]), (profile,))
    subprocess.run([program], check=True)
    assert gate.targets == {}
    gate.permission.close()
