"""The configuration's files: which are in effect, and which root must not believe."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from byway_systemd.core.errors import ConfigError, Problem
from byway_systemd.system import files

if TYPE_CHECKING:
    from pathlib import Path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root distrusts")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for directory in files.DROP_IN_DIRECTORIES:
        (tmp_path / directory).mkdir(parents=True)
    return tmp_path


def write(root: Path, name: str, text: str = "", mode: int = 0o644) -> Path:
    path = root / name
    path.write_text(text)
    path.chmod(mode)
    return path


def names(root: Path) -> list[str]:
    return [file.name for file in files.read_config(root)]


def problem(root: Path, main: Path | None = None) -> Problem:
    with pytest.raises(ConfigError) as caught:
        files.read_config(root, main)
    (found,) = caught.value.problems
    return found


def test_main_file_then_drop_ins_by_name(root: Path) -> None:
    for name in ("etc/byway/conf.d/20.toml", "usr/lib/byway/conf.d/10.toml",
                 "run/byway/conf.d/30.toml", "etc/byway/byway.toml"):  # fmt: skip
        write(root, name)
    assert names(root) == [
        "/etc/byway/byway.toml",
        "/usr/lib/byway/conf.d/10.toml",
        "/etc/byway/conf.d/20.toml",
        "/run/byway/conf.d/30.toml",
    ]


def test_earlier_directory_masks_the_same_name(root: Path) -> None:
    for number, directory in enumerate(files.DROP_IN_DIRECTORIES):
        write(root, f"{directory}/10.toml", f"# {number}")
    assert names(root) == ["/etc/byway/conf.d/10.toml"]
    (root / "etc/byway/conf.d/10.toml").unlink()
    assert names(root) == ["/run/byway/conf.d/10.toml"]


def test_link_to_dev_null_masks(root: Path) -> None:
    write(root, "etc/byway/byway.toml")
    write(root, "usr/lib/byway/conf.d/10.toml")
    (root / "etc/byway/conf.d/10.toml").symlink_to("/dev/null")
    assert names(root) == ["/etc/byway/byway.toml"]


def test_only_toml_that_is_not_hidden(root: Path) -> None:
    for name in ("a.conf", ".b.toml", "c.toml~", "d.toml.new", "e.toml"):
        write(root, f"etc/byway/conf.d/{name}")
    assert names(root) == ["/etc/byway/conf.d/e.toml"]


def test_drop_ins_alone_are_enough(root: Path) -> None:
    write(root, "etc/byway/conf.d/a.toml", "x")
    assert [(file.name, file.text) for file in files.read_config(root)] == [
        ("/etc/byway/conf.d/a.toml", "x")
    ]


def test_nothing_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    found = problem(tmp_path)
    assert (found.file, found.message) == ("/etc/byway/byway.toml", "does not exist")


def test_file_of_the_users_own_stands_alone(root: Path) -> None:
    write(root, "etc/byway/byway.toml", "main")
    write(root, "etc/byway/conf.d/a.toml", "drop-in")
    own = write(root, "own.toml", "own")
    assert [file.text for file in files.read_config(root, own)] == ["own"]


@as_root
@pytest.mark.parametrize("name", ["etc/byway/byway.toml", "etc/byway/conf.d/a.toml"])
@pytest.mark.parametrize(
    ("mode", "owner", "remedy"),
    [
        (0o664, 0, "chmod go-w"),
        (0o646, 0, "chmod go-w"),
        (0o644, 65534, "chown root"),
        (0o600, 65534, "chown root"),
    ],
)
def test_distrusts_what_others_can_write(
    root: Path, name: str, mode: int, owner: int, remedy: str
) -> None:
    path = write(root, name, mode=mode)
    os.chown(path, owner, -1)
    found = problem(root)
    assert found.message == "cannot be trusted"
    assert remedy in found.remedy


@as_root
def test_distrusts_what_a_link_leads_to(root: Path) -> None:
    target = write(root, "target", mode=0o666)
    (root / files.CONFIG).symlink_to(target)
    assert problem(root).message == "cannot be trusted"


@pytest.mark.parametrize("kind", ["directory", "fifo", "device", "socket"])
def test_what_is_no_file_neither_hangs_nor_is_read(root: Path, kind: str) -> None:
    path = root / files.CONFIG
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    assert problem(root).message.startswith(("cannot be trusted", "cannot be read"))


def test_not_utf8(root: Path) -> None:
    write(root, files.CONFIG).write_bytes(b"# ok\n\xff")
    assert problem(root).message == "not UTF-8 at byte 5"


def test_no_more_is_read_than_is_allowed(root: Path) -> None:
    write(root, files.CONFIG, "#" * 1_000_000)
    (file,) = files.read_config(root)
    assert len(file.text) == files.LARGEST_FILE + 1


def test_broken_link(root: Path) -> None:
    (root / "etc/byway/conf.d/a.toml").symlink_to("nowhere")
    assert "cannot be read" in problem(root).message


@pytest.mark.parametrize("gone", ["etc/byway/byway.toml", "run/byway/conf.d/zz-byway-mode.toml"])
def test_what_is_removed_while_it_is_read_is_not_there(
    root: Path, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `byway mode` does with the mode for one boot; whoever reads then finds the others."""
    write(root, "etc/byway/byway.toml")
    write(root, "run/byway/conf.d/zz-byway-mode.toml")
    write(root, "etc/byway/conf.d/20.toml")
    wanted = [name for name in names(root) if name != f"/{gone}"]
    open_file = os.open

    def remove_first(path: Any, flags: int) -> int:
        (root / gone).unlink(missing_ok=True)
        return open_file(path, flags)

    monkeypatch.setattr(os, "open", remove_first)
    assert names(root) == wanted
    for one in wanted:
        (root / one[1:]).unlink()
    write(root, gone)
    assert problem(root).message == "does not exist", "no configuration is not an empty one"


