"""Whether there is a unit of a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from byway_systemd.system import cgroups
from byway_systemd.system.unit_names import has_unit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for file in (
        "usr/lib/systemd/system/nginx.service",
        "etc/systemd/system/vpn@.service",
        "usr/lib/systemd/user/syncthing.service",
        "run/systemd/transient/run-1.scope",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nginx.service", True),
        ("nginx.socket", False),
        ("vpn@home.service", True),
        ("vpn.service", False),
        ("syncthing.service", True),
        ("run-1.scope", True),
        ("gone.service", False),
        ("..", False),
    ],
)
def test_files(root: Path, name: str, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "MOUNT", root / "none")
    assert has_unit(name, root) is found


def test_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = tmp_path / "cgroup"
    manager = "user.slice/user-1000.slice/user@1000.service"
    (mount / "system.slice/made.service").mkdir(parents=True)
    (mount / manager / "app.slice/own.service").mkdir(parents=True)
    monkeypatch.setattr(cgroups, "MOUNT", mount)
    assert has_unit("made.service", tmp_path)
    assert has_unit("own.service", tmp_path)
    assert not has_unit("other.service", tmp_path)
