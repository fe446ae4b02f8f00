"""byway(1): the template's prose around what the table of verbs says.

Lines of the template that are replaced: ``@synopsis@``, ``@options@``, and for each command
``@verb NAME@``, after which the template goes on with what the table does not know. Besides,
``@criteria@`` is what ``byway test`` asks for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from byway_systemd.core.canaries import CHECKS, Check
from rendering.verbs import GLOBAL_OPTIONS, Argument, Command, list_commands

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WARNING = r".\" Made by script/render from man/byway.1.in and the table of verbs: do not edit."


def render_manual(template: str) -> str:
    """Return byway(1); raise ValueError when a command stands in the template never or twice."""
    commands = {command.name: command for command in list_commands()}
    wanted = re.findall(r"^@verb (.+)@$", template, re.MULTILINE)
    if sorted(wanted) != sorted(commands):
        raise ValueError(f"man/byway.1.in describes {wanted}, the verbs are {list(commands)}")
    lines = [_WARNING]
    for line in template.splitlines():
        if line == "@synopsis@":
            lines += _render_synopsis(commands.values())
        elif line == "@options@":
            lines += (text for option in GLOBAL_OPTIONS for text in _render_option(option))
        elif line == "@criteria@":
            lines += (text for check in CHECKS for text in _render_check(check))
        elif line.startswith("@verb "):
            lines += _render_command(commands[line[len("@verb ") : -1]])
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return ``text`` for roff: a dash is a dash, no backslash or leading dot acts."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


def _render_synopsis(commands: Iterable[Command]) -> Iterator[str]:
    for command in commands:
        yield rf".SY \%byway\ {escape(command.words[0])}"
        for word in command.words[1:]:
            yield rf"\fB{escape(word)}\fR"
        for argument in (*command.options, *command.positionals):
            yield _render_usage(argument)
        yield ".YS"


def _render_usage(argument: Argument) -> str:
    value = "|".join(rf"\fB{escape(choice)}\fR" for choice in argument.choices)
    value = value or (rf"\fI{escape(argument.metavar)}\fR" if argument.metavar else "")
    if not argument.flags:
        value = rf"{value}\&.\|.\|." if argument.repeats else value
        return f"[{value}]" if argument.optional else value
    flag = rf"\fB{escape(argument.flags[-1])}\fR"
    return rf"[{flag}={value}]" if value else rf"[{flag}]"


def _render_command(command: Command) -> Iterator[str]:
    yield ".TP"
    shown = " ".join(_render_usage(argument) for argument in command.positionals)
    yield rf"\fB{escape(command.name)}\fR {shown}".rstrip()
    yield _sentence(command.meaning)
    if command.options:
        yield ".RS"
        for option in command.options:
            yield from _render_option(option)
        yield ".RE"
        yield ".IP"


def _render_option(option: Argument) -> Iterator[str]:
    yield ".TP"
    value = "|".join(rf"\fB{escape(choice)}\fR" for choice in option.choices)
    value = value or (rf"\fI{escape(option.metavar)}\fR" if option.metavar else "")
    flags = []
    for flag in option.flags:
        separator = "=" if flag.startswith("--") else " "
        flags.append(rf"\fB{escape(flag)}\fR" + (f"{separator}{value}" if value else ""))
    yield ", ".join(flags)
    yield _sentence(option.meaning)


def _render_check(check: Check) -> Iterator[str]:
    yield ".TP"
    yield rf"\fB{escape(check.name)}\fR"
    yield _sentence(check.criterion)


def _sentence(meaning: str) -> str:
    return escape(meaning[0].upper() + meaning[1:] + ".")
