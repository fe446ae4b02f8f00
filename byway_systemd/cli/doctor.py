"""The verb that looks for what is wrong, and says what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byway_systemd.cli.output import paint, printable, write, write_json
from byway_systemd.core.errors import ExitCode

if TYPE_CHECKING:
    from argparse import Namespace

    from byway_systemd.cli.context import Context

_COLOURS = {"error": "red", "warning": "yellow", "note": "green"}


def doctor(context: Context, arguments: Namespace) -> ExitCode:
    """Look at everything, with or without the service; change nothing."""
    from byway_systemd.core.doctor import examine  # noqa: PLC0415

    found = examine(context.case(), is_root=context.is_root)
    if arguments.json != "off":
        write_json(found, arguments.json)
    else:
        for check in found["checks"]:
            _write_check(check)
        write()
        write("nothing is wrong" if found["fine"] else "something is wrong: see above")
    return ExitCode.OK if found["fine"] else ExitCode.FAILED


def _write_check(check: dict[str, Any]) -> None:
    if check["findings"] is None:
        write(f"?  {check['check']}: not looked at, which needs root (sudo byway doctor)")
    elif not check["findings"]:
        write(f"{paint('ok', 'green')} {check['check']}: {check['well']}")
    for finding in check["findings"] or ():
        severity = finding["severity"]
        what = printable(finding["what"])
        write(f"{paint('!!', _COLOURS[severity])} {check['check']}: {severity}: {what}")
        write(f"     seen: {printable(finding['evidence'])}")
        write(f"     do:   {printable(finding['remedy'])}")
