"""What holds for every test: options, and that none leaves anything running behind."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lived import Outside

# The same examples at every run: what fails here fails there.
settings.register_profile("byway", deadline=None, derandomize=True, database=None)
settings.load_profile("byway")
# These make and end their own machines and namespaces, for longer than a test.
_OWN_WORLDS = {"netns", "booted", "browser"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-expected", action="store_true", help="rewrite what tests/cases expect"
    )


@pytest.fixture
def update_expected(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-expected"))


@pytest.fixture
def outside() -> Iterator[Outside]:
    """A world of fakes for a daemon to live in."""
    from lived import Outside  # noqa: PLC0415 - booted machines have no need of it

    made = Outside()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaks a child process or a thread."""
    if _OWN_WORLDS.intersection(request.node.path.parts):
        yield
        return
    children, threads = _children(), set(threading.enumerate())
    yield
    assert _children() <= children, "a child process is left"
    assert set(threading.enumerate()) <= threads, "a thread is left"


def _children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended meanwhile
            found.update((task / "children").read_text().split())
    return found
