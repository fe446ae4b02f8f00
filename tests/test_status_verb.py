"""byway status as root: what it says and how it ends."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fake_system import FakeSystem
from worlds import laptop

from byway_systemd.cli.verbs import build_parser
from byway_systemd.core.errors import ExitCode
from byway_systemd.reconcile import reconcile
from byway_systemd.system.host import Host

if TYPE_CHECKING:
    from pathlib import Path

    from byway_systemd.core.observed import Observed


class Here(Host):
    """A machine that looks as is said."""

    def __init__(self, root: Path, observed: Observed, pid: int = 7) -> None:
        super().__init__(root=root)
        self._looks = observed
        self._pid = pid

    def daemon_pid(self) -> int:
        return self._pid

    def system(self) -> FakeSystem:  # type: ignore[override]
        return FakeSystem(self._looks)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "etc/byway").mkdir(parents=True)
    (tmp_path / "etc/byway/byway.toml").write_text('interface = "wwan0"\n')
    return tmp_path


def in_sync(root: Path) -> Observed:
    here = Here(root, laptop())
    system = here.system()
    reconcile(system, here.desired())
    return system.observed


def status(here: Host) -> int:
    namespace = build_parser(lambda: "").parse_args(["status"])
    return int(namespace.verb.load()(here, namespace))


@pytest.mark.parametrize(
    ("undone", "told", "code"),
    [
        (0, ": in sync", ExitCode.OK),
        (1, ": 1 change needed (byway plan)", ExitCode.DRIFT),
        (2, ": 2 changes needed (byway plan)", ExitCode.DRIFT),
    ],
)
def test_whether_all_is_as_configured(
    root: Path, capsys: pytest.CaptureFixture[str], undone: int, told: str, code: ExitCode
) -> None:
    observed = in_sync(root)
    ours = [rule for rule in observed.rules if rule.table == 11590][:undone]
    rules = tuple(rule for rule in observed.rules if rule not in ours)
    assert status(Here(root, replace(observed, rules=rules))) == code
    assert capsys.readouterr().out.splitlines()[0].endswith(told)


def test_nothing_is_active_where_byway_does_not_run(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(Here(root, in_sync(root), pid=0)) == ExitCode.NOT_RUNNING
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(": not running (systemctl start byway)")
    assert lines[1] == "exec gate not running, socket marker not running"
