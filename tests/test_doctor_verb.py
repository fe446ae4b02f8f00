"""byway doctor: what it says and how it ends."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from fake_system import FakeSystem
from worlds import laptop

from byway_systemd.cli.verbs import build_parser
from byway_systemd.core.errors import ConfigError
from byway_systemd.core.findings import Case, Surroundings
from byway_systemd.core.observed import Login
from byway_systemd.reconcile import reconcile
from byway_systemd.system.host import Host
from byway_systemd.system.surroundings import observe_case

LOGIN = Login("198.51.100.9", "192.168.1.10")


class Here(Host):
    """A machine whose network is the laptop's; byway runs."""

    def daemon_pid(self) -> int:
        return 7

    def case(self, *, as_nobody: bool = False) -> Case:
        desired = self.desired()
        system = self.system()
        reconcile(system, desired)
        case = observe_case(Path("/nonexistent"), desired, None, (), runs=True)
        return replace(case, observed=system.observed, surroundings=Surroundings())

    def system(self) -> FakeSystem:  # type: ignore[override]
        return FakeSystem(replace(laptop(), logins=(LOGIN,)))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "etc/byway").mkdir(parents=True)
    (tmp_path / "etc/byway/byway.toml").write_text('interface = "wwan0"\n')
    return tmp_path


def doctor(root: Path, *words: str) -> int:
    return run(root, "doctor", *words)


def run(root: Path, *words: str) -> int:
    namespace = build_parser(lambda: "").parse_args(words)
    return int(namespace.verb.load()(Here(root=root), namespace))


def test_fine(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ok service: byway runs" in lines
    assert lines[-1] == "nothing is wrong"
    assert not [line for line in lines if line.startswith("!!")]


def test_something_is_wrong(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "etc/byway/byway.toml").write_text('interface = "usb0"\n')
    assert doctor(root) == 1
    shown = capsys.readouterr().out
    assert (
        "!! direct-links: error: profile default: the direct link usb0 cannot be used: its traffic "
        "is blocked\n     seen: there is no such link\n     do:   write one of these" in shown
    )
    assert shown.endswith("something is wrong: see above\n")


def test_json_and_without_root(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doctor(root, "--json=short") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["fine"]
    assert all(check["findings"] == [] for check in said["checks"])
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert doctor(root) == 0
    shown = capsys.readouterr().out
    assert "?  kill-switches: not looked at, which needs root (sudo byway doctor)" in shown


def test_a_configuration_that_is_refused(root: Path) -> None:
    (root / "etc/byway/byway.toml").write_text("interfacee = 1\n")
    with pytest.raises(ConfigError):
        doctor(root)


@pytest.mark.parametrize(("verb", "code"), [("plan", 6), ("config check", 0)])
def test_a_login_that_would_be_cut(
    root: Path, capsys: pytest.CaptureFixture[str], verb: str, code: int
) -> None:
    """What is asked before a change says so."""
    for text, number in (("", 0), ('[traffic]\nmode = "full_tunnel"\n', 1)):
        (root / "etc/byway/byway.toml").write_text(f'interface = "wwan0"\n{text}')
        assert run(root, *verb.split()) == code
        said = capsys.readouterr().err.splitlines()
        assert len(said) == number
        assert all("warning: the login from 198.51.100.9 by wlan0" in line for line in said)
