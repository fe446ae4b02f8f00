"""What the verbs need from outside; the composition root provides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from byway_systemd.core.config import Config
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.findings import Case
    from byway_systemd.core.observed import Executable, Process
    from byway_systemd.core.parse import ConfigFile
    from byway_systemd.reconcile import System


class Context(Protocol):
    """The outside world as the command line uses it; each member is loaded when it is called."""

    @property
    def is_root(self) -> bool:
        """Whether the caller may change things."""

    @property
    def version(self) -> str:
        """The version, with build metadata after ``+``."""

    def config_files(self) -> tuple[ConfigFile, ...]:
        """Return the configuration's files; raise ConfigError."""

    def config(self) -> Config:
        """Return the configuration; raise ConfigError."""

    def config_path(self) -> Path:
        """Return the main file, which ``add``, ``remove`` and ``edit`` change."""

    def write_config(self, text: str) -> None:
        """Replace the main file."""

    def candidates(self) -> dict[str, Any]:
        """Return what a traffic section could list (``build_candidates``)."""

    @property
    def runtime_mode_name(self) -> str:
        """The drop-in that sets the mode until the next boot; empty where drop-ins do not count."""

    def write_runtime_mode(self, text: str) -> None:
        """Write that drop-in, or remove it when ``text`` is empty."""

    def bypass_text(self) -> str:
        """Return the text of the list of bypassed destinations, empty when there is none."""

    def change_bypass(self, change: Callable[[str], str]) -> None:
        """Replace the list's text by what ``change`` makes of it; nobody else does meanwhile."""

    def edit_text(self, text: str) -> str:
        """Let the user edit ``text`` in an editor; return what was saved."""

    def executables(self, config: Config) -> tuple[Executable, ...]:
        """Return the files the configuration's apps name."""

    def find_program(self, name: str) -> str:
        """Return the full path of a program as the shell would find it, or ``name``."""

    def desired(self) -> Desired:
        """Return the state the configuration asks for."""

    def system(self) -> System:
        """Return the machine; needs root."""

    def has_unit(self, name: str) -> bool:
        """Whether there is a unit of that name, of the system's manager or of users'."""

    def observe_process(self, pid: int, executables: tuple[Executable, ...]) -> Process | None:
        """Return a process, None when it is gone."""

    def case(self, *, as_nobody: bool = False) -> Case:
        """Return all that the doctor looks at; without root, what anybody may see of it."""

    def daemon_pid(self) -> int:
        """Return the daemon's pid, 0 when it does not run."""

    def published_status(self) -> dict[str, Any]:
        """Return the status the daemon published last, empty when there is none."""

    def write_file(self, path: Path, text: str) -> None:
        """Write a file so that nobody sees a part of it."""

    def ask_daemon(self, method: str, target: str, body: Any = None) -> tuple[int, Any] | None:
        """Return the status and the JSON value of the daemon's answer; None when it listens not.

        Raises BywayError when it listens and does not answer.
        """

    def wait_for_daemon(self) -> bool:
        """Wait until the daemon has started; return whether it does within 15 seconds."""

    def poke_daemon(self) -> bool:
        """Ask the daemon to reconcile; return whether there is one."""

    def generate(self, directory: Path, scope: str) -> tuple[str, ...]:
        """Write the unit files generated for ``scope``; return their paths."""

    def run_command(self, command: list[str], slice_: str, user: str) -> int:
        """Become ``command`` inside ``slice_``, as ``user`` unless that is empty."""

    def run_daemon(self) -> int:
        """Run the daemon in the foreground; return its exit code."""

    def run_gate(self) -> int:
        """Run the exec gate in the foreground; return its exit code."""

    def serve_page(
        self, port: int, idle: float, show: Callable[[str], None], *, browser: bool
    ) -> None:
        """Serve the settings page until it was idle for so many seconds; show its URL."""
