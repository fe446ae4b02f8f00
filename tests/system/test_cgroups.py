"""The cgroup2 hierarchy, below a cgroup of the tests' own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from byway_systemd.core.errors import UnsupportedError
from byway_systemd.system import cgroups
from byway_systemd.system.cgroups import Marker
from byway_systemd.system.host import Host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


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


MANAGER = "/user.slice/user-1000.slice/user@1000.service"


def test_slices_of_users(mount: Path) -> None:
    holder = f"{MANAGER}/byway.slice/byway-apps.service"
    made = ("/byway.slice/byway-lte.slice", f"{MANAGER}/byway.slice/byway-lte.slice")
    for cgroup in (*made, f"{holder}/lte", "/user.slice/user-1001.slice/user@1000.service"):
        (mount / cgroup[1:]).mkdir(parents=True)
    assert cgroups.user_managers() == [(1000, MANAGER)]
    assert cgroups.steered_cgroups() == [
        "/byway.slice", made[0], f"{MANAGER}/byway.slice", made[1], f"{holder}/lte",
    ]  # fmt: skip


def test_what_a_user_makes_up_is_bounded(mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "MOST_CGROUPS", 5)
    for number in range(20):
        (mount / f"{MANAGER[1:]}/byway.slice/byway-{number}.slice").mkdir(parents=True)
    assert len(cgroups.steered_cgroups()) == 6
    deep = "/a" * 20
    (mount / deep[1:]).mkdir(parents=True)
    cgroups.write_marker("/a/a", Marker("/x", "/y"))
    assert cgroups.read_marker(deep) == Marker("/x", "/y")
    cgroups.write_marker(deep, Marker("/z", "/z"))
    assert cgroups.read_marker(deep) == Marker("/x", "/y"), "nobody put a marker so deep"
