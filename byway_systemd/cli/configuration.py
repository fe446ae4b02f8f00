"""The verbs that read the configuration: config cat, config check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byway_systemd.cli.output import paint, printable, write, write_error, write_json
from byway_systemd.cli.remote import show_warnings
from byway_systemd.core.errors import ConfigError, ExitCode
from byway_systemd.core.status import warn_of_files
from byway_systemd.core.traffic import Traffic

if TYPE_CHECKING:
    from argparse import Namespace

    from byway_systemd.cli.context import Context


def cat(context: Context, _arguments: Namespace) -> ExitCode:
    """Show every file of the configuration, in the order they apply."""
    for number, file in enumerate(context.config_files()):
        write(f"{chr(10) if number else ''}# {file.name}")
        write(file.text.rstrip("\n"))
    return ExitCode.OK


def check(context: Context, arguments: Namespace) -> ExitCode:
    """Check the configuration: every error at once, and what is missing."""
    problems: list[dict[str, object]] = []
    try:
        config = context.config()
    except ConfigError as error:
        for problem in error.problems:
            write_error(str(problem))
            fields = ("file", "line", "key", "message", "remedy")
            problems.append({name: getattr(problem, name) for name in fields})
        if arguments.json != "off":
            write_json(problems, arguments.json)
        return ExitCode.USAGE
    for warning in warn_of_files(context.executables(config)):
        write_error(paint("warning: ", "yellow") + printable(warning))
    if config.traffic != Traffic():
        from byway_systemd.core.logins import warn_of_logins  # noqa: PLC0415

        case = context.case(as_nobody=True)
        show_warnings(warn_of_logins(case.desired, case.observed))
    if arguments.json != "off":
        write_json(problems, arguments.json)
    else:
        write("valid")
    return ExitCode.OK
