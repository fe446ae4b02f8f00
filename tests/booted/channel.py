"""The host's end of the line to the agent in the machine (guest/agent.py)."""

from __future__ import annotations

import itertools
import json
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class MachineDied(Exception):  # noqa: N818
    """The machine is gone, or restarted without being asked to: not the fault of the test."""


class AgentError(Exception):
    """The agent could not do what it was asked; the text is its traceback."""


class Channel:
    """Sends requests and hands each answer to the thread that waits for it."""

    def __init__(self, path: Path) -> None:
        """Connect to QEMU's socket at PATH, which it makes as it starts."""
        self._socket = connect(path)
        self._numbers = itertools.count()
        self._waiting: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self.hellos: queue.Queue[str] = queue.Queue()
        self._expected = 1
        self._greeted = 0
        self.dead = ""
        threading.Thread(target=self._receive, daemon=True).start()

    def expect_reboot(self) -> None:
        """The next hello is meant to come."""
        self._expected += 1

    def wait_for_hello(self, timeout: float) -> str:
        """The boot id, when the agent has come up."""
        try:
            hello = self.hellos.get(timeout=timeout)
        except queue.Empty:
            raise MachineDied(f"no word from the machine in {timeout:.0f} s") from None
        if not hello:
            raise MachineDied(self.dead)
        return hello

    def call(self, op: str, patience: float, /, **arguments: object) -> Any:
        """Do OP in the machine; its value."""
        if self.dead:
            raise MachineDied(self.dead)
        number = next(self._numbers)
        answer: queue.Queue[dict[str, Any]] = queue.Queue()
        self._waiting[number] = answer
        line = json.dumps({"id": number, "op": op, **arguments}).encode("ascii") + b"\n"
        try:
            with self._lock:
                self._socket.sendall(line)
            message = answer.get(timeout=patience)
        except queue.Empty:
            raise MachineDied(f"no answer to {op} in {patience:.0f} s") from None
        except OSError as error:
            raise MachineDied(f"{op}: {error}") from error
        finally:
            self._waiting.pop(number, None)
        if "died" in message:
            raise MachineDied(message["died"])
        if "error" in message:
            raise AgentError(message["error"])
        return message["value"]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _receive(self) -> None:
        """Read until the line is cut."""
        held = b""
        while True:
            try:
                octets = self._socket.recv(1 << 18)
            except OSError:
                octets = b""
            if not octets:
                self._die("the machine is gone")
                return
            *lines, held = (held + octets).split(b"\n")
            for line in filter(None, lines):
                self._take(line)

    def _take(self, line: bytes) -> None:
        """Hand on one message."""
        try:
            message = json.loads(line)
        except ValueError:
            # what a reboot cut off
            return
        if "hello" not in message:
            if answer := self._waiting.get(message["id"]):
                answer.put(message)
            return
        self._greeted += 1
        if self._greeted > self._expected:
            self._die("the machine, or its agent, restarted by itself")
        else:
            self._abandon("the machine rebooted meanwhile")
            self.hellos.put(message["hello"])

    def _die(self, reason: str) -> None:
        """Nothing more will come."""
        self.dead = self.dead or reason
        self.hellos.put("")
        self._abandon(reason)

    def _abandon(self, reason: str) -> None:
        """Let nobody wait any longer."""
        for answer in list(self._waiting.values()):
            answer.put({"died": reason})


def connect(path: Path) -> socket.socket:
    """A connection to a socket that may be a moment late."""
    for _ in range(200):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            time.sleep(0.02)
        else:
            return connection
    raise MachineDied("QEMU did not start")
