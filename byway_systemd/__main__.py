"""The composition root: parse the arguments, give the verb the outside world, exit."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path

from byway_systemd.cli.output import write_error
from byway_systemd.cli.verbs import build_parser
from byway_systemd.core.errors import BywayError, ExitCode
from byway_systemd.system.host import Host, describe_os_error


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a file's name may be anything
            stream.reconfigure(errors="backslashreplace")
    host = Host()
    parser = build_parser(lambda: host.version)
    namespace = parser.parse_args(arguments)
    host = Host(Path(namespace.config) if namespace.config else None)
    try:
        return int(namespace.verb.load()(host, namespace))
    except BywayError as error:
        for line in str(error).splitlines():
            write_error(f"byway: {line}")
        return error.exit_code
    except OSError as error:
        write_error(f"byway: {describe_os_error(error)}")
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
