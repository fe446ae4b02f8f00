"""The table of verbs, laid out for the renderers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from byway_systemd.cli.verbs import VERBS, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a verb. ``flags`` is empty for a positional one.

    ``metavar`` is empty for a flag without a value, ``choices`` for one that takes any.
    """

    flags: tuple[str, ...]
    metavar: str
    choices: tuple[str, ...]
    meaning: str
    repeats: bool = False
    optional: bool = False

    @property
    def takes_value(self) -> bool:
        """Whether something must follow the flag."""
        return bool(self.flags and (self.metavar or self.choices))


@dataclass(frozen=True, slots=True)
class Command:
    """A verb that does something: ``words`` are what is typed, ``config check`` is two.

    ``group_meaning`` is what the table says of ``config`` itself, empty for a single word.
    """

    words: tuple[str, ...]
    meaning: str
    arguments: tuple[Argument, ...]
    group_meaning: str = ""

    @property
    def name(self) -> str:
        """The words in one."""
        return " ".join(self.words)

    @property
    def options(self) -> tuple[Argument, ...]:
        """The arguments that begin with a dash."""
        return tuple(argument for argument in self.arguments if argument.flags)

    @property
    def positionals(self) -> tuple[Argument, ...]:
        """The arguments that do not."""
        return tuple(argument for argument in self.arguments if not argument.flags)


GLOBAL_OPTIONS = (
    Argument(("-h", "--help"), "", (), "show the help of byway or of the verb, and exit"),
    Argument(("--version",), "", (), "show the version, and exit"),
    Argument(("--config",), "FILE", (), "use this file alone instead of /etc/byway"),
)


def list_commands(
    verbs: tuple[Verb, ...] = VERBS, above: tuple[str, ...] = (), group_meaning: str = ""
) -> Iterator[Command]:
    """Yield every command in the table's order."""
    for verb in verbs:
        words = (*above, verb.name)
        if verb.verbs:
            yield from list_commands(verb.verbs, words, verb.meaning)
        else:
            arguments = tuple(_read_argument(*argument) for argument in verb.arguments)
            yield Command(words, verb.meaning, arguments, group_meaning)


def _read_argument(flags: tuple[str, ...], options: dict[str, object]) -> Argument:
    choices = options.get("choices", ())
    assert isinstance(choices, (tuple, list))
    is_option = flags[0].startswith("-")
    default = "" if is_option else flags[0].upper()
    return Argument(
        flags if is_option else (),
        str(options.get("metavar", default)),
        tuple(map(str, choices)),
        str(options["help"]),
        repeats=options.get("nargs") in ("+", "*", "..."),
        optional=not is_option and options.get("nargs") == "?",
    )
