"""The verb that says where a process, a unit or an address goes, and why."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from byway_systemd.cli.output import printable, write, write_error, write_json
from byway_systemd.cli.remote import ask_daemon, present
from byway_systemd.core.apps import RefusedError, refuse_control_characters
from byway_systemd.core.errors import ExitCode, NotFoundError, RootNeededError, UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from byway_systemd.cli.context import Context


def explain(context: Context, arguments: Namespace) -> ExitCode:
    """Say where something goes: root looks for itself, anybody else asks the daemon."""
    kind, value = _read_subject(arguments.subject)
    if kind == "unit" and not context.has_unit(value):
        raise NotFoundError(f"no such unit: {value} (write a pid, a unit's name or an address)")
    if context.is_root:
        said = _explain_here(context, kind, value)
    else:
        from urllib.parse import quote  # noqa: PLC0415

        target = f"/api/v1/explain?{kind}={quote(value, safe='')}"
        said = ask_daemon(context, "GET", target)
    if said is None:
        raise RootNeededError("explain looks at nftables, which needs root (use sudo)")
    if arguments.json != "off":
        write_json(said, arguments.json)
    else:
        _write(said)
    if context.is_root and not context.daemon_pid():
        write_error("byway does not run: this is what it would do (systemctl start byway)")
    return ExitCode.OK


def _read_subject(text: str) -> tuple[str, str]:
    """Return what it is, as the API names it, and its canonical text."""
    try:
        refuse_control_characters(text)
        if not text or "/" in text or len(text.encode(errors="replace")) > 255:
            raise RefusedError("not a name", "")
    except RefusedError:
        raise UsageError(
            f"cannot be explained: {text!r} (write a pid, a unit's name or an address)"
        ) from None
    if text.isascii() and text.isdecimal():
        return "pid", text
    try:
        return "destination", str(ip_address(text))
    except ValueError:
        return "unit", text if "." in text else f"{text}.service"


def _explain_here(context: Context, kind: str, value: str) -> dict[str, Any]:
    from byway_systemd.core.explain import (  # noqa: PLC0415
        explain_destination,
        explain_process,
        explain_unit,
    )
    from byway_systemd.core.placement import wanted_executables  # noqa: PLC0415
    from byway_systemd.core.steering import find_steering  # noqa: PLC0415

    desired = context.desired()
    observed = context.system().observe(desired)
    steering = find_steering(desired, observed)
    if kind == "destination":
        return explain_destination(desired, steering, observed, value)
    if kind == "unit":
        return explain_unit(desired, steering, observed, value)
    executables = wanted_executables(observed)
    process = context.observe_process(int(value[:10]), executables)
    if process is None:
        raise NotFoundError(f"no such process: {value} (it may have ended)")
    return explain_process(desired, steering, process, executables)


def _write(said: dict[str, Any]) -> None:
    subject = f"pid {said['pid']}" if "pid" in said else said.get("unit", said.get("destination"))
    write(f"{printable(str(subject))}: {said['verdict']} ({printable(said['because'])})")
    places = [said["cgroup"]] if "cgroup" in said else said.get("cgroups", [])
    if places:
        placed = f", placed by {said['placement']}" if said.get("placement") else ""
        write(f"  in {printable(' '.join(places))}{placed}")
    if said.get("profile"):
        write(f"  profile {said['profile']}")
    if said.get("change"):
        write(f"  to be changed: {present(said['change'])}")
