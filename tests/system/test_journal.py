"""Entries in the journal, with their fields, and a catalog that explains every kind."""

from __future__ import annotations

import logging
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.messages import Message
from byway_systemd.system.journal import JournalHandler

if TYPE_CHECKING:
    from collections.abc import Iterator

CATALOG = Path(__file__).parents[2] / "units/byway.catalog"
HAPPENINGS = Path(__file__).parents[2] / "byway_systemd"


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(1)
        yield listener


@pytest.fixture
def log(tmp_path: Path, journal: socket.socket) -> Iterator[logging.Logger]:
    logger = logging.getLogger("byway-journal-test")
    handler = JournalHandler(str(tmp_path / "journal"))
    logger.addHandler(handler)
    logger.propagate = False
    yield logger
    logger.removeHandler(handler)


def received(journal: socket.socket) -> dict[str, str]:
    lines = journal.recv(65536).decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_entry_with_fields(log: logging.Logger, journal: socket.socket) -> None:
    fields = {"BYWAY_PID": "7", "BYWAY_OBJECT": "a\nPRIORITY=0\nFORGED=1"}
    log.warning("moved %s", "a", extra={"message_id": Message.PLACED, "fields": fields})
    assert received(journal) == {
        "MESSAGE": "moved a",
        "MESSAGE_ID": str(Message.PLACED),
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "byway",
        "BYWAY_PID": "7",
        "BYWAY_OBJECT": "a?PRIORITY=0?FORGED=1",
    }


def test_long_field_is_cut(log: logging.Logger, journal: socket.socket) -> None:
    log.error("%s", "a" * 100_000, extra={"message_id": Message.FAILED})
    assert len(received(journal)["MESSAGE"]) == 8192


def test_line_without_an_id_goes_to_the_stream(
    log: logging.Logger, journal: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    log.handlers[0].setStream(sys.stderr)  # type: ignore[attr-defined]
    log.error("plain\x1b")
    assert capsys.readouterr().err == "<3>plain?\n"


def test_journal_that_is_not_there_or_full_keeps_nobody_waiting(
    log: logging.Logger, journal: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    log.handlers[0].setStream(sys.stderr)  # type: ignore[attr-defined]
    for _ in range(2000):  # more than the socket's queue takes
        log.error("x", extra={"message_id": Message.FAILED})
    assert "<3>x\n" in capsys.readouterr().err
    journal.close()
    log.error("gone", extra={"message_id": Message.FAILED})
    assert capsys.readouterr().err == "<3>gone\n"


def test_catalog_explains_every_kind() -> None:
    explained = re.findall(r"^-- ([0-9a-f]{32})$", CATALOG.read_text(), re.MULTILINE)
    assert explained == [str(message) for message in Message]
    assert len(set(Message)) == len(Message)


def test_every_kind_is_told_somewhere() -> None:
    code = "".join(path.read_text() for path in HAPPENINGS.rglob("*.py"))
    for message in Message:
        assert f"Message.{message.name}" in code


def test_journalctl_takes_the_catalog(tmp_path: Path) -> None:
    place = tmp_path / "usr/lib/systemd/catalog"
    place.mkdir(parents=True)
    (place / "byway.catalog").write_text(CATALOG.read_text())
    command = ["journalctl", f"--root={tmp_path}"]
    done = subprocess.run([*command, "--update-catalog"], capture_output=True, check=True)
    assert done.stderr == b""
    listed = subprocess.run(
        [*command, "--list-catalog"], capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.splitlines()) == len(Message)
    assert "A process was moved" in listed.stdout
