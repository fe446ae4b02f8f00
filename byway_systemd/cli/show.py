"""The verbs that read: status, list, plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byway_systemd.cli.output import paint, printable, write, write_json, write_table
from byway_systemd.cli.remote import ask_daemon, show_plan_of, show_warnings, wait_for_daemon
from byway_systemd.core.errors import ConfigError, ExitCode, NotRunningError, RootNeededError
from byway_systemd.core.observed import FileState

if TYPE_CHECKING:
    from argparse import Namespace

    from byway_systemd.cli.context import Context


def show_status(context: Context, arguments: Namespace) -> ExitCode:
    """Show links, apps and whether all is in sync."""
    if arguments.wait:
        wait_for_daemon(context)
    status = _read_status(context)
    if arguments.json != "off":
        write_json(status, arguments.json)
    else:
        _write_status(status)
    if not status["daemon"]["running"]:
        return ExitCode.NOT_RUNNING
    return ExitCode.OK if status["in_sync"] else ExitCode.DRIFT


def _read_status(context: Context) -> dict[str, Any]:
    """Root looks for itself; anybody else reads what the daemon published last."""
    published = context.published_status()
    pid = context.daemon_pid()
    if context.is_root:
        from byway_systemd.core.plan import plan  # noqa: PLC0415
        from byway_systemd.core.status import build_status  # noqa: PLC0415

        try:
            desired = context.desired()
        except ConfigError:
            if not pid:
                raise
            desired = None
        if desired is not None:
            observed = context.system().observe(desired)
            kept = ("config_problems", "failures", "placement")
            status = build_status(desired, observed, plan(desired, observed) if pid else ())
            status |= {key: published[key] for key in kept if key in published}
            if not pid:
                status["placement"] = dict.fromkeys(("exec_gate", "socket_marker"), "not running")
            return {
                "version": context.version,
                "daemon": {"running": bool(pid), "pid": pid},
            } | status
    if not pid or not published:
        raise NotRunningError("byway does not run (start it: systemctl start byway)")
    return {"version": context.version, "daemon": {"running": True, "pid": pid}} | published


def _write_status(status: dict[str, Any]) -> None:
    running = status["daemon"]["running"]
    if not running:
        state = paint("not running", "red") + " (systemctl start byway)"
    elif status["in_sync"]:
        state = paint("in sync", "green")
    else:
        left = len(status["drift"])
        state = paint(f"{left} change{'s' * (left != 1)} needed", "yellow") + " (byway plan)"
    write(f"byway {status['version']}: {state}")
    for problem in status.get("config_problems", []):
        write(paint("refused: ", "red") + problem)
    for failure in status.get("failures", []):
        write(paint("failed: ", "red") + failure)
    notes = (f"{name.replace('_', ' ')} {note}" for name, note in status["placement"].items())
    write(", ".join(notes))
    write()
    write_table(
        ("PROFILE", "LINK", "STATE", "GATEWAYS", "WHEN DOWN", "SLICE"),
        [
            (
                profile["name"],
                profile["link"] or profile["interface"],
                profile["state"] + (f", {profile['sharing']}" if profile["sharing"] else ""),
                ", ".join(gateway for gateway in profile["gateways"].values() if gateway) or "-",
                profile["when_down"],
                profile["slice"],
            )
            for profile in status["profiles"]
        ],
    )
    _write_traffic(status["traffic"])
    _write_apps(status)
    for warning in status["warnings"]:
        write(paint("warning: ", "yellow") + printable(warning))


def _write_traffic(traffic: dict[str, Any]) -> None:
    """Say the mode, the VPN and how much is listed, unless all is as without that section."""
    cleared = traffic.get("routes_cleared", False)
    counts = (
        ("bypass route", traffic["bypass_routes"]),
        ("override", traffic["override_count"]),
        ("resolved cgroup", traffic["resolved_cgroups"]),
    )
    if traffic["mode"] == "bypass" and not any(count for _, count in counts) and not cleared:
        return
    applied = "" if traffic["applied_mode"] else " (not applied)"
    parts = [f"mode {traffic['mode']}" + (" (routes cleared)" if cleared else applied)]
    if vpn := traffic["vpn"]:
        state = "up" if vpn["usable"] else f"down, {vpn['when_down']}"
        parts.append(f"VPN {vpn['link'] or vpn['interface']} ({state})")
    parts += [f"{count} {what}{'s' * (count > 1)}" for what, count in counts if count]
    write()
    write(", ".join(parts))


def _write_apps(status: dict[str, Any]) -> None:
    if status["apps"]:
        write()
        rows = [
            (printable(app["app"]), app["profile"], app["state"], " ".join(map(str, app["pids"])))
            for app in status["apps"]
        ]
        write_table(("APP", "PROFILE", "STATE", "PIDS"), rows)
    if status["processes"]:
        write()
        rows = [
            (str(p["pid"]), printable(p["program"]), p["profile"], p["placement"])
            for p in status["processes"]
        ]
        write_table(("PID", "PROGRAM", "PROFILE", "PLACED BY"), rows)


def show_list(context: Context, arguments: Namespace) -> ExitCode:
    """List the configured apps."""
    config = context.config()
    states = {e.app: e.state for e in context.executables(config)}
    apps = [
        {
            "app": str(app),
            "profile": profile.name,
            "exists": states.get(app) is not FileState.MISSING,
        }
        for profile in config.profiles
        for app in profile.apps
    ]
    if arguments.json != "off":
        write_json(apps, arguments.json)
        return ExitCode.OK
    for app in apps:
        profile = "" if app["profile"] == "default" else f"  (profile {app['profile']})"
        missing = "" if app["exists"] else paint("  (there is no such file)", "yellow")
        write(f"{app['app']}{profile}{missing}")
    return ExitCode.OK


def show_plan(context: Context, arguments: Namespace) -> ExitCode:
    """Show what ``apply`` would change."""
    from byway_systemd.core.describe import present_operation  # noqa: PLC0415
    from byway_systemd.core.logins import warn_of_logins  # noqa: PLC0415
    from byway_systemd.core.plan import plan  # noqa: PLC0415

    desired = context.desired()
    if context.is_root:
        observed = context.system().observe(desired)
        found = plan(desired, observed)
        show_warnings(warn_of_logins(desired, observed))
        operations = [present_operation(operation) for operation in found]
    elif (answer := ask_daemon(context, "GET", "/api/v1/plan")) is not None:
        operations = answer["plan"]
    else:
        raise RootNeededError("plan looks at nftables, which needs root (use sudo)")
    if arguments.json == "off":
        return show_plan_of(operations)
    write_json(operations, arguments.json)
    return ExitCode.DRIFT if operations else ExitCode.OK
