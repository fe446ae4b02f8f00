"""The page over a daemon, and a browser that was let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from page_served import Page, serve_page
from served import Served, serve

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def daemon() -> Iterator[Served]:
    """Run the daemon for the tests of a file."""
    with serve() as served:
        yield served


@pytest.fixture
def page(daemon: Served) -> Iterator[Page]:
    """Serve the page to nobody, who has not opened it yet."""
    with serve_page(daemon.root) as served:
        yield served


@pytest.fixture(scope="module")
def opened(daemon: Served) -> Iterator[Page]:
    """Serve the page to nobody, who has opened it; for tests that leave it as it is."""
    with serve_page(daemon.root) as served:
        assert served.enter().status == 303
        yield served
