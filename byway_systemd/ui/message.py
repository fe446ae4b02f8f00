"""Requests and answers of the page's server, as values, and what it takes of a client."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM_TYPE = "application/problem+json"
READS = frozenset({"GET", "HEAD"})
WRITES = frozenset({"DELETE", "PATCH", "POST", "PUT"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take: sizes in bytes, times in seconds.

    ``answer`` is the patience with the daemon; polkit may be asking its user for a password for a
    minute of it.
    """

    connections: int = 32
    header_bytes: int = 16 * 1024
    body_bytes: int = 8 * 1024 * 1024  # as the API has it
    between: float = 30.0  # requests of one connection
    head: float = 5.0
    body: float = 20.0
    send: float = 10.0
    linger: float = 0.5
    answer: float = 90.0


@dataclass(frozen=True, slots=True)
class Request:
    """What a browser asks for. ``target`` is as it came, ``headers`` have lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def is_to_be_read(self) -> bool:
        """Whether the answer is for a person: the browser goes there."""
        return "text/html" in self.headers.get("accept", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back, whole."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """A request is refused, as a problem document (RFC 9457) says to it."""

    def __init__(self, status: int, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.status = status
        self._remedy = remedy

    @property
    def answer(self) -> Answer:
        """What the client is told."""
        title = HTTPStatus(self.status).phrase
        problem = {"type": "about:blank", "title": title, "status": self.status}
        problem |= {"detail": str(self), "key": "", "remedy": self._remedy}
        body = json.dumps(problem, ensure_ascii=False).encode(errors="replace") + b"\n"
        return Answer(self.status, body, {"Content-Type": PROBLEM_TYPE})

    @property
    def text(self) -> Answer:
        """The same, for somebody who has opened an address in the browser."""
        body = f"{self} ({self._remedy})\n".encode(errors="replace")
        return Answer(self.status, body, {"Content-Type": "text/plain; charset=utf-8"})
