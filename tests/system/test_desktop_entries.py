"""Desktop entries where launchers look for them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from byway_systemd.system.desktop_entries import desktop_apps

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def program(tmp_path: Path) -> str:
    """Return a program, and put a link to it beside it."""
    path = tmp_path / "fox"
    path.write_text("")
    path.chmod(0o755)
    (tmp_path / "link").symlink_to(path)
    return str(path)


def place(share: Path, name: str, command: str) -> Path:
    path = share / "applications" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[Desktop Entry]\nType=Application\nExec={command}\n")
    return path


def found(program: str, root: Path, *homes: Path) -> list[str]:
    return list(map(str, desktop_apps(program, root, homes)))


@pytest.mark.parametrize(
    "share",
    ["usr/share", "usr/local/share", "var/lib/flatpak/exports/share", "var/lib/snapd/desktop"],
)
def test_everywhere_of_the_system(share: str, program: str, tmp_path: Path) -> None:
    place(tmp_path / "root" / share, "sub/fox.desktop", f"{tmp_path}/link %u")
    place(tmp_path / "root" / share, "other.desktop", "/usr/bin/other")
    assert found(program, tmp_path / "root") == ["desktop:sub-fox"]


@pytest.mark.parametrize("share", [".local/share", ".local/share/flatpak/exports/share"])
def test_everywhere_of_a_user(share: str, program: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    place(home / share, "fox.desktop", program)
    assert found(program, tmp_path / "root", home) == ["desktop:fox"]
    assert found(program, tmp_path / "root") == []


def test_users_replacement_counts_for_that_user_only(program: str, tmp_path: Path) -> None:
    place(tmp_path / "root/usr/share", "fox.desktop", program)
    place(tmp_path / "home/.local/share", "fox.desktop", "/usr/bin/other")
    place(tmp_path / "root/usr/share", "org.a.desktop.desktop", program)
    both = ["desktop:fox", "desktop:org.a.desktop.desktop"]
    assert found(program, tmp_path / "root", tmp_path / "home") == both


def test_what_could_not_be_listed_is_left_out(program: str, tmp_path: Path) -> None:
    for name in ("a\nb.desktop", ".hidden.desktop", "a\\b.desktop", "-" * 100 + ".desktop"):
        place(tmp_path / "root/usr/share", name, program)
    assert found(program, tmp_path / "root") == []


def test_what_is_no_file_is_not_waited_for(program: str, tmp_path: Path) -> None:
    path = place(tmp_path / "root/usr/share", "good.desktop", program)
    os.mkfifo(path.with_name("fifo.desktop"))
    path.with_name("folder.desktop").mkdir()
    path.with_name("gone.desktop").symlink_to("nowhere")
    path.with_name("binary.desktop").write_bytes(b"\xff\0[Desktop Entry]\nExec=\xff\n")
    assert found(program, tmp_path / "root") == ["desktop:good"]


def test_names_are_looked_up_in_path(tmp_path: Path) -> None:
    place(tmp_path / "root/usr/share", "shell.desktop", "sh -c true")
    assert found("/bin/sh", tmp_path / "root") == ["desktop:shell"]
