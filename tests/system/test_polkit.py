"""Asking polkit, over a message bus that stands in for the system's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byway_systemd.api.peer import Peer
from byway_systemd.system import polkit

if TYPE_CHECKING:
    from collections.abc import Iterator

# Answers CheckAuthorization as told; "ask" says yes only with the user.
AUTHORITY = """
import sys
from jeepney import HeaderFields, MessageType, new_error, new_method_return, message_bus
from jeepney.io.blocking import open_dbus_connection
connection = open_dbus_connection("SYSTEM")
connection.send_and_get_reply(message_bus.RequestName("org.freedesktop.PolicyKit1"))
print("ready", flush=True)
how = sys.argv[1]
while True:
    call = connection.receive()
    if call.header.message_type is not MessageType.method_call or how == "hang":
        continue
    subject, action, details, flags, cancellation = call.body
    print(subject[0], subject[1]["pid"][1], subject[1]["uid"][1], action, flags, flush=True)
    allowed = how == "ok" or (how == "ask" and flags == 1)
    if how == "error":
        reply = new_error(call, "org.freedesktop.PolicyKit1.Error.Failed")
    elif how == "odd":
        reply = new_method_return(call, "s", ("what?",))
    else:
        reply = new_method_return(call, "(bba{ss})", ((allowed, how == "ask", {}),))
    connection.send(reply)
"""
OWN = Peer(os.getpid(), os.getuid())


@contextmanager
def authority(how: str) -> Iterator[list[str]]:
    """Run an authority; afterwards the list holds what it was asked."""
    asked: list[str] = []
    command = [sys.executable, "-c", AUTHORITY, how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield asked
        process.terminate()
        asked += process.stdout.read().splitlines()


@pytest.mark.usefixtures("bus")
@pytest.mark.parametrize(
    ("how", "allowed"),
    [("ok", True), ("no", False), ("ask", True), ("error", False), ("odd", False)],
)
def test_what_polkit_says_counts(how: str, allowed: bool) -> None:
    with authority(how) as asked:
        assert asyncio.run(polkit.ask(OWN)) is allowed
    question = f"unix-process {OWN.pid} {OWN.uid} {polkit.ACTION}"
    assert asked == [f"{question} 0", f"{question} 1"][: 2 if how == "ask" else 1]


@pytest.mark.usefixtures("bus")
def test_polkit_that_hangs_is_not_waited_for() -> None:
    async def ask() -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert not await polkit.ask(OWN, patience=0.2)
        return loop.time() - started

    with authority("hang"):
        assert asyncio.run(ask()) < 1


@pytest.mark.usefixtures("bus")
def test_bus_without_polkit() -> None:
    assert not asyncio.run(polkit.ask(OWN))


def test_machine_without_a_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    assert not asyncio.run(polkit.ask(OWN))


@pytest.mark.usefixtures("bus")
def test_who_has_gone_is_refused() -> None:
    ended = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(ended.pid)
    try:
        with authority("ok") as asked:
            # It has ended and is not waited for: its start can be read still.
            while Path(f"/proc/{ended.pid}/stat").read_text().split()[2] != "Z":
                pass
            assert not asyncio.run(polkit.ask(Peer(ended.pid, 0, pidfd=pidfd)))
        assert asked == []
    finally:
        ended.wait()
        os.close(pidfd)
    assert not asyncio.run(polkit.ask(Peer(ended.pid, 0)))
