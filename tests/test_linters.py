"""The linters, and what holds for the whole tree."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "byway_systemd"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 40
# Spelled so that this file does not have what it looks for.
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc"}


def find_tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed: run script/setup")
    return found


def run(tool: str, *arguments: str) -> None:
    done = subprocess.run(
        [find_tool(tool), *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def tracked() -> list[Path]:
    """Return every file that is, or would be, in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    paths = (ROOT / name for name in listed.decode().split("\0") if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def is_shell(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(100)
    return bool(re.match(rb"#!\S*/(env )?(ba|da)?sh\b", first)) or path.suffix == ".sh"


def test_ruff_check() -> None:
    run("ruff", "check", "--quiet", "--output-format=concise")


def test_ruff_format() -> None:
    run("ruff", "format", "--check")


def test_mypy() -> None:
    run("mypy", "--strict")


def test_import_contracts() -> None:
    run("lint-imports")


def test_spelling() -> None:
    run("codespell")


def test_shellcheck() -> None:
    scripts = sorted(str(path.relative_to(ROOT)) for path in tracked() if is_shell(path))
    assert {"script/setup", "script/lib.sh", "units/byway-poke"} <= set(scripts)
    run("shellcheck", "--external-sources", *scripts)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_names_say_what_is_inside() -> None:
    names = {part.removesuffix(".py") for path in MODULES for part in path.parts}
    assert not names & VAGUE


def test_package_files_hold_a_docstring_only() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert len(ast.parse(path.read_text()).body) <= 1, path


def test_every_package_is_installed() -> None:
    packages = {str(p.parent.relative_to(ROOT)).replace("/", ".") for p in MODULES}
    listed = re.search(
        r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL
    )
    assert listed
    assert set(re.findall(r'"(.*?)"', listed[1])) == packages


def test_nothing_is_left_unfinished() -> None:
    found = []
    for path in tracked():
        if path.suffix == ".png":  # any letters may stand in one
            continue
        text = path.read_text(errors="replace")
        found += [f"{path}: {match[0]}" for match in UNFINISHED.finditer(text)]
    assert not found


def test_scripts_can_be_run() -> None:
    for path in tracked():
        with path.open("rb") as file:
            has_program = file.read(2) == b"#!"
        assert has_program == bool(path.stat().st_mode & 0o100), path.relative_to(ROOT)
