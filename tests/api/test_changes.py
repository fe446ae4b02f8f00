"""What becomes of a change when the files cannot be written."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from byway_systemd.api.changes import Changes, Terms
from byway_systemd.api.configuration import Snapshot
from byway_systemd.api.message import Request
from byway_systemd.api.peer import Peer
from byway_systemd.core.desired import Desired
from byway_systemd.core.observed import Observed
from byway_systemd.core.parse import ConfigFile
from byway_systemd.reconcile import Outcome


class Files:
    """A configuration in memory; ``broken`` are the methods that fail."""

    def __init__(self) -> None:
        self.text = "a"
        self.remembered: str | None = None
        self.broken: set[str] = set()

    def read(self) -> Snapshot:
        return Snapshot(ConfigFile("f", self.text))

    def preview(self, _text: str) -> Desired:
        return Desired.empty()

    def write(self, text: str) -> None:
        self._check("write")
        self.text = text

    def remember(self, text: str | None) -> None:
        self._check("remember")
        self.remembered = text

    def _check(self, name: str) -> None:
        if name in self.broken:
            raise OSError(30, "Read-only file system")


def run(story: Any) -> Files:
    files = Files()

    async def tell() -> None:
        engine: Any = SimpleNamespace(phase="active", status={})
        changes = Changes(engine, files)

        def apply() -> Outcome:
            changes.note_loaded()
            return Outcome(Observed())

        engine.apply = apply
        await story(changes, files)

    asyncio.run(tell())
    return files


def terms(**parameters: str) -> Terms:
    return Terms.of(Request("PUT", "/x", Peer(1, 0), tuple(parameters.items())))


def test_stop_takes_back_what_is_not_confirmed() -> None:
    async def story(changes: Changes, files: Files) -> None:
        result = await changes.change(terms(confirm="9"), lambda _: "b")
        assert (result["unconfirmed"], files.text, files.remembered) == (9, "b", "a")
        changes.abandon()

    assert (files := run(story)).text == "a"
    assert files.remembered is None


def test_read_only_files_at_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    async def story(changes: Changes, files: Files) -> None:
        await changes.change(terms(confirm="9"), lambda _: "b")
        files.broken = {"write"}
        changes.abandon()

    caplog.set_level(logging.ERROR, "byway")
    assert run(story).text == "b"
    assert "cannot be taken back: [Errno 30]" in caplog.text


def test_what_cannot_be_remembered_is_taken_back_nevertheless(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(changes: Changes, files: Files) -> None:
        files.broken = {"remember"}
        result = await changes.change(terms(confirm="9"), lambda _: "b")
        assert result["unconfirmed"] == 9
        files.broken = set()
        await changes.roll_back("me")

    caplog.set_level(logging.WARNING, "byway")
    assert run(story).text == "a"
    assert "a restart would keep what is not confirmed" in caplog.text


def test_write_that_fails_changes_nothing() -> None:
    async def story(changes: Changes, files: Files) -> None:
        files.broken = {"write"}
        with pytest.raises(OSError, match="Read-only"):
            await changes.change(terms(), lambda _: "b")
        assert changes.present() == {"unconfirmed": None, "can_roll_back": False}

    assert run(story).text == "a"


def test_change_by_hand_in_that_moment_is_not_overwritten() -> None:
    async def story(changes: Changes, files: Files) -> None:
        def edit(_: Snapshot) -> str:
            files.text = "by hand"
            return "b"

        with pytest.raises(Exception, match="has just been changed"):
            await changes.change(terms(), edit)

    assert run(story).text == "by hand"
