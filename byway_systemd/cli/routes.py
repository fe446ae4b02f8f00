"""The verbs that take byway's routes out of the kernel, and put them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byway_systemd.cli.output import printable, write, write_error
from byway_systemd.cli.remote import (
    ask_daemon,
    require_daemon,
    require_root,
    show_changes,
    show_plan_of,
)

if TYPE_CHECKING:
    from argparse import Namespace

    from byway_systemd.cli.context import Context
    from byway_systemd.core.errors import ExitCode


def clear(context: Context, arguments: Namespace) -> ExitCode:
    """Save byway's routes and rules, and remove them until they are restored."""
    result = _ask(context, arguments, "clear")
    code = _show(result)
    if "applied" in result:
        write("cleared until byway routes restore, or the next boot")
    return code


def restore(context: Context, arguments: Namespace) -> ExitCode:
    """Check what was saved, and put the routes and rules back."""
    result = _ask(context, arguments, "restore")
    for missing in result.get("not_restored", ()):
        write_error(f"saved, and not there as the network has changed: {printable(missing)}")
    return _show(result)


def _ask(context: Context, arguments: Namespace, what: str) -> dict[str, Any]:
    """Let the daemon do it: what it keeps in the kernel nobody else should remove."""
    require_root(context, f"routes {what}")
    terms = [f"confirm={arguments.confirm}"] if arguments.confirm else []
    terms += ["dry_run=1"] if arguments.dry_run else []
    query = f"?{'&'.join(terms)}" if terms else ""
    answer = ask_daemon(context, "POST", f"/api/v1/traffic/routes/{what}{query}")
    result: dict[str, Any] = require_daemon(answer)
    return result


def _show(result: dict[str, Any]) -> ExitCode:
    return show_plan_of(result["plan"]) if "plan" in result else show_changes(result)
