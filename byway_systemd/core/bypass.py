"""The list of bypassed destinations that ``byway bypass`` keeps: a line each, comments stay."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from byway_systemd.core.apps import RefusedError
from byway_systemd.core.errors import NotFoundError
from byway_systemd.core.traffic import read_destination

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADING = "# Destinations that never use the VPN. Changed by byway bypass.\n"


def parse_destinations(texts: Iterable[str]) -> tuple[str, ...]:
    """Return destinations in canonical form, each once; raise RefusedError with all that is wrong.

    The error names every text that is refused.
    """
    found: dict[str, None] = {}
    refused: list[RefusedError] = []
    for text in texts:
        try:
            found[read_destination(text)] = None
        except RefusedError as error:
            refused.append(error)
    if refused:
        raise RefusedError("; ".join(map(str, refused)), refused[0].remedy)
    return tuple(found)


@lru_cache(maxsize=1)  # whoever asks for it again and again
def list_destinations(text: str) -> tuple[str, ...]:
    """Return the destinations of a list, in its order; its lines must be valid."""
    return tuple(value for line in text.splitlines() if (value := _destination(line)))


def add_destinations(text: str, values: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the list's text with ``values``, and those of them that were not in it."""
    known = set(list_destinations(text))
    added = tuple(value for value in values if value not in known)
    before = text or HEADING
    before += "" if before.endswith("\n") else "\n"
    return before + "".join(f"{value}\n" for value in added), added


def remove_destinations(text: str, values: tuple[str, ...]) -> str:
    """Return the list's text without ``values``; raise NotFoundError, and then nothing goes."""
    unwanted = frozenset(values)
    missing = unwanted - set(list_destinations(text))
    if missing:
        raise NotFoundError(
            f"not in the list: {', '.join(sorted(missing))} (see byway bypass list)"
        )
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if _destination(line) not in unwanted)


def keep_destinations(text: str, values: tuple[str, ...]) -> str:
    """Return the list's text with those of its destinations that are among ``values``."""
    wanted = {"", *values}
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if _destination(line) in wanted)


def _destination(line: str) -> str:
    text = line.partition("#")[0].strip()
    return read_destination(text) if text else ""
