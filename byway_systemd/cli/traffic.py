"""The verbs for all other traffic: mode, bypass, candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byway_systemd.cli.output import printable, write, write_error, write_json, write_table
from byway_systemd.cli.remote import (
    ask_daemon,
    require_daemon,
    require_root,
    show_unconfirmed,
    show_warnings,
)
from byway_systemd.core.apps import RefusedError
from byway_systemd.core.errors import ConfigError, ExitCode, NotFoundError, UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from byway_systemd.cli.context import Context
    from byway_systemd.core.parse import ConfigFile

_AT_ONCE = 50  # of the longest names, in the head of one request


def mode(context: Context, arguments: Namespace) -> ExitCode:
    """Show the mode, or change it."""
    from byway_systemd.core.traffic import Mode  # noqa: PLC0415

    if not arguments.mode:
        if arguments.runtime or arguments.confirm:
            option = "--runtime" if arguments.runtime else f"--confirm {arguments.confirm}"
            raise UsageError(f"which mode? (byway mode {option} NAME)")
        found = context.config().traffic.mode
        if arguments.json != "off":
            write_json({"mode": str(found), "meaning": found.meaning}, arguments.json)
        else:
            write(f"{found}: {found.meaning}")
        return ExitCode.OK
    require_root(context, "mode")
    wanted = Mode(arguments.mode)
    body = {"mode": wanted, "runtime": arguments.runtime}
    query = f"?confirm={arguments.confirm}" if arguments.confirm else ""
    answer = ask_daemon(context, "PUT", f"/api/v1/traffic/mode{query}", body)
    alone = answer is None
    if alone and arguments.confirm:
        require_daemon(answer)  # nobody would be there to take it back
    if alone and arguments.runtime:
        _set_runtime_mode(context, wanted)
    elif alone:
        _set_mode(context, wanted)
    write(f"{wanted}: {wanted.meaning}{' (until the next boot)' if arguments.runtime else ''}")
    if alone:
        _tell_if_stopped(context)
    else:
        show_warnings(answer.get("warnings", ()))
        show_unconfirmed(answer)
    return ExitCode.OK


def _set_mode(context: Context, wanted: str) -> None:
    """Write the mode into the main file, and take away what was set for this boot."""
    from byway_systemd.core.edit import refuse_other_mode, set_mode  # noqa: PLC0415
    from byway_systemd.core.parse import ConfigFile  # noqa: PLC0415

    path = context.config_path()
    text = path.read_bytes().decode() if path.exists() else ""
    files = [file for file in _files(context) if file.name != context.runtime_mode_name]
    changed = ConfigFile(str(path), set_mode(text, wanted))
    others = files[1:] if path.exists() else files  # the main file is the first
    refuse_other_mode((changed, *others), wanted)
    context.write_config(changed.text)
    context.write_runtime_mode("")


def _set_runtime_mode(context: Context, wanted: str) -> None:
    from byway_systemd.core.edit import (  # noqa: PLC0415
        refuse_other_mode,
        render_runtime_mode,
    )
    from byway_systemd.core.parse import ConfigFile  # noqa: PLC0415

    name = context.runtime_mode_name
    if not name:
        raise UsageError("--runtime needs /etc/byway (leave --config FILE out, or change the file)")
    text = render_runtime_mode(wanted)
    others = [file for file in _files(context) if file.name != name]
    refuse_other_mode((*others, ConfigFile(name, text)), wanted)
    context.write_runtime_mode(text)


def candidates(context: Context, arguments: Namespace) -> ExitCode:
    """Show subnets, units, users and links that a traffic section could name."""
    found = context.candidates()
    if arguments.json != "off":
        write_json(found, arguments.json)
        return ExitCode.OK
    tables = (
        ("subnets", ("SUBNET", "LINK", "KIND")),
        ("units", ("UNIT", "CGROUP")),
        ("users", ("UID", "USER", "RUNS")),
        ("links", ("LINK", "KIND", "STATE")),
    )
    for name, heading in tables:
        if found[name]:
            write_table(heading, [tuple(map(_cell, row.values())) for row in found[name]])
            write()
    for preset in found["presets"]:
        subnets = ", ".join(f'"{subnet}"' for subnet in preset["subnets"])
        write(f"{preset['name']}: [traffic.force_direct] subnets = [{subnets}]")
    return ExitCode.OK


def _cell(value: object) -> str:
    return printable(" ".join(map(str, value)) if isinstance(value, list) else str(value)) or "-"


def bypass_list(context: Context, arguments: Namespace) -> ExitCode:
    """Show the destinations that never use the VPN, and where each is listed."""
    from byway_systemd.core.bypass import list_destinations  # noqa: PLC0415

    kept = set(list_destinations(context.bypass_text()))
    found = [
        {"destination": value, "source": "list" if value in kept else "configuration"}
        for value in context.config().traffic.force_direct.destinations
    ]
    if arguments.json != "off":
        write_json(found, arguments.json)
        return ExitCode.OK
    for one in found:
        write(one["destination"] + ("" if one["source"] == "list" else "  (configuration)"))
    return ExitCode.OK


def bypass_add(context: Context, arguments: Namespace) -> ExitCode:
    """Add destinations to the list."""
    from byway_systemd.core.bypass import add_destinations  # noqa: PLC0415

    require_root(context, "bypass add")
    values = _parse(arguments.destinations)
    added: tuple[str, ...] = ()

    def change(text: str) -> str:
        nonlocal added
        text, added = add_destinations(text, values)
        return text

    if (before := ask_daemon(context, "GET", "/bypass")) is not None:
        require_daemon(ask_daemon(context, "POST", "/bypass", values))
        added = tuple(value for value in values if value not in set(before))
    else:
        _change_list(context, change)
    for value in values:
        write(f"{'added' if value in added else 'in the list already:'} {value}")
    return ExitCode.OK


def bypass_remove(context: Context, arguments: Namespace) -> ExitCode:
    """Remove destinations from the list."""
    from byway_systemd.core.bypass import remove_destinations  # noqa: PLC0415

    require_root(context, "bypass remove")
    values = _parse(arguments.destinations)
    if not _remove_by_daemon(context, values):
        _change_list(context, lambda text: remove_destinations(text, values))
    for value in values:
        write(f"removed {value}")
    return ExitCode.OK


def _remove_by_daemon(context: Context, values: tuple[str, ...]) -> bool:
    """Let the daemon take destinations off the list; return whether there is one."""
    from urllib.parse import urlencode  # noqa: PLC0415

    before = ask_daemon(context, "GET", "/bypass")
    if before is None:
        return False
    if missing := set(values) - set(before):  # before any of many requests
        names = ", ".join(sorted(missing))
        raise NotFoundError(f"not in the list: {names} (see byway bypass list)")
    for start in range(0, len(values), _AT_ONCE):
        part = [("destination", value) for value in values[start : start + _AT_ONCE]]
        require_daemon(ask_daemon(context, "DELETE", f"/bypass?{urlencode(part)}"))
    return True


def bypass_clear(context: Context, _arguments: Namespace) -> ExitCode:
    """Empty the list; what the configuration lists stays."""
    require_root(context, "bypass clear")
    if ask_daemon(context, "DELETE", "/bypass") is None:
        _change_list(context, lambda _: "")
    if not context.is_root:  # the configuration may not be for everybody to read
        write("cleared")
        return ExitCode.OK
    left = len(context.config().traffic.force_direct.destinations)
    write("cleared" + (f"; {left} in the configuration stay" if left else ""))
    return ExitCode.OK


def _change_list(context: Context, change: Callable[[str], str]) -> None:
    """Change the list unless the whole would not be valid then."""
    from byway_systemd.core.parse import ConfigFile, parse_config  # noqa: PLC0415

    others = [file for file in _files(context) if not file.is_list]

    def checked(text: str) -> str:
        changed = change(text)
        parse_config((*others, ConfigFile("the list", changed, is_list=True)))
        return changed

    context.change_bypass(checked)
    _tell_if_stopped(context)


def _parse(texts: list[str]) -> tuple[str, ...]:
    from byway_systemd.core.bypass import parse_destinations  # noqa: PLC0415
    from byway_systemd.core.traffic import split_values  # noqa: PLC0415

    try:
        return parse_destinations(part for text in texts for part in split_values(text) or [text])
    except RefusedError as error:
        raise UsageError(f"{error} ({error.remedy})") from None


def _files(context: Context) -> tuple[ConfigFile, ...]:
    try:
        return context.config_files()
    except ConfigError:  # there is none yet; what else is wrong is found when all is parsed
        if context.config_path().exists():
            raise
        return ()


def _tell_if_stopped(context: Context) -> None:
    if not context.daemon_pid():
        write_error("byway does not run: it takes effect at the next start")
