"""The verb that tries the mode with real packets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byway_systemd.cli.output import paint, printable, write, write_json, write_table
from byway_systemd.cli.remote import ask_daemon, require_daemon, require_root
from byway_systemd.core.errors import ExitCode

if TYPE_CHECKING:
    from argparse import Namespace

    from byway_systemd.cli.context import Context


def test(context: Context, arguments: Namespace) -> ExitCode:
    """Have the daemon send canaries, and show by which links they would have left."""
    require_root(context, "test")
    report = require_daemon(ask_daemon(context, "POST", "/api/v1/traffic/test"))
    if arguments.json != "off":
        write_json(report, arguments.json)
    else:
        _write_report(report)
    return ExitCode.OK if report["passed"] else ExitCode.FAILED


def _write_report(report: dict[str, Any]) -> None:
    rows: dict[tuple[str, ...], list[str]] = {}
    for result in report["results"]:
        row = (
            result["check"],
            printable(result["selects"]),
            result["family"],
            _expected(result),
            printable(" ".join(result["left_by"])) or "none",
            result["problem"] or "right",
        )
        rows.setdefault(row, []).append(result["protocol"])
    if rows:
        heading = ("CHECK", "SELECTED BY", "FAMILY", "EXPECTED", "LEFT BY", "IS", "PROTOCOLS")
        write_table(heading, [(*row, " ".join(protocols)) for row, protocols in rows.items()])
        write()
    for skipped in report["skipped"]:
        what = f"{skipped['check']} {printable(skipped['selects'])}"
        write(paint("not tried: ", "yellow") + f"{what}: {skipped['because']}")
    failed = sum(not result["passed"] for result in report["results"])
    count = len(report["results"])
    if not report["in_sync"]:
        write(paint("not in sync: ", "yellow") + "some changes are still to be made (byway plan)")
    if failed:
        write(paint(f"{failed} of {count} went wrong", "red"))
    else:
        write(f"all {count} went right (mode {report['mode']})")


def _expected(result: dict[str, Any]) -> str:
    if result["expected"] is None:
        return "any"
    links = printable(" ".join(result["expected"]))
    if not result["may_be_blocked"]:
        return links
    return f"{links} or none" if links else "none"
