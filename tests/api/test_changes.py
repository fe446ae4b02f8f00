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
from byway_systemd.api.problem import ProblemError
from byway_systemd.api.service import View
from byway_systemd.core.desired import Desired
from byway_systemd.core.observed import Observed
from byway_systemd.core.parse import ConfigFile
from byway_systemd.core.steering import Steering
from byway_systemd.reconcile import Outcome


class Files:
    """A configuration in memory; ``broken`` are the methods that fail."""

    def __init__(self) -> None:
        self.texts = {"f": "a", "list": ""}
        self.remembered: Any = None
        self.broken: set[str] = set()

    @property
    def text(self) -> str:
        return self.texts["f"]

    def read(self) -> Snapshot:
        lists = (ConfigFile("list", self.texts["list"], is_list=True),)
        return Snapshot(ConfigFile("f", self.texts["f"]), (), lists, list_name="list")

    def preview(self, _texts: Any) -> Desired:
        return Desired.empty()

    def write(self, texts: Any) -> None:
        for name, text in texts.items():
            self._check(f"write {name}")
            self.texts[name] = text

    def remember(self, texts: Any) -> None:
        self._check("remember")
        self.remembered = texts

    def _check(self, name: str) -> None:
        if name in self.broken:
            raise OSError(30, "Read-only file system")


def run(story: Any) -> Files:
    files = Files()

    async def tell() -> None:
        engine: Any = SimpleNamespace(
            phase="active", status={}, view=View(Desired.empty(), Observed(), Steering(), ())
        )
        changes = Changes(engine, files, lambda: None)

        async def settle() -> Outcome:
            return Outcome(Observed())

        engine.apply, engine.settle = changes.note_loaded, settle
        await story(changes, files)

    asyncio.run(tell())
    return files


def terms(**parameters: str) -> Terms:
    return Terms.of(Request("PUT", "/x", Peer(1, 0), tuple(parameters.items())))


def test_stop_takes_back_what_is_not_confirmed() -> None:
    async def story(changes: Changes, files: Files) -> None:
        result = await changes.change(terms(confirm="9"), lambda _: {"f": "b"})
        assert (result["unconfirmed"], files.text, files.remembered) == (
            9,
            "b",
            {"f": "a", "list": ""},
        )
        changes.abandon()

    assert (files := run(story)).text == "a"
    assert files.remembered is None


def test_read_only_files_at_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    async def story(changes: Changes, files: Files) -> None:
        await changes.change(terms(confirm="9"), lambda _: {"f": "b"})
        files.broken = {"write f"}
        changes.abandon()

    caplog.set_level(logging.ERROR, "byway")
    assert run(story).text == "b"
    assert "cannot be taken back: [Errno 30]" in caplog.text


def test_what_cannot_be_remembered_is_taken_back_nevertheless(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(changes: Changes, files: Files) -> None:
        files.broken = {"remember"}
        result = await changes.change(terms(confirm="9"), lambda _: {"f": "b"})
        assert result["unconfirmed"] == 9
        files.broken = set()
        await changes.roll_back("me")

    caplog.set_level(logging.WARNING, "byway")
    assert run(story).text == "a"
    assert "a restart would keep what is not confirmed" in caplog.text


def test_write_that_fails_changes_nothing() -> None:
    async def story(changes: Changes, files: Files) -> None:
        files.broken = {"write f"}
        with pytest.raises(OSError, match="Read-only"):
            await changes.change(terms(), lambda _: {"f": "b"})
        assert changes.present() == {"unconfirmed": None, "can_roll_back": False}

    assert run(story).text == "a"


def test_change_by_hand_in_that_moment_is_not_overwritten() -> None:
    async def story(changes: Changes, files: Files) -> None:
        def edit(_: Snapshot) -> dict[str, str]:
            files.texts["f"] = "by hand"
            return {"f": "b"}

        with pytest.raises(Exception, match="has just been changed"):
            await changes.change(terms(), edit)

    assert run(story).text == "by hand"


def test_several_files_are_changed_together_or_not_at_all() -> None:
    async def story(changes: Changes, files: Files) -> None:
        await changes.change(terms(confirm="9"), lambda _: {"f": "b", "list": "x"})
        assert files.texts == {"f": "b", "list": "x"}
        await changes.roll_back("me")
        assert files.texts == {"f": "a", "list": ""}
        files.broken = {"write list"}
        with pytest.raises(OSError, match="Read-only"):
            await changes.change(terms(), lambda _: {"f": "c", "list": "y"})

    assert run(story).texts == {"f": "a", "list": ""}


def test_what_is_the_same_is_not_written() -> None:
    async def story(changes: Changes, files: Files) -> None:
        files.broken = {"write f"}
        await changes.change(terms(), lambda _: {"f": "a", "list": "x"})

    assert run(story).texts == {"f": "a", "list": "x"}


def asked(uid: int, **headers: str) -> Terms:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Terms.of(Request("POST", "/api/v1/apply", Peer(1, uid), headers=names))


def test_the_journal_says_for_whom_root_asks(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "byway")
    for terms in (asked(0, x_byway_user="al%C3%AFce"), asked(0), asked(1000, x_byway_user="bob")):
        terms.tell()
    first, *others = caplog.records
    assert first.getMessage().endswith("by uid 0, pid 1, for alïce: done")
    assert first.fields["BYWAY_ON_BEHALF_OF"] == "alïce"  # type: ignore[attr-defined]
    for record in others:  # nobody but root is believed
        assert "for" not in record.getMessage()
        assert "BYWAY_ON_BEHALF_OF" not in record.fields  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["a" * 257, "a%0aMESSAGE=b", "a\x01", "%1b[2J"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ProblemError, match="not a user's name"):
        asked(0, x_byway_user=name)
    assert asked(1000, x_byway_user=name).user == ""
