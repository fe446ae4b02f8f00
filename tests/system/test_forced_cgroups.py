"""Cgroups that are forced to a side: found by name, and told of as they come and go."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.traffic import Overrides, Traffic
from byway_systemd.system import cgroups, events
from byway_systemd.system.events import FileSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
PATIENCE = 5.0


@pytest.fixture
def source(mount: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileSource]:
    monkeypatch.setattr(events, "MOUNT", mount)
    made = FileSource(())
    yield made
    os.close(made.fileno())


def told(source: FileSource) -> bool:
    return bool(select.select([source], [], [], PATIENCE)[0]) and source.drain()


def forced(*names: str) -> Traffic:
    return Traffic(
        force_vpn=Overrides(cgroups=names[:1]), force_direct=Overrides(cgroups=names[1:])
    )


def test_finds_names_in_slices_alone(mount: Path) -> None:
    for path in (
        "a.slice/x.service", "a.slice/a-b.slice/y.scope", "x.service/x.service", "z.service",
        "user.slice/user-1.slice/x.service", "a.slice/x.service/payload",
    ):  # fmt: skip
        (mount / path).mkdir(parents=True)
    assert cgroups.find_named(frozenset({"x.service", "y.scope", "payload", "none.scope"})) == [
        ("x.service", "/a.slice/x.service"),
        ("x.service", "/x.service"),
        ("y.scope", "/a.slice/a-b.slice/y.scope"),
    ]


def test_a_slice_may_be_named_too_even_that_of_users(mount: Path) -> None:
    (mount / "user.slice/user-1.slice").mkdir(parents=True)
    names = frozenset({"user.slice", "user-1.slice"})
    assert cgroups.find_named(names) == [("user.slice", "/user.slice")]


def test_a_path_is_told_of_whenever_it_comes_and_goes(mount: Path, source: FileSource) -> None:
    source.watch_cgroups(forced("/a.slice/b.slice/x.service"))
    (mount / "a.slice").mkdir()
    assert told(source)
    (mount / "a.slice/b.slice").mkdir()
    assert told(source)
    for _ in range(2):  # a restart: the same name, another id
        (mount / "a.slice/b.slice/x.service").mkdir()
        assert told(source)
        (mount / "a.slice/b.slice/x.service").rmdir()
        assert told(source)


def test_a_name_is_told_of_in_whatever_slice(mount: Path, source: FileSource) -> None:
    (mount / "a.slice").mkdir()
    source.watch_cgroups(forced("x.service", "/other"))
    (mount / "a.slice/x.service").mkdir()
    assert told(source)
    (mount / "a.slice/a-b.slice").mkdir()
    assert told(source)
    (mount / "a.slice/a-b.slice/x.service").mkdir()
    assert told(source)
    (mount / "x.service").mkdir()
    assert told(source)


def test_what_is_not_asked_for_is_not_told_of(mount: Path, source: FileSource) -> None:
    (mount / "a.slice").mkdir()
    source.watch_cgroups(forced("/a.slice/x.service"))
    (mount / "a.slice/y.service").mkdir()
    assert not source.drain()


def test_it_counts_from_the_next_configuration_on(mount: Path, source: FileSource) -> None:
    (mount / "a.slice").mkdir()
    source.watch_cgroups(Traffic())
    source.watch_cgroups(forced("/a.slice/x.service"))
    (mount / "a.slice/x.service").mkdir()
    assert told(source)
