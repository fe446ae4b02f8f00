"""A shell in a booted machine: `python -m booted.terminal 13`; what script/booted --shell runs."""

from __future__ import annotations

import contextlib
import sys
import termios
import tty
from typing import TYPE_CHECKING

from booted.image import CODENAMES, report
from booted.machine import Machine
from booted.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Iterator

WELCOME = """\
wlan0 and wwan0 lead to the internet; systemctl start wg-quick@wg0 starts the VPN;
probe 198.51.100.10 7000 and curl 198.51.100.10 tell the address they arrive with;
ip netns: isp internet vpn lan container.
"""


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Hand every key to the machine, the interrupting ones too."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def main(release: str) -> None:
    """Boot, build the world, and hand over the terminal."""
    report(f"booting Debian {release}")
    with Machine(release, on_terminal=True) as machine:
        Topology(machine)
        report("leave the shell with exit or Ctrl-D")
        sys.stderr.write(WELCOME)
        with raw_terminal():
            machine.shell()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in CODENAMES:
        sys.exit("usage: python -m booted.terminal " + "|".join(CODENAMES))
    main(sys.argv[1])
