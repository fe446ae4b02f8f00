"""Errors as problem details (RFC 9457): what is wrong, with what, and what to do."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from byway_systemd.core.errors import (
    BywayError,
    ConfigError,
    NotFoundError,
    RootNeededError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM_TYPE = "application/problem+json"
_REMEDY = "journalctl -u byway says more"


class ProblemError(Exception):
    """A request is refused. ``key`` names what of it is wrong, ``remedy`` says what to do."""

    def __init__(
        self,
        status: int,
        detail: str,
        remedy: str,
        *,
        key: str = "",
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers: dict[str, str] = {}
        self._members = {"key": key, "remedy": remedy, **(members or {})}

    def present(self) -> dict[str, Any]:
        """Return the problem as a JSON value."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": str(self),
            **self._members,
        }


def problem_of(error: BywayError | OSError) -> ProblemError:
    """Return the problem that an error of byway's is to a client."""
    if isinstance(error, ConfigError):
        return _problem_of_config(error)
    detail, _, remedy = str(error).partition(" (")
    remedy = remedy.removesuffix(")") or _REMEDY
    match error:
        case NotFoundError():
            return ProblemError(404, detail, remedy)
        case RootNeededError():
            return ProblemError(403, detail, remedy)
        case UsageError():
            return ProblemError(400, detail, remedy)
        case _:
            return ProblemError(500, str(error), _REMEDY)


def _problem_of_config(error: ConfigError) -> ProblemError:
    first = error.problems[0]
    fields = ("file", "line", "key", "message", "remedy")
    problems = [{name: getattr(problem, name) for name in fields} for problem in error.problems]
    return ProblemError(
        400, str(error), first.remedy, key=first.key, members={"problems": problems}
    )
