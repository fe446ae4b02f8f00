"""The command line's way to the outside: the Context of every verb, and what the daemon needs."""

from __future__ import annotations

import errno
import logging
import os
import pwd
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byway_systemd.core.errors import BywayError, NotFoundError, UnsupportedError, UsageError
from byway_systemd.system import files
from byway_systemd.system.netlink import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from byway_systemd.api.surface import Outlet
    from byway_systemd.core.config import Config
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.findings import Case
    from byway_systemd.core.observed import Executable, Process
    from byway_systemd.core.parse import ConfigFile
    from byway_systemd.daemon import World
    from byway_systemd.system.machine import Machine

log = logging.getLogger("byway")

_ROOT = Path("/")
_CRASHED = 70  # EX_SOFTWARE of sysexits.h: the service is started again


class Host:
    """The running system, seen from the command line. ``config`` replaces /etc/byway."""

    def __init__(self, config: Path | None = None, root: Path = _ROOT) -> None:
        """Nothing is opened before it is asked for."""
        self._main = config
        self._root = root
        self._system: Machine | None = None

    @property
    def is_root(self) -> bool:
        """Whether the caller is uid 0."""
        return os.geteuid() == 0

    @property
    def version(self) -> str:
        """The installed version (PEP 440)."""
        from importlib.metadata import version  # noqa: PLC0415 - 30 ms

        build = files.find_build()
        return version("byway-systemd") + (f"+{build}" if build else "")

    def config_files(self) -> tuple[ConfigFile, ...]:
        """Read the configuration's files, and the list beside them."""
        lists = files.read_lists(self._root) if self._main is None else ()
        return (*files.read_config(self._root, self._main), *lists)

    def config(self) -> Config:
        """Parse the configuration; what only this machine can tell is wrong is an error too.

        Names of users become their ids.
        """
        from byway_systemd.system.configuration import check_config  # noqa: PLC0415

        return check_config(self.config_files())

    def config_path(self) -> Path:
        """Return the main file."""
        return self._main or self._root / files.CONFIG

    def write_config(self, text: str) -> None:
        """Replace the main file, keeping links to it and its mode."""
        from byway_systemd.system.configuration import Configuration  # noqa: PLC0415

        configuration = Configuration(self._root, self._main)
        configuration.write({configuration.name: text})

    def candidates(self) -> dict[str, Any]:
        """Look at what runs and at the network, which needs no root."""
        from byway_systemd.core.candidates import build_candidates  # noqa: PLC0415
        from byway_systemd.system import candidates  # noqa: PLC0415

        units, users = candidates.observe_units(), candidates.observe_users()
        return build_candidates(candidates.observe_network(), units, users)

    @property
    def runtime_mode_name(self) -> str:
        """The drop-in that sets the mode until the next boot; empty with ``--config``."""
        return f"/{files.RUNTIME_MODE}" if self._main is None else ""

    def write_runtime_mode(self, text: str) -> None:
        """Write that drop-in, or remove it when ``text`` is empty."""
        path = self._root / files.RUNTIME_MODE
        if text:
            files.write_atomically(path, text)
        elif self._main is None:
            path.unlink(missing_ok=True)

    def bypass_text(self) -> str:
        """Return the list's text; with ``--config`` there is none."""
        lists = files.read_lists(self._root) if self._main is None else ()
        return "".join(file.text for file in lists)

    def change_bypass(self, change: Callable[[str], str]) -> None:
        """Replace the list's text; nobody else does meanwhile."""
        if self._main is not None:
            raise UsageError("the list belongs to /etc/byway (leave --config FILE out)")
        files.change_list(self._root, change)

    def edit_text(self, text: str) -> str:
        """Run the user's editor (VISUAL, EDITOR, else editor or vi) on a copy."""
        from byway_systemd.system.editor import edit_text  # noqa: PLC0415

        return edit_text(text, self.config_path())

    def executables(self, config: Config) -> tuple[Executable, ...]:
        """Return the files the apps name, without those that they exclude."""
        from byway_systemd.system.executables import observe_executables  # noqa: PLC0415

        return tuple(e for e in observe_executables(config.profiles) if not e.excluded)

    def find_program(self, name: str) -> str:
        """Return the full path of ``name`` by PATH, or the absolute path of a relative one."""
        if "/" in name:
            return os.path.normpath(Path.cwd() / name)
        return shutil.which(name) or name

    def desired(self) -> Desired:
        """Return what the configuration asks for on this machine.

        With /etc/byway, systemd's generator writes the unit files; with a file of the user's own
        byway writes them itself, and the timer and the gate, which read /etc/byway, stay off.
        """
        from byway_systemd.core.desired import desire  # noqa: PLC0415
        from byway_systemd.core.units import Scope  # noqa: PLC0415
        from byway_systemd.system.generator import unit_files  # noqa: PLC0415

        config = self.config()
        generated = unit_files(self._root, self._main)
        of_users = unit_files(self._root, self._main, Scope.USER)
        installed = self._main is None and (self._root / files.GENERATOR).exists()
        cleared = self._main is None and files.has_route_cache(self._root)
        desired = desire(config, generated, of_users, has_generator=installed, runs_units=installed)
        return replace(desired, cleared=cleared)

    def system(self) -> Machine:
        """Return the machine; raise UnsupportedError where byway cannot work."""
        if self._system is None:
            from byway_systemd.system.cgroups import require_unified  # noqa: PLC0415
            from byway_systemd.system.machine import Machine  # noqa: PLC0415

            require_unified()
            if self.daemon_pid() in (0, os.getpid()):  # one that runs has found it to work
                _require_socket_cgroup()
            self._system = Machine(self._root)
        return self._system

    def has_unit(self, name: str) -> bool:
        """Whether there is a unit of that name."""
        from byway_systemd.system.unit_names import has_unit  # noqa: PLC0415

        return has_unit(name, self._root)

    def observe_process(self, pid: int, executables: tuple[Executable, ...]) -> Process | None:
        """Return a process, None when it is gone."""
        from byway_systemd.system.processes import observe_process  # noqa: PLC0415

        return observe_process(pid, executables)

    def case(self, *, as_nobody: bool = False) -> Case:
        """Return all that the doctor looks at."""
        from byway_systemd.system.surroundings import observe_case  # noqa: PLC0415

        pid, problems = self.daemon_pid(), self.published_status().get("config_problems", ())
        machine = self.system() if self.is_root and not as_nobody else None
        return observe_case(self._root, self.desired(), machine, tuple(problems), runs=bool(pid))

    def daemon_pid(self) -> int:
        """Return the daemon's pid, 0 when it does not run."""
        from byway_systemd.system.state import State  # noqa: PLC0415

        return State(self._root).daemon_pid()

    def published_status(self) -> dict[str, Any]:
        """Return what the daemon published last."""
        from byway_systemd.system.state import State  # noqa: PLC0415

        return State(self._root).read_status()

    def write_file(self, path: Path, text: str) -> None:
        """Write a file so that nobody sees a part of it."""
        files.write_atomically(path.absolute(), text)

    def ask_daemon(self, method: str, target: str, body: Any = None) -> tuple[int, Any] | None:
        """Ask the daemon, which knows /etc/byway alone."""
        from byway_systemd.system.client import ask  # noqa: PLC0415 - http.client, 20 ms

        return None if self._main else ask(self._root / files.SOCKET, method, target, body)

    def wait_for_daemon(self) -> bool:
        """Wait until the daemon has started."""
        from byway_systemd.system.client import wait  # noqa: PLC0415

        return wait(self._root / files.SOCKET)

    def poke_daemon(self) -> bool:
        """Make the daemon reconcile."""
        pid = self.daemon_pid()
        if pid:
            os.kill(pid, signal.SIGUSR1)
        return bool(pid)

    def generate(self, directory: Path, scope: str) -> tuple[str, ...]:
        """Write the unit files of ``scope`` into ``directory``."""
        from byway_systemd.core.units import Scope  # noqa: PLC0415
        from byway_systemd.system.generator import generate  # noqa: PLC0415

        return generate(directory, self._root, self._main, Scope(scope))

    def run_command(self, command: list[str], slice_: str, user: str) -> int:
        """Enter the slice, become the user, then the command."""
        from byway_systemd.system.manager import Manager  # noqa: PLC0415

        manager = Manager()
        manager.enter(os.getpid(), command[0].rsplit("/", 1)[-1], slice_)
        manager.close()
        if user:
            _become(user)
        try:
            os.execvp(command[0], command)  # noqa: S606
        except OSError as error:
            raise BywayError(f"cannot run {command[0]}: {error.strerror}") from None

    def run_daemon(self) -> int:
        """Run the daemon until it is stopped."""
        import asyncio  # noqa: PLC0415

        from byway_systemd.daemon import Daemon  # noqa: PLC0415
        from byway_systemd.system.configuration import Configuration  # noqa: PLC0415
        from byway_systemd.system.journal import log_to_stderr  # noqa: PLC0415
        from byway_systemd.system.state import State  # noqa: PLC0415

        log_to_stderr()
        try:
            if Configuration(self._root, self._main).recover():
                log.warning("not confirmed before byway ended: the configuration is as before")
        except OSError as error:  # no reason not to start
            log.error("what was not confirmed cannot be taken back: %s", describe_os_error(error))
        state = State(self._root)

        async def run() -> None:
            await Daemon(self._world(state)).run()

        code = _report_crash(lambda: asyncio.run(run()))
        if code == 0:
            state.leave()
        return code

    def run_gate(self) -> int:
        """Run the exec gate until it is stopped."""
        from byway_systemd.system.cgroups import require_unified  # noqa: PLC0415
        from byway_systemd.system.gate_supervisor import run_gate  # noqa: PLC0415
        from byway_systemd.system.journal import log_to_stderr  # noqa: PLC0415
        from byway_systemd.system.notify import notify  # noqa: PLC0415

        log_to_stderr()
        require_unified()
        paths = tuple(self._root / name for name in files.CONFIG_PATHS)
        return _report_crash(lambda: run_gate(self.config, notify, paths))

    def serve_page(
        self, port: int, idle: float, show: Callable[[str], None], *, browser: bool
    ) -> None:
        """Serve the settings page until it was idle for so many seconds."""
        from byway_systemd.system.page import serve_page  # noqa: PLC0415 - asyncio and h11

        serve_page(self._root / files.SOCKET, port, idle, show, browser=browser)

    def _world(self, state: Any) -> World:
        from byway_systemd.daemon import World  # noqa: PLC0415
        from byway_systemd.system import events  # noqa: PLC0415
        from byway_systemd.system.notify import notify  # noqa: PLC0415
        from byway_systemd.system.processes import observe_process  # noqa: PLC0415
        from byway_systemd.system.resolver import Resolver  # noqa: PLC0415

        exec_source, note = events.open_exec_source()
        standard = (self._root / name for name in files.WATCHED)
        changes = events.FileSource((self._main.absolute(),) if self._main else tuple(standard))
        routing, nftables, cgroups = events.open_network_sources()
        self.system().follow_ruleset(nftables.paused)
        resolver = Resolver(self._root)

        def load() -> Desired:
            desired = self.desired()
            state.enter()  # not before: with a configuration that is refused byway is not active
            cgroups.watch_cgroups(desired.traffic)
            resolver.want(desired.traffic.host_names)
            return desired

        def tell(**fields: Any) -> None:
            if fields.get("watchdog"):
                state.touch()
            notify(**fields)

        return World(
            system=self.system(),
            load=load,
            observe_process=observe_process,
            exec_events=exec_source,
            network_events=(routing, nftables, cgroups, resolver),
            user_events=events.open_user_source(),
            config_events=changes,
            watch=changes.watch_executables,
            publish=state.publish_status,
            notify=tell,
            placement_note=note,
            outlet=self._outlet(),
        )

    def _outlet(self) -> Outlet | None:
        """Return the way in for clients where systemd has opened one (byway.socket)."""
        from byway_systemd.api.peer import Authority  # noqa: PLC0415
        from byway_systemd.api.surface import Outlet  # noqa: PLC0415
        from byway_systemd.system import peers, polkit  # noqa: PLC0415
        from byway_systemd.system.configuration import Configuration  # noqa: PLC0415

        listeners = peers.take_listeners(os.environ)
        if not listeners:
            return None
        authority = Authority(lambda: peers.group_id(self._root, "byway"), polkit.ask)
        configuration = Configuration(self._root, self._main)
        from byway_systemd.system.outside import look_outside  # noqa: PLC0415

        outside = look_outside(self._root)
        return Outlet(listeners, peers.identify, authority, configuration, outside, self.version)


