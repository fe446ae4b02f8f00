"""The programs of the machine that the tests run on."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from byway_systemd.core.programs import RunningProgram
from byway_systemd.system.programs import observe_programs


def test_programs_are_those_at_their_path(tmp_path: Path) -> None:
    """One that was replaced or removed is not what its path selects."""
    names = ("kept", "removed", "replaced")
    children = []
    for name in names:
        shutil.copy("/bin/sleep", tmp_path / name)
        children.append(subprocess.Popen([tmp_path / name, "60"]))
    try:
        (tmp_path / "removed").unlink()
        (tmp_path / "replaced").rename(tmp_path / "old")
        shutil.copy("/bin/sleep", tmp_path / "replaced")
        (tmp_path / "old").unlink()
        found = {one.pid: one for one in observe_programs()}
    finally:
        for child in children:
            child.kill()
            child.wait()
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert found[children[0].pid] == RunningProgram(str(tmp_path / "kept"), children[0].pid, user)
    assert not {child.pid for child in children[1:]} & set(found)
    assert found[os.getpid()].path == str(Path("/proc/self/exe").resolve())


def test_kernel_threads_and_what_has_another_file_at_its_path(tmp_path: Path) -> None:
    for pid, target in (("2", None), ("7", "/bin/sleep"), ("8", "/etc/passwd")):
        (tmp_path / pid).mkdir()
        if target:
            (tmp_path / pid / "exe").symlink_to(target)
    (tmp_path / "self").mkdir()
    assert {(one.pid, one.path) for one in observe_programs(str(tmp_path))} == {
        (7, "/bin/sleep"),
        (8, "/etc/passwd"),
    }
