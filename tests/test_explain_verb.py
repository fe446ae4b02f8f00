"""byway explain: here as root, by the daemon as anybody else."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from fake_system import FakeSystem
from served import CONFIG
from worlds import laptop

from byway_systemd.cli.verbs import build_parser
from byway_systemd.core.errors import NotFoundError, RootNeededError, UsageError
from byway_systemd.system.host import Host

if TYPE_CHECKING:
    from pathlib import Path

    from byway_systemd.core.observed import Executable, Process

EXISTING = frozenset({"nginx.service", "app.slice"})


class Here(Host):
    """A machine with one process, 100, and a few units."""

    def has_unit(self, name: str) -> bool:
        return name in EXISTING

    def system(self) -> FakeSystem:  # type: ignore[override]
        return FakeSystem(laptop())

    def observe_process(self, pid: int, executables: tuple[Executable, ...]) -> Process | None:
        return next((p for p in laptop().processes if p.pid == pid), None)


def explain(root: Path, *words: str) -> int:
    namespace = build_parser(lambda: "").parse_args(["explain", *words])
    return int(namespace.verb.load()(Here(root=root), namespace))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "etc/byway").mkdir(parents=True)
    (tmp_path / "etc/byway/byway.toml").write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize(
    ("subject", "lines"),
    [
        (
            "100",
            [
                "pid 100: vpn (it runs the program /usr/bin/curl)",
                "  in /user.slice/session-1.scope",
                "  to be changed: place process 100 (curl) into byway.slice",
            ],
        ),
        ("nginx", ["nginx.service: vpn (nginx.service is neither listed nor in one of byway's"]),
        ("app.slice", ["app.slice: vpn (app.slice is neither listed nor in one of byway's"]),
        ("192.168.1.5", ["192.168.1.5: near (192.168.1.0/24 is near: it is reached without any"]),
        ("2001:DB8::1", ["2001:db8::1: vpn (it is not listed, so that the main table decides"]),
    ],
)
def test_as_root(
    root: Path, capsys: pytest.CaptureFixture[str], subject: str, lines: list[str]
) -> None:
    assert explain(root, subject) == 0
    shown = capsys.readouterr()
    for line, start in zip(shown.out.splitlines(), lines, strict=True):
        assert line.startswith(start)
    assert shown.err.startswith("byway does not run: this is what it would do")


def test_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(root, "100", "--json=short") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["pid"], said["verdict"], said["change"]["operation"]) == (
        100,
        "vpn",
        "place-process",
    )


@pytest.mark.parametrize("subject", ["101", "99999999999999", "sshd", "example.net", "10.0.0.0.1"])
def test_what_is_not_there(root: Path, subject: str) -> None:
    with pytest.raises(NotFoundError, match="no such"):
        explain(root, subject)


@pytest.mark.parametrize("subject", ["", "/usr/bin/curl", "10.0.0.0/8", "a\nb", "a" * 300])
def test_what_is_nothing(root: Path, subject: str) -> None:
    with pytest.raises(UsageError, match="write a pid, a unit's name or an address"):
        explain(root, subject)


def test_without_root_and_without_the_daemon(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(RootNeededError):
        explain(root, "100")
