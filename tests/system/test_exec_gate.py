"""The exec gate as its service runs it: what it holds, and that nothing holds for long."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from system.gate_lab import Lab, groups_of

from byway_systemd.core.config import GATE_CGROUP

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PLACED = f"{GATE_CGROUP}/default/"
CGROUP = "/proc/self/cgroup"
# Seconds; what takes 0.4 and less alone, here beside booted machines. bench/ has the figures.
SOON = 3.0
# Each is given the program and what it prints; python3 is for what sh cannot do.
PYTHON = f"{sys.executable} -c"
WAYS = {
    "fork": "({} {}; :)",
    "exec": "exec {} {}",
    "vfork": (
        f"{PYTHON} 'import subprocess, sys; subprocess.run(sys.argv[1:], check=True)' {{}} {{}}"
    ),
    "posix_spawn": (
        f"{PYTHON} 'import os, sys; a = sys.argv[1:];"
        " os.waitpid(os.posix_spawn(a[0], a, {{}}), 0)' {} {}"
    ),
    "from a thread": (
        f"{PYTHON} 'import os, sys, threading as t; a = sys.argv[1:];"
        " t.Thread(target=os.execv, args=(a[0], a)).start()' {} {}"
    ),
    "fexecve": (
        f"{PYTHON} 'import os, sys; a = sys.argv[1:];"
        " os.execve(os.open(a[0], os.O_RDONLY), a, {{}})' {} {}"
    ),
    "loosened": "unshare --mount --pid --fork {} {}",
    "another user's namespace": "unshare --user --map-root-user {} {}",
    "another user": "setpriv --reuid 65534 --regid 65534 --clear-groups {} {}",
}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Copy `cat` to a path every user may execute."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    return Path(shutil.copy("/bin/cat", tmp_path / "program"))


@pytest.fixture
def lab(tmp_path: Path, program: Path) -> Iterator[Lab]:
    with Lab(tmp_path, f'apps = ["{program}"]\n') as made:
        yield made


def place(output: str) -> str:
    """The cgroup that a program which printed /proc/self/cgroup was in."""
    return output.rpartition("0::")[2].strip()


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_start_a_program(lab: Lab, program: Path, way: str) -> None:
    assert PLACED in place(lab.run(WAYS[way].format(program, CGROUP)))
    assert place(lab.run(WAYS[way].format("/bin/cat", CGROUP))).endswith("/session")


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "script"])
def test_every_kind_of_file(tmp_path: Path, program: Path, kind: str) -> None:
    other = tmp_path / "other"
    if kind == "symbolic link":
        other.symlink_to(program)
    elif kind == "hard link":
        other.hardlink_to(program)
    else:
        other.write_text('#!/bin/sh\ncat "$@"\n')
        other.chmod(0o755)
    with Lab(tmp_path, f'apps = ["{other}"]\n') as lab:
        assert PLACED in place(lab.run(f"{other} {CGROUP}"))


def test_another_network_is_left_alone(lab: Lab, program: Path) -> None:
    assert place(lab.run(f"unshare --net {program} {CGROUP}")).endswith("/session")


def test_many_on_a_busy_machine(lab: Lab, program: Path) -> None:
    """A handler that waits for the processor does not hang."""
    handler = lab.handler
    lab.start("for i in $(seq 12); do while :; do :; done & done; wait")
    output = lab.run(f"for i in $(seq 30); do {program} {CGROUP} & done; wait")
    found = [line for line in output.splitlines() if line.startswith("0::")]
    assert [line for line in found if PLACED not in line] == []
    assert len(found) == 30
    assert lab.handler == handler


def test_two_hundred_at_once(lab: Lab, program: Path) -> None:
    output = lab.run(f"for i in $(seq 200); do {program} {CGROUP} & done; wait")
    found = [line for line in output.splitlines() if line.startswith("0::")]
    assert len(found) == 200
    assert [line for line in found if PLACED not in line] == []


def test_stopped_handler_delays_by_half_a_second(lab: Lab, program: Path) -> None:
    """Measured 0.40 s alone."""
    handler = lab.handler
    os.kill(handler, signal.SIGSTOP)
    begin = time.monotonic()
    lab.run(f"{program} {CGROUP}")
    assert 0.3 < time.monotonic() - begin < SOON
    assert lab.await_handler(handler)
    assert "hung with an exec held" in lab.said()
    assert PLACED in place(lab.run(f"{program} {CGROUP}"))


def test_stopped_handler_delays_many_no_longer(lab: Lab, program: Path) -> None:
    handler = lab.handler
    os.kill(handler, signal.SIGSTOP)
    begin = time.monotonic()
    lab.run(f"for i in $(seq 50); do {program} {CGROUP} & done; wait")
    assert time.monotonic() - begin < SOON
    lab.await_handler(handler)
    assert lab.said().count("hung with an exec held") == 1


def test_hanging_handler_delays_by_half_a_second(tmp_path: Path, program: Path) -> None:
    """It has taken the event and never answers."""
    with Lab(tmp_path, f'apps = ["{program}"]\n', fault="hang") as lab:
        for count in (1, 2):
            handler, begin = lab.handler, time.monotonic()
            assert place(lab.run(f"{program} {CGROUP}")).endswith("/session")
            assert 0.3 < time.monotonic() - begin < SOON
            lab.await_handler(handler)
            assert lab.said().count("hung with an exec held") == count


def test_stopped_handler_without_an_exec_is_left_alone(lab: Lab, program: Path) -> None:
    handler = lab.handler
    lab.run(f"{program} {CGROUP}")
    os.kill(handler, signal.SIGSTOP)
    time.sleep(0.8)
    os.kill(handler, signal.SIGCONT)
    assert PLACED in place(lab.run(f"{program} {CGROUP}"))
    assert lab.handler == handler


def test_killed_handler_releases_at_once(lab: Lab, program: Path) -> None:
    handler = lab.handler
    os.kill(handler, signal.SIGSTOP)
    held = lab.start(f"exec {program} {CGROUP}")
    wait_until_held(held.pid)
    os.kill(handler, signal.SIGKILL)
    assert held.communicate()[0]
    assert held.returncode == 0
    lab.await_handler(handler)
    assert "was killed (signal 9)" in lab.said()
    assert "hung" not in lab.said(), "the supervisor closed the group without waiting"
    assert PLACED in place(lab.run(f"{program} {CGROUP}"))


def test_killed_supervisor_takes_the_handler_along(lab: Lab, program: Path) -> None:
    handler = lab.handler
    os.kill(handler, signal.SIGSTOP)
    held = lab.start(f"exec {program} {CGROUP}")
    wait_until_held(held.pid)
    lab.gate.kill()
    assert held.communicate()[0]
    lab.gate.wait()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{handler}").exists():
        assert time.monotonic() < deadline, "the handler goes on"


def test_stopped_supervisor_holds_nothing(lab: Lab, program: Path) -> None:
    os.kill(lab.gate.pid, signal.SIGSTOP)
    assert PLACED in place(lab.run(f"{program} {CGROUP}"))


def test_one_group_at_a_time(lab: Lab, program: Path) -> None:
    for _ in range(3):
        handler = lab.handler
        os.kill(handler, signal.SIGKILL)
        lab.await_handler(handler)
    assert len(groups_of(lab.gate.pid)) == len(groups_of(lab.handler)) == 1
    assert PLACED in place(lab.run(f"{program} {CGROUP}"))


def test_broken_handler_lets_go_on(tmp_path: Path, program: Path) -> None:
    with Lab(tmp_path, f'apps = ["{program}"]\n', fault="fail") as lab:
        assert place(lab.run(f"{program} {CGROUP}")).endswith("/session")
        assert "a fault of the tests'" in lab.wait_for_notice("could not place")
        assert "could not place a program" in lab.said()
        assert lab.gate.poll() is None


def test_few_descriptors_deny_nothing(tmp_path: Path, program: Path) -> None:
    """Out of descriptors the kernel denies the exec that it cannot tell of."""
    with Lab(tmp_path, f'apps = ["{program}"]\n', files=48) as lab:
        for number in range(60):  # each is one more cgroup to write to
            (lab.root / f"session/{number}").mkdir()
        enter = f"echo 0 >{lab.root}/session/$((i % 60))/cgroup.procs"
        output = lab.run(f"for i in $(seq 240); do ({enter}; exec {program} {CGROUP}) & done; wait")
        found = [line for line in output.splitlines() if line.startswith("0::")]
        assert len(found) == 240, output
        assert [line for line in found if PLACED not in line] == []


def test_idle_it_does_nothing(lab: Lab, program: Path) -> None:
    """Neither wakes up between two signs of life, which are seconds apart."""
    lab.run(f"{program} {CGROUP}")
    time.sleep(1.3)  # the last look at what was moved
    before = switches(lab.handler), switches(lab.gate.pid)
    time.sleep(1.0)
    assert switches(lab.handler) == before[0]
    assert switches(lab.gate.pid) <= before[1] + 1


def test_upgrade_while_it_runs(lab: Lab, program: Path) -> None:
    running = lab.start(f"exec {program}")
    while running.pid not in lab.members():
        time.sleep(0.01)
    for _ in range(20):
        new = Path(shutil.copy("/bin/cat", program.with_name("new")))
        new.replace(program)
        assert lab.wait_for_mark(program) < SOON
        assert PLACED in place(lab.run(f"{program} {CGROUP}"))
    assert running.pid in lab.members()
    running.communicate()


@pytest.mark.parametrize("listed", ["app/*", "*/bin/program", "[a-z]*/*/program", "a/b/program"])
def test_new_file(tmp_path: Path, listed: str) -> None:
    with Lab(tmp_path, f'apps = ["{tmp_path}/opt/{listed}"]\n') as lab:
        for folder in ("app", "one/bin", "two/bin", "a/b"):
            (tmp_path / "opt" / folder).mkdir(parents=True)
        time.sleep(0.1)
        for folder in {"app/*": ["app"], "a/b/program": ["a/b"]}.get(
            listed, ["one/bin", "two/bin"]
        ):
            path = tmp_path / "opt" / folder / "program"
            shutil.copy("/bin/cat", path)
            assert lab.wait_for_mark(path) < SOON
            assert PLACED in place(lab.run(f"{path} {CGROUP}"))


@pytest.mark.parametrize("link", ["listed", "alternative", "version"])
def test_link_that_leads_elsewhere(tmp_path: Path, link: str) -> None:
    """Listed -> alternative -> version/program, and version -> 1 or 2."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        shutil.copy("/bin/cat", tmp_path / version / "program")
    targets = {"listed": "alternative", "alternative": "version/program", "version": "1"}
    for name, target in targets.items():
        (tmp_path / name).symlink_to(target)
    with Lab(tmp_path, f'apps = ["{tmp_path}/listed"]\n') as lab:
        assert lab.marks() == {(tmp_path / "1/program").stat().st_ino}
        (tmp_path / "new").symlink_to("2" if link == "version" else "2/program")
        (tmp_path / "new").rename(tmp_path / link)
        assert lab.wait_for_mark(tmp_path / "2/program") < SOON
        assert lab.marks() == {(tmp_path / "2/program").stat().st_ino}


