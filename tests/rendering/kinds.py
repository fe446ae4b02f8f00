"""What a value of the command line is, so that each shell can offer the right things."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from rendering.verbs import GLOBAL_OPTIONS, Argument, Command, list_commands

if TYPE_CHECKING:
    from collections.abc import Iterator


class Kind(StrEnum):
    """A kind of value, and the name of the shells' function that offers such values."""

    COMMAND = "command"
    DIRECTORY = "directory"
    FILE = "file"
    LISTED_APP = "listed_app"
    NOTHING = "nothing"
    PROGRAM = "program"


_BY_METAVAR = {
    "APP": Kind.PROGRAM,
    "CMD": Kind.COMMAND,
    "DESTINATION": Kind.NOTHING,
    "DIR": Kind.DIRECTORY,
    "FILE": Kind.FILE,
    "MODE": Kind.NOTHING,
    "NAME": Kind.NOTHING,
    "PID|UNIT|ADDRESS": Kind.NOTHING,
    "PORT": Kind.NOTHING,
    "SECONDS": Kind.NOTHING,
}


def kind_of(argument: Argument, command: str = "") -> Kind:
    """Return what the argument's value is; KeyError for a placeholder nobody has thought about."""
    if command == "remove" and argument.metavar == "APP":
        return Kind.LISTED_APP
    return _BY_METAVAR[argument.metavar]


def find_children(words: tuple[str, ...]) -> dict[str, str]:
    """Return the words that can follow ``words``, each with its meaning."""
    depth = len(words)
    found: dict[str, str] = {}
    for command in list_commands():
        if command.words[:depth] == words and len(command.words) > depth:
            is_last = len(command.words) == depth + 1
            meaning = command.meaning if is_last else command.group_meaning
            found.setdefault(command.words[depth], meaning)
    return found


def list_branches() -> Iterator[tuple[str, ...]]:
    """Yield the words after which another verb must come: none, and ``config``."""
    yield ()
    yield from dict.fromkeys(
        command.words[:depth]
        for command in list_commands()
        for depth in range(1, len(command.words))
    )


def value_flags() -> tuple[str, ...]:
    """Return every flag after which a value comes."""
    options = [*GLOBAL_OPTIONS, *(o for command in list_commands() for o in command.options)]
    flags = (flag for option in options if option.takes_value for flag in option.flags)
    return tuple(dict.fromkeys(flags))


def option_of_help() -> Argument:
    """Return ``-h``, which every verb has."""
    return GLOBAL_OPTIONS[0]


def options_of(command: Command) -> tuple[Argument, ...]:
    """Return the command's options and those every command has."""
    return (*command.options, option_of_help(), GLOBAL_OPTIONS[2])
