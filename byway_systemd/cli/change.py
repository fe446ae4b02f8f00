"""The verbs that change: add, remove, run, apply, reconcile, generate, daemon, config edit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from byway_systemd.cli.output import write, write_error
from byway_systemd.cli.remote import (
    ask_daemon,
    require_daemon,
    require_root,
    show_changes,
    show_warnings,
    wait_for_daemon,
)
from byway_systemd.core.apps import App, RefusedError, parse_app
from byway_systemd.core.config import DEFAULT_PROFILE
from byway_systemd.core.errors import ConfigError, ExitCode, RootNeededError, UsageError

if TYPE_CHECKING:
    from argparse import Namespace

    from byway_systemd.cli.context import Context
    from byway_systemd.core.parse import ConfigFile


def add(context: Context, arguments: Namespace) -> ExitCode:
    """Add apps to the configuration."""
    from byway_systemd.core.edit import add_app  # noqa: PLC0415

    _prepare_change(context, arguments, "add")
    apps = [_parse_argument(context, name) for name in arguments.apps]
    body = {"app": [str(app) for app in apps], "profile": arguments.profile}
    if ask_daemon(context, "POST", "/api/v1/apps", body) is None:
        text = _main_text(context)
        for app in apps:
            text = add_app(text, app, arguments.profile)
        _replace_config(context, text)
    write("\n".join(f"added {app}" for app in apps))
    status = ask_daemon(context, "GET", "/api/v1/status") or {"warnings": ()}
    names = tuple(f"{app}: " for app in apps)
    show_warnings(warning for warning in status["warnings"] if warning.startswith(names))
    return ExitCode.OK


def remove(context: Context, arguments: Namespace) -> ExitCode:
    """Remove apps from the configuration."""
    from byway_systemd.core.edit import remove_app  # noqa: PLC0415

    _prepare_change(context, arguments, "remove")
    apps = [_parse_argument(context, name) for name in arguments.apps]
    body = {"app": [str(app) for app in apps]}
    if ask_daemon(context, "DELETE", "/api/v1/apps", body) is None:
        text = _main_text(context)
        for app in apps:
            text = remove_app(text, app)
        _replace_config(context, text)
    write("\n".join(f"removed {app}" for app in apps))
    return ExitCode.OK


def _prepare_change(context: Context, arguments: Namespace, verb: str) -> None:
    """Wait for the daemon when asked to; without root it is the daemon that has to allow it."""
    if arguments.wait:
        wait_for_daemon(context)
    require_root(context, verb)


def edit_config(context: Context, _arguments: Namespace) -> ExitCode:
    """Edit the configuration; what is not valid is not saved."""
    _require_root(context, "config edit")
    path = context.config_path()
    try:
        text = path.read_text() if path.exists() else ""
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start} (save it as UTF-8)") from None
    rejected = path.with_name(path.name + ".rejected")
    edited = context.edit_text(rejected.read_text() if rejected.exists() else text)
    if edited == text:
        write("unchanged")
        return ExitCode.OK
    try:
        if path.exists() and path.read_text() != text:
            raise UsageError(f"{path} has been changed meanwhile (edit it again)")
        _replace_config(context, edited)
    except (ConfigError, UsageError):
        rejected.write_text(edited)
        write_error(f"refused; what you wrote is in {rejected}, and edit begins with it next time")
        raise
    rejected.unlink(missing_ok=True)
    write(f"saved {path}")
    return ExitCode.OK


def _main_text(context: Context) -> str:
    """Return the main file's text, empty when there is none; raise ConfigError on a bad one."""
    path = context.config_path()
    if not path.exists():
        return ""
    context.config()
    return path.read_bytes().decode()  # read_text() would lose CRLF line ends


def _replace_config(context: Context, text: str) -> None:
    """Check the new text among the other files, then save it."""
    from byway_systemd.core.parse import ConfigFile, parse_config  # noqa: PLC0415

    name = str(context.config_path())
    others = [file for file in _files_or_none(context) if file.name != name]
    parse_config((ConfigFile(name, text), *others))
    context.write_config(text)
    if not context.daemon_pid():
        write_error("byway does not run: it takes effect at the next start")


