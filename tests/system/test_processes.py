"""Processes and the files they run, on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.apps import parse_app
from byway_systemd.core.config import Profile
from byway_systemd.core.observed import FileState
from byway_systemd.core.placement import match_executable
from byway_systemd.system import processes
from byway_systemd.system.executables import observe_executables

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def this_namespace_is_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take these tests' own mount namespace for PID 1's: they may run in a container."""
    namespace = os.readlink("/proc/self/ns/mnt")  # noqa: PTH115
    monkeypatch.setattr(processes, "_host_namespace", lambda: namespace)


@contextmanager
def running(*command: str) -> Iterator[int]:
    """Run a command that reads its input until the end; give its pid once it runs."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"x\n")
        process.stdin.flush()
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.stdin.close()


@pytest.mark.parametrize("path", ["/bin/sh", "/proc/self/exe", "/dev/null", "/tmp", "/"])  # noqa: S108
def test_identify_is_what_stat_says(path: str) -> None:
    status = os.stat(path)  # noqa: PTH116
    assert processes.identify(path) == (status.st_dev, status.st_ino)


def test_identify_what_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        processes.identify("/nonexistent")


def test_start_time_tells_a_process_from_its_successor(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"  # brackets and spaces in the name
    shutil.copy("/bin/cat", program)
    with running(str(program)) as pid:
        ticks = os.sysconf("SC_CLK_TCK")
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        assert abs(processes.start_time(pid) / ticks - uptime) < 60
        assert processes.start_time(pid) == processes.start_time(pid)
    with pytest.raises(OSError, match="No such"):
        processes.start_time(pid)


def test_observes_a_process(tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copy("/bin/cat", program)
    executables = observe_executables([Profile(apps=(parse_app(str(program)),))])
    with running(str(program)) as pid:
        process = processes.observe_process(pid, executables)
        assert process
        assert (process.pid, process.path) == (pid, str(program))
        assert match_executable(process, executables) == executables[0]
        program.unlink()
        process = processes.observe_process(pid, executables)
        assert process
        assert process.path == f"{program} (deleted)"
        assert match_executable(process, executables) == executables[0]
        shutil.copy("/bin/cat", program)
        upgraded = observe_executables([Profile(apps=(parse_app(str(program)),))])
        assert match_executable(process, upgraded) == upgraded[0]
    assert processes.observe_process(pid, executables) is None


def test_another_mount_namespace_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with running("cat") as pid:
        process = processes.observe_process(pid, ())
        assert process
        assert process.in_host_namespace
        monkeypatch.setattr(processes, "_host_namespace", lambda: "mnt:[1]")
        process = processes.observe_process(pid, ())
        assert process
        assert not process.in_host_namespace


def test_kernel_threads_and_the_dead_are_nobody() -> None:
    assert processes.observe_process(2**22 + 1, ()) is None


@pytest.mark.parametrize("relative", [False, True])
def test_observes_a_script(tmp_path: Path, relative: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"#!{sys.executable}\nimport sys\nprint(flush=True)\nsys.stdin.read()\n")
    script.chmod(0o755)
    executables = observe_executables([Profile(apps=(parse_app(str(script)),))])
    assert executables[0].state is FileState.SCRIPT
    monkeypatch.chdir(tmp_path)
    with running(sys.executable, "-B", "script.py" if relative else str(script)) as pid:
        process = processes.observe_process(pid, executables)
        assert process
        assert process.script == str(script)
        assert match_executable(process, executables) == executables[0]
        without = processes.observe_process(pid, ())
        assert without
        assert without.script == "", "only looked up where scripts are listed"


def test_finds_what_runs_a_listed_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copy("/bin/cat", program)
    executables = observe_executables([Profile(apps=(parse_app(str(program)),))])
    assert processes.observe_processes(executables, ()) == ()
    with running(str(program)) as pid:
        assert [p.pid for p in processes.observe_processes(executables, ())] == [pid]
        assert processes.observe_processes((), ()) == ()


def test_descendants_nearest_first() -> None:
    with running("sh", "-c", "sh -c 'cat; :'; :") as pid:
        found = processes.descendants(pid)
        names = [Path(f"/proc/{child}/comm").read_text().strip() for child in found]
        assert names == ["sh", "cat"]
    assert processes.descendants(pid) == []


def test_executables(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin", "c.bin"):
        shutil.copy("/bin/true", tmp_path / name)
    (tmp_path / "c.bin").chmod(0o644)
    (tmp_path / "link").symlink_to("a.bin")
    (tmp_path / "directory").mkdir()
    (tmp_path / "fifo").parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / "fifo")

    def observe(name: str) -> list[tuple[str, str, FileState]]:
        found = observe_executables([Profile(apps=(parse_app(f"{tmp_path}/{name}"),))])
        return [(Path(e.path).name, Path(e.real_path).name, e.state) for e in found]

    assert observe("*.bin") == [
        ("a.bin", "a.bin", FileState.PROGRAM), ("b.bin", "b.bin", FileState.PROGRAM),
    ]  # fmt: skip
    assert observe("link") == [("link", "a.bin", FileState.PROGRAM)]
    assert observe("gone") == [("gone", "gone", FileState.MISSING)]
    assert observe("x*") == [("x*", "x*", FileState.MISSING)]
    assert observe("directory") == [("directory", "directory", FileState.DIRECTORY)]
    assert observe("fifo") == [("fifo", "fifo", FileState.MISSING)]
    assert observe_executables([Profile(apps=(parse_app("unit:a"),))]) == ()


REFUSED = {
    "systemd": FileState.ESSENTIAL,
    "dbus-broker": FileState.ESSENTIAL,
    "busybox": FileState.SHARED,
    "snap": FileState.SHARED,
    "plain": FileState.PROGRAM,
}


@pytest.mark.parametrize("name", REFUSED)
def test_executables_that_are_refused(tmp_path: Path, name: str) -> None:
    shutil.copy("/bin/true", tmp_path / name)
    (tmp_path / "link").symlink_to(name)
    profile = Profile(apps=(parse_app(f"{tmp_path}/{name}"), parse_app(f"{tmp_path}/link")))
    assert [e.state for e in observe_executables([profile])] == [REFUSED[name]] * 2


def test_own_interpreter_is_refused(tmp_path: Path) -> None:
    """By whichever name: as a link of a virtual environment, or a hard link."""
    (tmp_path / "python").symlink_to(sys.executable)
    profile = Profile(apps=(parse_app(f"{tmp_path}/python"), parse_app(sys.executable)))
    assert {e.state for e in observe_executables([profile])} == {FileState.ESSENTIAL}


def test_own_interpreter_is_refused_after_its_upgrade(tmp_path: Path) -> None:
    """It runs on as a deleted file, and the new one is the next byway's."""
    python = tmp_path / "python"
    shutil.copy(Path(sys.executable).resolve(), python)
    (tmp_path / "new").hardlink_to(shutil.copy("/bin/true", tmp_path / "true"))
    source = (
        "import os, sys; sys.path[:0] = eval(sys.argv[2]); os.rename(sys.argv[1] + '/new',"
        " sys.argv[1] + '/python')\n"
        "from byway_systemd.core.apps import parse_app\n"
        "from byway_systemd.core.config import Profile\n"
        "from byway_systemd.system.executables import observe_executables\n"
        "found = observe_executables([Profile(apps=(parse_app(sys.argv[1] + '/python'),))])\n"
        "print(found[0].state)"
    )
    command = [str(python), "-c", source, str(tmp_path), repr(sys.path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONHOME": sys.base_prefix}
    )
    assert done.stdout == "essential\n"


def test_hard_link_to_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = tmp_path / "system"
    system.mkdir()
    for name in ("busybox", "dbus-daemon", "other"):
        shutil.copy("/bin/true", system / name)
        (tmp_path / f"hard-{name}").hardlink_to(system / name)
    monkeypatch.setattr("byway_systemd.system.executables._FOLDERS", (str(system),))
    profile = Profile(apps=(parse_app(f"{tmp_path}/hard-*"),))
    states = {Path(e.path).name: e.state for e in observe_executables([profile])}
    assert states == {
        "hard-busybox": FileState.SHARED,
        "hard-dbus-daemon": FileState.ESSENTIAL,
        "hard-other": FileState.PROGRAM,
    }
