"""The verbs for monitoring: metrics print, metrics write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from byway_systemd.cli.output import write
from byway_systemd.core.errors import ExitCode
from byway_systemd.core.metrics import render_metrics

if TYPE_CHECKING:
    from argparse import Namespace

    from byway_systemd.cli.context import Context


def print_metrics(context: Context, _arguments: Namespace) -> ExitCode:
    """Print the metrics of what the daemon published last."""
    write(_metrics(context).removesuffix("\n"))
    return ExitCode.OK


def write_metrics(context: Context, arguments: Namespace) -> ExitCode:
    """Write them to a file, which a collector sees old or new but never in part."""
    context.write_file(Path(arguments.file), _metrics(context))
    return ExitCode.OK


def _metrics(context: Context) -> str:
    status = context.published_status() if context.daemon_pid() else {}
    return render_metrics(status, context.version)
