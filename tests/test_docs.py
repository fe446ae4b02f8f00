"""The documentation says what the program does, and its examples work."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from documents import (
    PAGES,
    ROOT,
    Example,
    documented_settings,
    find_commands,
    find_examples,
    read,
    tagged,
)
from rendering.outputs import render_outputs
from rendering.verbs import list_commands

from byway_systemd.cli.verbs import build_parser
from byway_systemd.core.config import SETTINGS
from byway_systemd.core.errors import ExitCode
from byway_systemd.core.parse import ConfigFile, parse_config

COMMANDS = tuple(list_commands())
EXAMPLES = tuple(find_examples())
OF_TOML = [example for example in EXAMPLES if example.language == "toml"]
EXAMPLE_FILE = "byway.toml.example"


def test_made_files_are_up_to_date() -> None:
    stale = [name for name, text in render_outputs(ROOT).items() if read(name) != text]
    assert not stale, "run script/render"


def test_every_example_says_what_it_is() -> None:
    unknown = [str(e) for e in EXAMPLES if e.language not in ("toml", "sh", "text")]
    assert not unknown
    assert {example.document for example in OF_TOML} == {"README.md", "man/byway.toml.5"}


@pytest.mark.parametrize("example", OF_TOML, ids=str)
def test_toml_examples_are_valid(example: Example) -> None:
    parse_config((ConfigFile(str(example), example.text),))


def test_toml_in_other_examples_is_marked() -> None:
    """No configuration hides in a block that is not checked."""
    names = "|".join({setting.key.rpartition(".")[2] for setting in SETTINGS})
    others = (example for example in EXAMPLES if example.language != "toml")
    assert not [e for e in others if re.search(rf"^({names}) = ", e.text, re.MULTILINE)]


def test_settings_and_their_defaults_are_documented() -> None:
    wanted = {setting.key: str(setting.default) for setting in SETTINGS}
    assert documented_settings("man/byway.toml.5") == wanted


def test_example_file_has_three_lines_and_every_setting() -> None:
    text = read(EXAMPLE_FILE)
    active = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line.split()[0] for line in active] == ["interface", "reconcile", "apps"]
    parse_config((ConfigFile(EXAMPLE_FILE, text),))
    commented = re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE)
    parse_config((ConfigFile(EXAMPLE_FILE, commented),))
    assert _keys(commented) == {setting.key for setting in SETTINGS}


def test_example_file_shows_the_defaults() -> None:
    """What is commented out changes nothing when it is not, but for the profile's being there."""
    text = read(EXAMPLE_FILE)
    commented = re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE)
    plain, full = (parse_config((ConfigFile("", part),)) for part in (text, commented))
    listed = plain.profiles[0].apps
    assert replace(full.profiles[0], apps=listed) == plain.profiles[0]
    assert full.profiles[0].apps[: len(listed)] == listed
    assert (full.mark_mask, full.priority, full.gate, full.traffic) == (
        plain.mark_mask,
        plain.priority,
        plain.gate,
        plain.traffic,
    )


def _keys(text: str) -> set[str]:
    keys: set[str] = set()
    table: str | None = ""
    for line in text.splitlines():
        if heading := re.match(r"\[\[(profile\.)?.*app\]\]", line):
            keys.add("profile.*.app" if heading[1] else "app")
            table = None  # its keys are one value
        elif table is None and not line.startswith("["):
            continue
        elif heading := re.match(r"\[(.+)\]", line):
            table = re.sub(r"^profile\..+", "profile.*", heading[1]) + "."
        elif key := re.match(r"(\w+) = ", line):
            keys.add(f"{table}{key[1]}")
    return keys


@pytest.mark.parametrize(("where", "arguments"), list(find_commands()))
def test_commands_in_the_documentation_are_real(where: str, arguments: list[str]) -> None:
    parser = build_parser(lambda: "")
    try:
        parser.parse_args(arguments)
    except SystemExit:
        pytest.fail(f"{where}: byway {' '.join(arguments)}")


def test_readme_lists_every_command() -> None:
    section = read("README.md").partition("\n## Commands\n")[2].partition("\n## ")[0]
    listed = re.findall(r"`byway ([a-z]+(?: [a-z]+)?)", section)
    assert sorted(listed) == sorted(command.name for command in COMMANDS)


def test_every_verb_and_option_is_in_the_manual() -> None:
    page = read("man/byway.1").replace(r"\-", "-")
    for command in COMMANDS:
        assert rf"\fB{command.name}\fR" in page
        for option in command.options:
            assert all(rf"\fB{flag}\fR" in page for flag in option.flags)


def test_exit_codes_are_documented() -> None:
    codes = {str(int(code)) for code in ExitCode}
    assert set(tagged("man/byway.1", "EXIT STATUS")) == codes
    sentence = read("README.md").partition("Exit codes: ")[2].partition(". ")[0]
    assert set(re.findall(r"\b\d\b", sentence)) == codes


def test_every_unit_is_documented() -> None:
    page = read("man/byway.8").replace(r"\-", "-")
    for suffix in ("service", "timer", "slice", "socket"):
        for unit in (ROOT / "units").rglob(f"*.{suffix}"):
            assert rf".I {unit.name}" in page, unit.name


def test_what_the_readme_links_to_is_there() -> None:
    text = read("README.md")
    links = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"\bscript/[a-z]+", text)
    missing = [link for link in sorted(set(links)) if not (ROOT / link).exists()]
    assert not missing


def _need(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.fail(f"{tool} is missing: run script/setup")


@pytest.mark.parametrize("page", PAGES)
def test_pages_render_without_warnings(page: str) -> None:
    _need("man")
    _need("groff")
    for command in (
        ["man", "--warnings", "--local-file", str(ROOT / page)],
        ["groff", "-ww", "-man", "-Tutf8", str(ROOT / page)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert "BYWAY" in done.stdout


def test_pages_name_each_other() -> None:
    """Every page a page of byway's refers to is one of its own or of the system's."""
    own = {Path(page).name for page in PAGES}
    for page in PAGES:
        text = read(page).replace(r"\-", "-")
        named = re.findall(r"^\.BR (byway[\w.]*) \((\d)\)", text, re.MULTILINE)
        assert {f"{name}.{section}" for name, section in named} | {Path(page).name} == own