def test_mount_over_it(lab: Lab, tmp_path: Path, program: Path) -> None:
    other = Path(shutil.copy("/bin/cat", tmp_path / "other"))
    enter = ["nsenter", f"--mount=/proc/{lab.gate.pid}/ns/mnt"]
    subprocess.run([*enter, "mount", "--bind", other, program], check=True)
    assert lab.wait_for_mark(other) < SOON


# Linux 6.8 opens the file before it looks at the arguments, 6.14 knows AT_EXECVE_CHECK.
KERNEL = tuple(int(part) for part in os.uname().release.split(".")[:2])
FAILING = {"no format": "open(program, 'w').write('no program'); os.execv(program, ['x'])"}
if KERNEL >= (6, 8):
    FAILING["too long"] = "os.execv(program, ['x', 'x' * (1 << 22)])"
if KERNEL >= (6, 14):
    FAILING["checked"] = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True);"
        "none = (ctypes.c_char_p * 1)(None);"
        "assert libc.execveat(-100, program.encode(), none, none, 0x10000) == 0"
    )
SUCCEEDING = ["program", "script", "another one", *(["checked script"] * ("checked" in FAILING))]
EXECUTE = """
import os, sys, time
program = sys.argv[1]
try:
    {}
except OSError as error:
    pass
print(open("/proc/self/cgroup").read(), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("failing", FAILING)
def test_failed_exec_is_undone(lab: Lab, tmp_path: Path, program: Path, failing: str) -> None:
    (tmp_path / "execute.py").write_text(EXECUTE.format(FAILING[failing]))
    process = lab.start(f"exec {sys.executable} {tmp_path}/execute.py {program}")
    assert process.stdout
    while not (line := process.stdout.readline()).startswith("0::"):
        assert line
    assert PLACED in line, "it was held"
    deadline = time.monotonic() + 5
    while process.pid not in lab.members("session"):
        assert time.monotonic() < deadline, "it was not moved back"
        time.sleep(0.01)
    process.communicate()


@pytest.mark.parametrize("prefix", ["", "setarch -R "], ids=["random", "fixed addresses"])
@pytest.mark.parametrize("kind", SUCCEEDING)
def test_exec_that_succeeded_stays(tmp_path: Path, program: Path, kind: str, prefix: str) -> None:
    """Whatever its program is in the end: an interpreter, or one that is not listed."""
    line = f"{prefix}{program}"
    if kind != "program":
        lines = {
            "script": "#!/bin/sh\nread line\n",
            "checked script": "import os, sys\nprogram = sys.argv[0]\n"
            f"{FAILING.get('checked')}\nsys.stdin.read()\n",
            "another one": "#!/bin/sh\nexec cat\n",
        }
        program.write_text(lines[kind])
    if kind == "checked script":
        program.write_text(f"#!{sys.executable}\n" + program.read_text())
        line = f"{prefix}{sys.executable} {program}"  # not held: it asks whether it may be executed
    with Lab(tmp_path, f'apps = ["{program}"]\n') as lab:
        process = lab.start(f"exec {line}")
        deadline = time.monotonic() + 5
        while process.pid not in lab.members():
            assert time.monotonic() < deadline, "it was not held"
            time.sleep(0.01)
        time.sleep(2.2)
        assert process.pid in lab.members()
        process.communicate()


def wait_until_held(pid: int) -> None:
    """Wait until a shell has come to its exec, which is held."""
    deadline = time.monotonic() + 5
    while "fanotify" not in Path(f"/proc/{pid}/wchan").read_text():
        assert time.monotonic() < deadline, "it is not held"
        time.sleep(0.001)


def switches(pid: int) -> int:
    """How often a process has gone to sleep by itself."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_"))
    return total


def test_excluded_program_leaves_before_its_first_instruction(tmp_path: Path) -> None:
    mail = shutil.copy(os.path.realpath("/bin/sh"), tmp_path / "mail")
    browser, other = (shutil.copy("/bin/cat", tmp_path / name) for name in ("browser", "other"))
    config = f'[[app]]\npath = "{mail}"\nexclude = ["{browser}"]\n'
    with Lab(tmp_path, config) as lab:
        opened = lab.run(f"{mail} -c '{other} {CGROUP}; {browser} {CGROUP}; :'")
        stayed, left = (line for line in opened.splitlines() if line.startswith("0::"))
        assert GATE_CGROUP in stayed
        assert left.endswith("/session")
        assert place(lab.run(f"{browser} {CGROUP}")).endswith("/session")


@pytest.mark.parametrize(("profile", "moved"), [(b"default", False), (b"-", True), (b"lte", True)])
def test_what_is_adopted_for_the_profile_is_not_moved(
    lab: Lab, program: Path, profile: bytes, moved: bool
) -> None:
    os.setxattr(lab.root / "session", "trusted.byway.profile", profile)
    assert (PLACED in place(lab.run(f"{program} {CGROUP}"))) is moved