def test_lists_that_are_not_there_are_empty(root: Path) -> None:
    assert files.read_lists(root) == ()
    assert files.read_route_cache(root).text == ""


def test_list_that_cannot_be_looked_at_is_an_error(root: Path) -> None:
    write(root, "var")
    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        files.read_lists(root)


def test_write_atomically(tmp_path: Path) -> None:
    path = tmp_path / "new/file"
    files.write_atomically(path, "one", 0o640)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("one", 0o640)
    inode = path.stat().st_ino
    files.write_atomically(path, "two")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two", 0o644)
    assert path.stat().st_ino != inode
    assert list(path.parent.iterdir()) == [path]


def test_write_follows_no_link_that_lies_in_wait(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / f".file.{os.getpid()}.new").symlink_to(victim)
    files.write_atomically(tmp_path / "file", "mine")
    assert (victim.read_text(), (tmp_path / "file").read_text()) == ("kept", "mine")


def test_unit_files_in_effect_are_byways_own(root: Path) -> None:
    own = "# Automatically generated by byway from x\n"
    for place in (files.RUNTIME_UNITS, files.GENERATED_UNITS):
        (root / place / "a.service.d").mkdir(parents=True)
        write(root, f"{place}/a.service.d/50-byway.conf", own + place)
    write(root, f"{files.GENERATED_UNITS}/byway-lte.slice", own)
    write(root, f"{files.GENERATED_UNITS}/byway-foreign.slice", "[Unit]\n")
    write(root, f"{files.GENERATED_UNITS}/a.service.d/60-other.conf", own)
    effective, runtime = files.observe_unit_files(root)
    assert runtime == ("a.service.d/50-byway.conf",)
    assert effective == (
        ("a.service.d/50-byway.conf", own + files.RUNTIME_UNITS),
        ("byway-lte.slice", own),
    )


def test_unit_files_come_and_go_without_a_trace(tmp_path: Path) -> None:
    files.write_unit_file(tmp_path, "a.service.d/50-byway.conf", "x")
    files.write_unit_file(tmp_path, "byway-x.slice", "x")
    write(tmp_path, f"{files.RUNTIME_UNITS}/a.service.d/other.conf")
    files.remove_unit_file(tmp_path, "a.service.d/50-byway.conf")
    files.remove_unit_file(tmp_path, "a.service.d/50-byway.conf")
    files.remove_unit_file(tmp_path, "byway-x.slice")
    left = [path.name for path in (tmp_path / files.RUNTIME_UNITS).rglob("*")]
    assert sorted(left) == ["a.service.d", "other.conf"]


def test_templates_are_found() -> None:
    assert set(files.find_templates()) >= {"slice.conf.j2", "service.conf.j2", "timer.conf.j2"}
