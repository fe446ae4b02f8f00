"""Asking the daemon, where it runs, to do what a verb does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byway_systemd.cli.output import paint, printable, write, write_error
from byway_systemd.core.errors import (
    BywayError,
    ConfigError,
    ExitCode,
    NotFoundError,
    NotRunningError,
    Problem,
    RootNeededError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from byway_systemd.cli.context import Context

_ERRORS: dict[int, type[BywayError]] = {
    400: UsageError,
    403: RootNeededError,
    404: NotFoundError,
    409: UsageError,
    412: UsageError,
}


def wait_for_daemon(context: Context) -> None:
    """Wait for a daemon that starts; raise NotRunningError when none comes."""
    if not context.wait_for_daemon():
        raise NotRunningError("byway does not run (start it: systemctl start byway)")


def require_root(context: Context, verb: str) -> None:
    """Without root it is the daemon that has to allow it; raise RootNeededError without either."""
    if not context.is_root and context.ask_daemon("GET", "/state") is None:
        raise RootNeededError(f"byway {verb} needs root (use sudo byway {verb})")


def ask_daemon(context: Context, method: str, target: str, body: Any = None) -> Any:
    """Return what the daemon answers, None when it does not listen.

    Raises the error that the verb itself would raise, had it done the work.
    """
    answer = context.ask_daemon(method, target, body)
    if answer is None:
        return None
    status, value = answer
    if status < 400:
        return value
    if problems := value.get("problems"):
        raise ConfigError(tuple(Problem(**problem) for problem in problems))
    raise _ERRORS.get(status, BywayError)(f"{value['detail']} ({value['remedy']})")


def require_daemon(answer: Any) -> Any:
    """Return the daemon's answer; raise NotRunningError when there is none."""
    if answer is None:
        raise NotRunningError("byway does not run (start it: systemctl start byway)")
    return answer


def show_warnings(warnings: Iterable[str]) -> None:
    """Show what does not keep a change from being made, but should be known before."""
    for warning in warnings:
        write_error(paint("warning: ", "yellow") + printable(warning))


def show_plan_of(operations: list[dict[str, Any]]) -> ExitCode:
    """Show what would be changed."""
    for operation in operations:
        write(present(operation))
    if not operations:
        write("in sync: nothing to do")
    return ExitCode.DRIFT if operations else ExitCode.OK


def show_changes(result: dict[str, Any]) -> ExitCode:
    """Show what the daemon has changed, as ``apply`` shows what it changes itself."""
    for operation in result["applied"]:
        write(present(operation))
    for failure in result["failures"]:
        write_error(f"failed: {printable(failure['reason'])}: {present(failure)}")
    if not result["applied"] and not result["failures"]:
        write("in sync: nothing to do")
    show_warnings(result.get("warnings", ()))
    show_unconfirmed(result)
    return ExitCode.FAILED if result["failures"] else ExitCode.OK


def show_unconfirmed(result: dict[str, Any]) -> None:
    """Say how long there is to confirm what was changed, if that is needed."""
    if (seconds := result["unconfirmed"]) is not None:
        write(f"taken back in {seconds} s unless confirmed (byway confirm)")


def present(operation: dict[str, str]) -> str:
    """Return an operation in a line, with its reason."""
    text = operation["operation"].replace("-", " ") + " " + operation["object"]
    return f"{printable(text.strip())}  ({operation['because']})"
