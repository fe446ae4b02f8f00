"""The examples of the documentation, run as they stand."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest
from documents import find_examples
from served import CONFIG, Served

if TYPE_CHECKING:
    from pathlib import Path

SOCKET = "/run/byway/byway.sock"
COMMANDS = [
    (example.document, line)
    for example in find_examples()
    for line in example.text.splitlines()
    if SOCKET in line
]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="what sudo would do")


def test_there_are_examples() -> None:
    assert {document for document, _ in COMMANDS} == {"README.md", "man/byway.8"}
    assert all(line.removeprefix("sudo ").startswith("curl ") for _, line in COMMANDS)
    changing = [line for _, line in COMMANDS if {"-d", "-T", "-X"} & set(shlex.split(line))]
    assert all(line.startswith("sudo ") for line in changing)


@as_root
@pytest.mark.parametrize("document", ["README.md", "man/byway.8"])
def test_examples_work(served: Served, document: str, tmp_path: Path) -> None:
    """In their order, as one may depend on the one before."""
    for where, line in COMMANDS:
        if where != document:
            continue
        words = shlex.split(line.removeprefix("sudo ").replace(SOCKET, str(served.socket)))
        done = subprocess.run(
            [*words, "-sS", "--fail-with-body"],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == (28 if "--max-time" in words else 0), (line, done)
        assert done.stdout or "-o" in words, line
    if document == "man/byway.8":
        assert served.config.read_text() == CONFIG
