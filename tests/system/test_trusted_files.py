"""What root reads for anybody: only what nobody else can have put there."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from byway_systemd.system.trusted_files import list_trusted, read_trusted

if TYPE_CHECKING:
    from pathlib import Path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make another's files")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "usr/share").mkdir(parents=True)
    (tmp_path / "usr/share/a").write_bytes(b"abc")
    return tmp_path


def read(root: Path, path: str, most: int = 10) -> bytes:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    try:
        return read_trusted(path, most, str(root))
    finally:
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize(
    "path", ["usr/share/a", "/usr/share/a", "//usr/./share//a", "../../usr/../usr/share/a"]
)
def test_a_file(root: Path, path: str) -> None:
    assert read(root, path) == b"abc"


@pytest.mark.parametrize(
    "target", ["a", "../share/a", "/usr/share/a", "../../../../../usr/share/a", "second"]
)
def test_links_are_followed_and_stay_below_the_root(root: Path, target: str) -> None:
    (root / "usr/share/second").symlink_to("/link/share/a")
    (root / "link").symlink_to("usr")
    (root / "usr/share/b").symlink_to(target)
    assert read(root, "usr/share/b") == b"abc"


def test_too_large(root: Path) -> None:
    assert read(root, "usr/share/a", 3) == b"abc"
    with pytest.raises(OSError, match="too large") as raised:
        read(root, "usr/share/a", 2)
    assert raised.value.errno == errno.EFBIG


@pytest.mark.parametrize("path", ["usr/share", "usr/gone", "usr/share/a/b", "fifo", "round", ""])
def test_what_is_no_file(root: Path, path: str) -> None:
    os.mkfifo(root / "fifo")
    (root / "round").symlink_to("round")
    with pytest.raises(OSError, match=r"^\[Errno \d+\]"):
        read(root, path)


def test_a_directory(root: Path) -> None:
    (root / "usr/share/b").mkdir()
    assert list_trusted("usr/share", str(root)) == ["a", "b"]
    assert list_trusted("usr/share/a", str(root)) == []
    assert list_trusted("usr/gone", str(root)) == []


@as_root
def test_what_somebody_else_could_have_put_there(root: Path) -> None:
    (root / "usr/share/link").symlink_to("a")
    os.chown(root / "usr/share/link", 65534, 65534, follow_symlinks=False)
    (root / "open").mkdir()
    (root / "open").chmod(0o1777)
    (root / "open/a").write_bytes(b"abc")
    (root / "his").mkdir()
    (root / "his/a").write_bytes(b"abc")
    os.chown(root / "his", 65534, 65534)
    (root / "usr/share/his").write_bytes(b"abc")
    os.chown(root / "usr/share/his", 65534, 65534)
    (root / "usr/share/into").symlink_to("../../his/a")
    for path in ("usr/share/link", "open/a", "his/a", "usr/share/his", "usr/share/into"):
        with pytest.raises(PermissionError):
            read(root, path)
    assert list_trusted("open", str(root)) == list_trusted("his", str(root)) == []
