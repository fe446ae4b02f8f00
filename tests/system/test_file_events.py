"""inotify by names: what is told of, and what is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.apps import parse_app
from byway_systemd.core.observed import Executable
from byway_systemd.system.file_events import FileEvents, watched_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def events() -> Iterator[FileEvents]:
    opened = FileEvents()
    yield opened
    opened.close()


def replace(path: Path) -> None:
    path.with_name("temporary").write_text("x")
    path.with_name("temporary").replace(path)


CHANGES: list[Callable[[Path], object]] = [
    lambda path: path.write_text("new"),
    lambda path: path.unlink(),
    replace,
    lambda path: path.rename(path.with_name("away")),
    lambda path: path.chmod(0o600),
    os.utime,
]


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_a_watched_name(
    events: FileEvents, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    path = tmp_path / "byway.toml"
    path.write_text("old")
    events.watch([path])
    assert not events.drain()
    change(path)
    assert events.drain()
    assert not events.drain()


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_a_neighbour(
    events: FileEvents, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    other = tmp_path / "other"
    other.write_text("old")
    events.watch([tmp_path / "byway.toml"])
    change(other)
    assert not events.drain()


def test_reading_is_no_change(events: FileEvents, tmp_path: Path) -> None:
    path = tmp_path / "byway.toml"
    path.write_text("old")
    events.watch([path])
    path.read_text()
    assert not events.drain()


@pytest.mark.parametrize(("name", "seen"), [("a.toml", True), ("a.conf", False), ("toml", False)])
def test_pattern(events: FileEvents, tmp_path: Path, name: str, seen: bool) -> None:
    events.watch([tmp_path / "*.toml"])
    (tmp_path / name).write_text("")
    assert events.drain() is seen


def test_names_add_up(events: FileEvents, tmp_path: Path) -> None:
    events.watch([tmp_path / "a"])
    events.watch([tmp_path / "b"])
    for name in ("a", "b"):
        (tmp_path / name).write_text("")
        assert events.drain()


def test_directory_that_does_not_exist_yet(events: FileEvents, tmp_path: Path) -> None:
    path = tmp_path / "one/two/byway.toml"
    events.watch([path])
    (tmp_path / "other").mkdir()
    assert not events.drain()
    (tmp_path / "one").mkdir()
    assert events.drain()
    events.watch([path])  # as the daemon does after every change
    (tmp_path / "one/two").mkdir()
    assert events.drain()
    events.watch([path])
    path.write_text("")
    assert events.drain()


def test_directory_that_goes_away(events: FileEvents, tmp_path: Path) -> None:
    directory = tmp_path / "conf.d"
    directory.mkdir()
    events.watch([directory / "*.toml"])
    directory.rmdir()
    assert events.drain()


@pytest.mark.parametrize("pattern", ["*/bin/app", "v[0-9]/*/app", "v?/bin/a*", "v1/bin/app"])
def test_pattern_within_a_path(events: FileEvents, tmp_path: Path, pattern: str) -> None:
    (tmp_path / "v1").mkdir()
    assert events.watch([tmp_path / pattern])
    assert not events.watch([tmp_path / pattern])
    (tmp_path / "v1/bin").mkdir()
    assert events.drain()
    assert events.watch([tmp_path / pattern])
    (tmp_path / "v1/bin/app").write_text("")
    assert events.drain()
    (tmp_path / "v1/bin/other").write_text("")
    assert not events.drain()


def test_pattern_does_not_match_what_is_hidden(events: FileEvents, tmp_path: Path) -> None:
    (tmp_path / ".v1").mkdir()
    events.watch([tmp_path / "*/app"])
    (tmp_path / ".v1/app").write_text("")
    assert not events.drain()


def test_links_on_the_way_are_watched(tmp_path: Path) -> None:
    (tmp_path / "1/bin").mkdir(parents=True)
    (tmp_path / "1/bin/app").write_text("")
    (tmp_path / "current").symlink_to("1")
    (tmp_path / "alternative").symlink_to(tmp_path / "current/bin/../bin/app")
    (tmp_path / "listed").symlink_to("./alternative")
    listed = Executable(parse_app(f"{tmp_path}/listed"), "default", f"{tmp_path}/listed")
    assert watched_files((listed,)) == {
        tmp_path / name for name in ("listed", "alternative", "current")
    }


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    listed = Executable(parse_app(f"{tmp_path}/a"), "default", f"{tmp_path}/a")
    assert watched_files((listed,)) == {tmp_path / "a", tmp_path / "b"}


def test_watched_files_are_every_name_of_a_program() -> None:
    executable = Executable(parse_app("/opt/*/app"), "default", "/opt/x/app", "/srv/app")
    assert watched_files((executable,)) == {
        Path("/opt/x/app"), Path("/srv/app"), Path("/opt/*/app"),
    }  # fmt: skip


def test_what_has_gone_is_forgotten(events: FileEvents, tmp_path: Path) -> None:
    path = tmp_path / "*/b/*"
    for _ in range(3):
        (tmp_path / "a/b").mkdir(parents=True)
        while events.watch([path]):
            pass
        (tmp_path / "a/b").rmdir()
        (tmp_path / "a").rmdir()
        assert events.drain()
        assert not events.watch([path])
    (tmp_path / "a/b").mkdir(parents=True)
    assert events.drain()
    assert events.watch([path])
    assert len(events._patterns) == 2  # noqa: SLF001 - nothing else tells of a leak