def _files_or_none(context: Context) -> tuple[ConfigFile, ...]:
    try:
        return context.config_files()
    except ConfigError:  # there is none yet, or it is the one being corrected
        return ()


def _parse_argument(context: Context, name: str) -> App:
    try:
        return parse_app(name if ":" in name else context.find_program(name))
    except RefusedError as error:
        raise UsageError(f"{error} ({error.remedy})") from None


def run(context: Context, arguments: Namespace) -> int:
    """Run a command in the slice, from its first instruction."""
    _require_root(context, "run")
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise UsageError("no command (byway run [--] CMD...)")
    slice_ = "byway.slice"
    if arguments.profile != DEFAULT_PROFILE:
        profiles = {profile.name: profile for profile in context.config().profiles}
        if arguments.profile not in profiles:
            raise UsageError(f"no profile {arguments.profile!r} (known: {', '.join(profiles)})")
        slice_ = profiles[arguments.profile].slice
    return context.run_command(command, slice_, arguments.user)


def apply(context: Context, arguments: Namespace) -> ExitCode:
    """Make the machine as the configuration says."""
    from byway_systemd.cli.show import show_plan  # noqa: PLC0415

    _prepare_change(context, arguments, "apply")
    if arguments.dry_run:
        arguments.json = "off"
        return show_plan(context, arguments)
    query = f"?confirm={arguments.confirm}" if arguments.confirm else ""
    answer = ask_daemon(context, "POST", f"/api/v1/apply{query}")
    if answer is None and arguments.confirm:
        require_daemon(answer)  # nobody would be there to take it back
    return _apply_here(context) if answer is None else show_changes(answer)


def confirm(context: Context, _arguments: Namespace) -> ExitCode:
    """Keep what was changed on condition of being confirmed."""
    require_daemon(ask_daemon(context, "POST", "/api/v1/confirm"))
    write("confirmed")
    return ExitCode.OK


def rollback(context: Context, _arguments: Namespace) -> ExitCode:
    """Take back the last change."""
    return show_changes(require_daemon(ask_daemon(context, "POST", "/api/v1/rollback")))


def _apply_here(context: Context) -> ExitCode:
    """Apply the plan in this process."""
    from byway_systemd.core.describe import describe_operation  # noqa: PLC0415
    from byway_systemd.reconcile import reconcile  # noqa: PLC0415

    outcome = reconcile(
        context.system(),
        context.desired(),
        lambda operation: write(f"{describe_operation(operation)}  ({operation.because})"),
    )
    for failure in outcome.failures:
        write_error(f"failed: {describe_operation(failure.operation)}: {failure.reason}")
    if not outcome.applied and not outcome.failures:
        write("in sync: nothing to do")
    return ExitCode.FAILED if outcome.failures else ExitCode.OK


def reconcile_now(context: Context, arguments: Namespace) -> ExitCode:
    """Put right what differs: through the daemon when it runs, else directly."""
    _require_root(context, "reconcile")
    if not arguments.direct and context.poke_daemon():
        return ExitCode.OK
    return _apply_here(context)


def generate(context: Context, arguments: Namespace) -> ExitCode:
    """Write the unit files that the systemd generator writes."""
    for path in context.generate(Path(arguments.directory), arguments.scope):
        write(path)
    return ExitCode.OK


def daemon(context: Context, arguments: Namespace) -> int:
    """Run in the foreground."""
    _require_root(context, "daemon")
    if arguments.gate:
        return context.run_gate()
    if arguments.clean_up:
        from byway_systemd.core.desired import Desired  # noqa: PLC0415
        from byway_systemd.reconcile import reconcile  # noqa: PLC0415

        outcome = reconcile(context.system(), Desired.empty())
        return ExitCode.FAILED if outcome.failures else ExitCode.OK
    return context.run_daemon()


def _require_root(context: Context, verb: str) -> None:
    if not context.is_root:
        raise RootNeededError(f"byway {verb} needs root (use sudo byway {verb})")
