"""A daemon to talk to, and ways to do so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from served import Served, serve

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve for one test."""
    with serve() as one:
        yield one


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    """Serve for the tests of a file that change nothing."""
    with serve() as one:
        yield one
