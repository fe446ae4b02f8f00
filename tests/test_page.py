"""The settings page's files: what holds for all of them without a browser."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "byway_systemd/ui/page"
FILES = sorted(PAGE.iterdir())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 40
MOST_BYTES = 150_000  # of all, gzipped
# What could read a text as markup or as a program, or would break the content security policy.
UNSAFE = re.compile(
    r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval|new Function)\b"
    r"|\bstyle:|\sstyle=|\son\w+=|\bjavascript:"
)
FUNCTION = re.compile(r"^(?:export )?(?:async )?function (\w+)")
IMPORT = re.compile(r'^(?:import|\}) .*?from "\./(\w+\.js)";$', re.MULTILINE)
EXPORTED = re.compile(r"^export (?!class)", re.MULTILINE)


def name_of(path: Path) -> str:
    return path.name


def imports_of(path: Path) -> set[str]:
    return set(IMPORT.findall(path.read_text()))


def test_the_whole_page_is_small() -> None:
    assert sum(len(gzip.compress(path.read_bytes())) for path in FILES) < MOST_BYTES


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= MOST_LINES
    name, start = "", 0
    for number, line in enumerate(lines):
        if match := FUNCTION.match(line):
            name, start = match[1], number
        if line == "}" and name:
            assert number - start < MOST_LINES_OF_A_FUNCTION, name
            name = ""


@pytest.mark.parametrize("path", [*SCRIPTS, PAGE / "index.html"], ids=name_of)
def test_texts_are_never_read_as_markup_or_programs(path: Path) -> None:
    found = UNSAFE.search(path.read_text())
    assert not found, found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_from_the_network(path: Path) -> None:
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text()))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name, not a place


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_what_others_use_is_described(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(("//", "/*"))
    for match in EXPORTED.finditer(text):
        assert text[: match.start()].endswith("*/\n"), text[match.start() :].splitlines()[0]


def test_every_module_is_fetched_at_once() -> None:
    wanted, seen = {"page.js"}, set[str]()
    while left := wanted - seen:
        module = left.pop()
        seen.add(module)
        if (PAGE / module).exists():
            wanted |= imports_of(PAGE / module)
    _, _, later = (PAGE / "index.html").read_text().partition('<template id="modules">')
    assert sorted(re.findall(r'<link rel="modulepreload" href="(.*?)">', later)) == sorted(seen)
