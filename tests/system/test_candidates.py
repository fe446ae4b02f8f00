"""Candidates of the machine that the tests run on."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from byway_systemd.core.candidates import RunningUser
from byway_systemd.system.candidates import observe_network, observe_units, observe_users

if TYPE_CHECKING:
    from pathlib import Path


def test_units_are_those_of_slices(mount: Path) -> None:
    user = "user.slice/user-7.slice/user@7.service"
    for path in ("a.slice/x.service/payload.scope", f"{user}/app.slice/y.scope", "z.other"):
        (mount / path).mkdir(parents=True)
    assert [(unit.name, unit.cgroup) for unit in observe_units()] == [
        ("x.service", "/a.slice/x.service"),
        ("y.scope", f"/{user}/app.slice/y.scope"),
    ]


def test_users_are_those_of_processes_with_some_of_what_they_run(tmp_path: Path) -> None:
    for number, (name, line) in enumerate([("b", "b"), ("a", "a -x"), ("kworker", ""), ("a", "a")]):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}/comm").write_text(f"{name}\n")
        (tmp_path / f"{number}/cmdline").write_text(line)
    (tmp_path / "9").mkdir()  # ended meanwhile
    (tmp_path / "self").mkdir()
    name = pwd.getpwuid(os.getuid()).pw_name
    assert observe_users(str(tmp_path)) == (RunningUser(os.getuid(), name, ("a", "b")),)


def test_this_machine_has_a_loopback() -> None:
    assert any(link.loopback for link in observe_network().links)
