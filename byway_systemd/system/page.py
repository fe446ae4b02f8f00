"""Serving the settings page to the user's browser, and opening that."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from byway_systemd.core.errors import UsageError
from byway_systemd.ui.files import read_page
from byway_systemd.ui.server import PageServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def serve_page(
    daemon: Path, port: int, idle: float, show: Callable[[str], None], *, browser: bool
) -> None:
    """Serve until a signal, or until nobody has asked for anything for ``idle`` seconds.

    ``show`` is given the URL. Raises UsageError when the port is taken.
    """

    def announce(url: str) -> None:
        show(url)
        if browser:
            _open_browser(url)

    server = PageServer(daemon, read_page(), idle)
    try:
        asyncio.run(server.run(port, announce))
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # asyncio's own text says more than one sentence
        raise UsageError(
            f"cannot listen on 127.0.0.1:{port}: {reason} (leave --port out for one that is free)"
        ) from None


def _open_browser(url: str) -> None:
    """Open ``url`` as the desktop does, where there is one; nothing waits for it."""
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if has_display and (program := shutil.which("xdg-open")):
        subprocess.Popen(  # noqa: S603 - the URL is our own
            [program, url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl+C ends the server, not the browser
        )