def _report_crash(run: Callable[[], None]) -> int:
    """Run; return 0, or the code after which the service is started again.

    A BywayError is raised: what it is about does not get better by trying again.
    """
    try:
        run()
    except BywayError:
        raise
    except OSError as error:
        log.error("%s", describe_os_error(error))
        return _CRASHED
    except Exception:
        log.exception("this is a bug in byway")
        return _CRASHED
    return 0


def _become(user: str) -> None:
    """Take on a user's ids, groups and home; there is no way back."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise NotFoundError(f"no such user: {user}") from None
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ |= {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}


def describe_os_error(error: OSError) -> str:
    """Return an OSError that nothing handled, with what to do where that is known."""
    text = str(error)
    if error.strerror and not isinstance(error, KernelError):
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if error.errno == errno.EPERM:
        return f"{text} (byway needs CAP_NET_ADMIN here)"
    if error.errno == errno.ENOENT and "systemd" in text:
        return f"{text} (byway needs systemd as the service manager)"
    return text


def _require_socket_cgroup() -> None:
    """Raise UnsupportedError where nftables cannot match a socket's cgroup."""
    from byway_systemd.system.nftables import Nftables  # noqa: PLC0415

    with Nftables() as nftables:
        if reason := nftables.probe_socket_cgroup():
            raise UnsupportedError(
                f"this kernel cannot match sockets by cgroup: {reason} (byway needs Linux "
                "5.13 or later with CONFIG_NFT_SOCKET, and CAP_NET_ADMIN)"
            )
