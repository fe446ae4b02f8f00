"""Reading the documentation: examples, headings and keys of the README and the manual pages."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
_ITEM = re.compile(r"^\.TP\n\.B (\w+)\n(.*?)(?=^\.TP$|\Z)", re.MULTILINE | re.DOTALL)
PAGES = ("man/byway.1", "man/byway.8", "man/byway.toml.5")


@dataclass(frozen=True, slots=True)
class Example:
    """A block of a document: its language (``toml``, ``sh``, ``text``) and where it stands."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def read(name: str) -> str:
    """Return a document's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def find_examples() -> Iterator[Example]:
    """Yield every example of the README and the pages."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", read("README.md"), re.MULTILINE | re.DOTALL):
        yield _example("README.md", match, match[1], match[2])
    block = re.compile(r'^(?:\.\\" (\w+)\n)?\.EX\n(.*?)^\.EE$', re.MULTILINE | re.DOTALL)
    for page in PAGES:
        for match in block.finditer(read(page)):
            yield _example(page, match, match[1] or "", plain(match[2]))


def _example(name: str, match: re.Match[str], language: str, text: str) -> Example:
    return Example(name, match.string.count("\n", 0, match.start()) + 1, language, text)


def plain(roff: str) -> str:
    """Return a line of roff without fonts and escapes."""
    text = re.sub(r"\\f[BIRP]", "", roff)
    for escaped, character in ((r"\-", "-"), (r"\(aq", "'"), (r"\&", ""), (r"\e", "\\")):
        text = text.replace(escaped, character)
    return text


def find_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield (where, arguments) of every ``byway ...`` in an example or in the README's code."""
    for example in find_examples():
        if example.language == "sh":
            for line in example.text.splitlines():
                yield from _byway_commands(str(example), line)
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", read("README.md")):
        yield from _byway_commands("README.md", code)


def _byway_commands(where: str, line: str) -> Iterator[tuple[str, list[str]]]:
    words = shlex.split(line, comments=True)
    if words[:1] == ["sudo"]:
        words = words[1:]
    if words[:1] == ["byway"] and len(words) > 1:
        yield where, words[1:]


def documented_settings(page: str) -> dict[str, str]:
    """Return what the page's SETTINGS section documents: key to default."""
    section = read(page).partition("\n.SH SETTINGS\n")[2].partition("\n.SH ")[0]
    found: dict[str, str] = {}
    for part in section.split("\n.SS "):
        heading, _, body = part.removeprefix(".SS ").partition("\n")
        prefix = "" if heading == "Top level" else heading.strip("[]").replace("NAME", "*") + "."
        for item in _ITEM.finditer(body):
            default = re.search(r"^Default:\n\.BR (\S+) \.$", item[2], re.MULTILINE)
            assert default, f"{page}: {prefix}{item[1]} has no default"
            found[prefix + item[1]] = default[1]
    return found


def tagged(page: str, section: str) -> tuple[str, ...]:
    """Return the tags (the line after .TP) of a page's section, without roff."""
    body = read(page).partition(f"\n.SH {section}\n")[2].partition("\n.SH ")[0]
    tags = re.findall(r"^\.TP\n(.+)$", body, re.MULTILINE)
    return tuple(plain(re.sub(r"^\.(?:[BI]R?|[BI]{2}|[IR]{2}) ", "", tag)) for tag in tags)
