"""What can go wrong, as values and as exceptions.

BywayError            anything byway reports to a person; carries the exit code
├── UsageError        wrong arguments (2)
├── ConfigError       the configuration is refused whole; carries every Problem (2)
├── NotRunningError   the daemon does not run (3)
├── RootNeededError   root is needed (4)
├── NotFoundError     no such process, unit or entry (5)
├── DriftError        what is there differs from what should be (6)
└── UnsupportedError  this kernel or machine cannot do it (1)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every verb."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    PERMISSION = 4
    NOT_FOUND = 5
    DRIFT = 6


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration: where, what, and what to do."""

    file: str
    line: int
    key: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        return f"{place}:{key} {self.message} ({self.remedy})"


class BywayError(Exception):
    """Anything byway reports to a person."""

    exit_code = ExitCode.FAILED


class UsageError(BywayError):
    """The arguments are wrong."""

    exit_code = ExitCode.USAGE


class ConfigError(BywayError):
    """The configuration is refused whole; ``problems`` holds everything wrong with it."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class NotRunningError(BywayError):
    """The daemon does not run."""

    exit_code = ExitCode.NOT_RUNNING


class RootNeededError(BywayError):
    """The verb needs root."""

    exit_code = ExitCode.PERMISSION


class NotFoundError(BywayError):
    """There is no such process, unit or entry."""

    exit_code = ExitCode.NOT_FOUND


class DriftError(BywayError):
    """What is there differs from what should be."""

    exit_code = ExitCode.DRIFT


class UnsupportedError(BywayError):
    """The kernel or the machine cannot do what byway needs; the message says what would."""
