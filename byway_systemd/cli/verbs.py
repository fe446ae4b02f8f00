"""The one table of verbs: parser, help, completion and man page are made from it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from byway_systemd.cli.output import write
from byway_systemd.core.config import DEFAULT_PROFILE
from byway_systemd.core.traffic import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.cli.context import Context


def seconds(text: str) -> int:
    """Return a number of seconds, a day's at most; argparse reports the ValueError."""
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:6]) <= 86400:
        raise ValueError(text)
    return int(text)


def port(text: str) -> int:
    """Return a port's number, 0 for any that is free; argparse reports the ValueError."""
    if not (text.isascii() and text.isdecimal()) or int(text[:6]) > 65535:
        raise ValueError(text)
    return int(text)


_JSON = (
    ("--json",),
    {
        "choices": ("pretty", "short", "off"),
        "nargs": "?",
        "const": "pretty",
        "default": "off",
        "help": "print JSON, over several lines or on one",
    },
)
_PROFILE = (
    ("-p", "--profile"),
    {"default": DEFAULT_PROFILE, "metavar": "NAME", "help": "the named profile to use"},
)
_APPS = (
    ("apps",),
    {
        "nargs": "+",
        "metavar": "APP",
        "help": "a program, a pattern, unit:NAME.service or another kind",
    },
)
_USER = (
    ("-u", "--user"),
    {"default": "", "metavar": "NAME", "help": "run it as this user instead of root"},
)
_DESTINATIONS = (
    ("destinations",),
    {
        "nargs": "+",
        "metavar": "DESTINATION",
        "help": "an address, a prefix, or a host's name",
    },
)
_WAIT = (
    ("--wait",),
    {"action": "store_true", "help": "wait up to 15 seconds for a service that starts"},
)
_CONFIRM = (
    ("--confirm",),
    {
        "type": seconds,
        "metavar": "SECONDS",
        "help": "take the last change back after this time, unless it is confirmed",
    },
)
_DRY_RUN = (("-n", "--dry-run"), {"action": "store_true", "help": "only show the plan"})


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb: its name, what it does, its arguments, and ``module:function`` that does it.

    The function is imported when the verb is used, so that a reader never pays for the daemon.
    """

    name: str
    meaning: str
    function: str = ""
    arguments: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = ()
    verbs: tuple[Verb, ...] = field(default=())

    def load(self) -> Callable[[Context, argparse.Namespace], int]:
        """Return the function."""
        module, _, name = self.function.partition(":")
        found: Callable[[Context, argparse.Namespace], int] = getattr(
            import_module(f"byway_systemd.cli.{module}"), name
        )
        return found


VERBS: tuple[Verb, ...] = (
    Verb(
        "status", "show links, apps and whether all is in sync", "show:show_status", (_JSON, _WAIT)
    ),
    Verb("list", "list the configured apps", "show:show_list", (_JSON,)),
    Verb("add", "add apps to the configuration", "change:add", (_APPS, _PROFILE, _WAIT)),
    Verb("remove", "remove apps from the configuration", "change:remove", (_APPS, _WAIT)),
    Verb(
        "run",
        "run a command by the direct link, from its first instruction",
        "change:run",
        (
            _PROFILE,
            _USER,
            (("command",), {"nargs": argparse.REMAINDER, "metavar": "CMD", "help": "the command"}),
        ),
    ),
    Verb(
        "mode",
        "show or change where all goes that nothing else decides",
        "traffic:mode",
        (
            (
                ("mode",),
                {
                    "nargs": "?",
                    "choices": tuple(map(str, Mode)),
                    "metavar": "MODE",
                    "help": ", ".join(Mode),
                },
            ),
            (("--runtime",), {"action": "store_true", "help": "until the next boot only"}),
            _CONFIRM,
            _JSON,
        ),
    ),
    Verb(
        "bypass",
        "show or change the destinations that never use the VPN",
        verbs=(
            Verb("list", "list them", "traffic:bypass_list", (_JSON,)),
            Verb("add", "add destinations", "traffic:bypass_add", (_DESTINATIONS,)),
            Verb("remove", "remove destinations", "traffic:bypass_remove", (_DESTINATIONS,)),
            Verb("clear", "empty the list", "traffic:bypass_clear"),
        ),
    ),
    Verb(
        "routes",
        "take byway's routes out of the kernel, or put them back",
        verbs=(
            Verb(
                "clear",
                "save byway's routes and rules, and remove them until they are restored",
                "routes:clear",
                (_DRY_RUN, _CONFIRM),
            ),
            Verb(
                "restore",
                "check what was saved, and put the routes and rules back",
                "routes:restore",
                (_DRY_RUN, _CONFIRM),
            ),
        ),
    ),
    Verb(
        "candidates",
        "show what could be forced to a side, without changing anything",
        "traffic:candidates",
        (_JSON,),
    ),
    Verb(
        "test",
        "send canaries, and show by which links they would have left",
        "canaries:test",
        (_JSON,),
    ),
    Verb(
        "explain",
        "say where a process, a unit or an address goes, and why",
        "explain:explain",
        (
            (
                ("subject",),
                {
                    "metavar": "PID|UNIT|ADDRESS",
                    "help": "a process's number, a unit's name or an address",
                },
            ),
            _JSON,
        ),
    ),
    Verb("doctor", "look for what is wrong, and say what to do", "doctor:doctor", (_JSON,)),
    Verb("plan", "show what apply would change, and why", "show:show_plan", (_JSON,)),
    Verb(
        "apply",
        "make the machine as the configuration says",
        "change:apply",
        (_DRY_RUN, _CONFIRM, _WAIT),
    ),
    Verb("confirm", "keep what was applied with --confirm", "change:confirm"),
    Verb("rollback", "bring back the configuration before the last change", "change:rollback"),
    Verb(
        "reconcile",
        "put right what differs, through the daemon when it runs",
        "change:reconcile_now",
        ((("--direct",), {"action": "store_true", "help": "do it here, not in the daemon"}),),
    ),
    Verb(
        "config",
        "show, check or edit the configuration",
        verbs=(
            Verb("cat", "show every file, in the order they apply", "configuration:cat"),
            Verb("check", "check it, and report every error", "configuration:check", (_JSON,)),
            Verb("edit", "edit it; what is not valid is not saved", "change:edit_config"),
        ),
    ),
    Verb(
        "ui",
        "open the settings page in the browser",
        "ui:ui",
        (
            (
                ("--no-browser",),
                {"action": "store_true", "help": "only print where the page is"},
            ),
            (
                ("--port",),
                {
                    "type": port,
                    "metavar": "PORT",
                    "default": 0,
                    "help": "the port on 127.0.0.1 instead of any that is free",
                },
            ),
            (
                ("--idle",),
                {
                    "type": seconds,
                    "metavar": "SECONDS",
                    "default": 600,
                    "help": "end when the page was not open for this time (600)",
                },
            ),
        ),
    ),
    Verb(
        "metrics",
        "show what a monitoring system collects (OpenMetrics)",
        verbs=(
            Verb("print", "print the metrics", "metrics:print_metrics"),
            Verb(
                "write",
                "write the metrics to a file, for a textfile collector",
                "metrics:write_metrics",
                ((("file",), {"metavar": "FILE", "help": "where to write them"}),),
            ),
        ),
    ),
    Verb(
        "generate",
        "write the unit files that the systemd generator writes",
        "change:generate",
        (
            (("directory",), {"metavar": "DIR", "help": "where to write them"}),
            (
                ("--scope",),
                {
                    "choices": ("system", "user"),
                    "default": "system",
                    "help": "whose manager they are for",
                },
            ),
        ),
    ),
    Verb(
        "daemon",
        "run in the foreground, until Ctrl+C",
        "change:daemon",
        (
            (("--gate",), {"action": "store_true", "help": "run the exec gate instead"}),
            (("--clean-up",), {"action": "store_true", "help": "remove what byway made, and end"}),
        ),
    ),
)


class _ShowVersion(argparse.Action):
    """``--version``; the version is only looked up when it is asked for."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        _values: object,
        _option: str | None = None,
    ) -> None:
        write(f"byway {self.const()}")  # parser.exit(message=...) would write to standard error
        parser.exit()


def build_parser(version: Callable[[], str]) -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog="byway",
        description="Let chosen programs and services go around a VPN.",
        allow_abbrev=False,
        epilog="Exit codes: 0 fine, 1 failed, 2 usage or configuration, 3 not running, "
        "4 root needed, 5 not found, 6 drift. See byway(1) and byway.toml(5).",
    )
    parser.add_argument(
        "--version", action=_ShowVersion, nargs=0, const=version, help="show the version and exit"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="use this file alone instead of /etc/byway"
    )
    _add_verbs(parser, VERBS)
    return parser


def _add_verbs(parser: argparse.ArgumentParser, verbs: tuple[Verb, ...]) -> None:
    commands = parser.add_subparsers(metavar="VERB", required=True)
    for verb in verbs:
        command = commands.add_parser(
            verb.name, help=verb.meaning, description=verb.meaning, allow_abbrev=False
        )
        for flags, options in verb.arguments:
            command.add_argument(*flags, **options)
        if verb.verbs:
            _add_verbs(command, verb.verbs)
        else:
            command.add_argument("--config", help=argparse.SUPPRESS, default=argparse.SUPPRESS)
            command.set_defaults(verb=verb)
