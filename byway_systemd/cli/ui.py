"""``byway ui``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from byway_systemd.cli.output import write
from byway_systemd.core.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from byway_systemd.cli.context import Context


def ui(context: Context, arguments: argparse.Namespace) -> int:
    """Serve the settings page to the user's browser, until nobody has it open."""
    if context.is_root:
        # The daemon lets root change everything: a program that gets at the page would be as
        # good as root. What is passed on with a user's own rights cannot be more than these.
        raise UsageError("byway ui does not run as root (run it as yourself, without sudo)")
    context.serve_page(arguments.port, arguments.idle, _show, browser=not arguments.no_browser)
    return 0


def _show(url: str) -> None:
    write(url)
    sys.stdout.flush()
