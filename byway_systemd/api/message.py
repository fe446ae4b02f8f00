"""Requests and answers as values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

from byway_systemd.api.problem import PROBLEM_TYPE, ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from byway_systemd.api.peer import Peer

JSON_TYPE = "application/json"
_MOST_PARAMETERS = 64


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for.

    ``path`` is decoded, ``parameters`` are those of the query in their order, ``headers`` have
    lower-case names, ``rest`` is what a route's last ``{name}`` stands for.
    """

    method: str
    path: str
    peer: Peer
    parameters: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    rest: str = ""

    def one(self, name: str) -> str | None:
        """Return the value of a parameter that may stand once, None when it does not stand."""
        values = self.all(name)
        if len(values) > 1:
            raise ProblemError(400, f"{name} is given twice", "give it once", key=name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Return every value of a parameter."""
        return [value for key, value in self.parameters if key == name]

    def switch(self, name: str) -> bool:
        """Return whether a parameter is 1."""
        value = self.one(name)
        if value not in (None, "0", "1"):
            raise ProblemError(400, f"not 0 or 1: {value!r}", f"write {name}=1", key=name)
        return value == "1"

    def seconds(self, name: str, most: int) -> int | None:
        """Return a parameter that is a number of seconds from 1 to ``most``."""
        text = self.one(name)
        if text is None:
            return None
        # int() would take "1_0", " 7 " and other scripts' digits.
        if text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most:
            return int(text)
        raise ProblemError(
            400, f"not a number of seconds: {text!r}", f"write 1 to {most}", key=name
        )

    def json(self) -> Any:
        """Return the body as a JSON value."""
        try:
            return json.loads(self.body.decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ProblemError(
                400, f"the body is not JSON: {error}", "send a JSON value in UTF-8", key="body"
            ) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class Stream(Protocol):
    """A body without an end; ``next`` waits for its next part, and an empty one is the last."""

    async def next(self) -> bytes:
        """Return the next part."""

    def close(self) -> None:
        """Nobody reads it any more."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. With ``stream`` the body is what that gives."""

    status: int
    body: bytes = b""
    kind: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Stream | None = None


def encode(value: Any) -> bytes:
    """Return a JSON value as the body of an answer."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace") + b"\n"


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer with a JSON value."""
    return Response(status, encode(value), headers=headers or {})


def answer_problem(problem: ProblemError) -> Response:
    """Return an answer with a problem."""
    body = encode(problem.present())
    return Response(problem.status, body, PROBLEM_TYPE, problem.headers)


def split_target(target: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the decoded path and the parameters of a request's target."""
    raw, _, query = target.partition(b"?")
    if b"://" in raw:  # absolute-form, which a proxy would use
        raw = b"/" + raw.partition(b"://")[2].partition(b"/")[2]
    try:
        path = unquote_to_bytes(raw).decode()
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise ProblemError(
            400, "the target cannot be read", "percent-encode what is not plain ASCII", key="target"
        ) from None
    return path, tuple(pairs)
