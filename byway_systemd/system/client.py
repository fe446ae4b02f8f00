"""A client of the daemon's API, for the command line."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import TYPE_CHECKING, Any

from byway_systemd.core.errors import BywayError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_EVERY = 0.15  # seconds between two attempts, and for how long: wireleap's own
_PATIENCE = 15.0
_TIMEOUT = 30.0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(
    path: Path, method: str, target: str, body: Any = None, timeout: float = _TIMEOUT
) -> tuple[int, Any] | None:
    """Return the status and the JSON value of the daemon's answer; None when it does not listen.

    Raises BywayError when it listens and does not answer.
    """
    connection = _Connection(str(path), timeout)
    try:
        try:
            connection.connect()
        except OSError:
            return None
        connection.request(method, target, None if body is None else json.dumps(body))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise BywayError(
            f"the daemon does not answer: {str(error) or type(error).__name__} "
            "(see journalctl -u byway; byway reconcile --direct works without it)"
        ) from None
    finally:
        connection.close()


def wait(
    path: Path,
    patience: float = _PATIENCE,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until the daemon answers that it has started; return whether it does in time."""
    end = now() + patience
    while True:
        try:
            answer = ask(path, "GET", "/state", timeout=max(_EVERY, end - now()))
        except BywayError:  # it is being restarted
            answer = None
        if answer and answer[0] == 200 and answer[1].get("state") == "active":
            return True
        if now() + _EVERY > end:
            return False
        sleep(_EVERY)
