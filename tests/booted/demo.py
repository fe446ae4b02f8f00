"""The main job, shown on a throwaway machine: `python -m booted.demo`; what script/demo runs."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from booted.laptop import Byway
from booted.machine import Machine
from booted.topology import INTERNET, Topology, way_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.topology import Way

CONFIG = """\
interface = "wwan0"
reconcile = "5s"
apps = ["/usr/bin/curl"]
"""
NAMES = {"vpn": "VPN", "wwan0": "direct (wwan0)", "wlan0": "no VPN (wlan0)", "none": "no answer"}
PROGRAMS = {
    "curl (listed)": ["curl", "-sS", "-m", "5"],
    "wget (not listed)": ["wget", "-q", "-O-", "-T", "5", "-t", "1"],
}
HEADING = ("WHEN", "PROGRAM", "IPv4 LEFT BY", "IPv6 LEFT BY", "")


@dataclass(frozen=True)
class Row:
    """What a program did, and what it should have done."""

    when: str
    program: str
    seen: tuple[Way, Way]
    wanted: Way

    @property
    def right(self) -> bool:
        """Whether both families left by the wanted link."""
        return set(self.seen) == {self.wanted}


def main() -> int:
    """Boot, show, judge."""
    begin = time.monotonic()
    say("booting a Debian 13 with a real WireGuard VPN and two uplinks: wlan0 and wwan0")
    with Machine("13") as machine:
        world, byway = Topology(machine), Byway(machine)
        say(f"its configuration, /etc/byway/byway.toml:\n\n{CONFIG}")
        rows = []
        for row in show(machine, world, byway):
            rows.append(row)
            say(f"{row.when}: {row.program}: {', '.join(NAMES[way] for way in row.seen)}")
    write_table(rows)
    right = all(row.right for row in rows)
    seconds = time.monotonic() - begin
    verdict = "every cell is right" if right else "NOT EVERY CELL IS RIGHT"
    sys.stdout.write(f"\n{verdict} ({seconds:.0f} s)\n")
    return 0 if right else 1


def show(machine: Machine, world: Topology, byway: Byway) -> Iterator[Row]:
    """Go through the states a user goes through."""
    byway.configure(CONFIG)
    world.vpn_up()
    yield from look(machine, "wg-quick up, byway not started", "vpn", "vpn")
    byway.start()
    yield from look(machine, "systemctl start byway", "wwan0", "vpn")
    machine.run("wg-quick down wg0; wg-quick up wg0")
    yield from look(machine, "wg-quick down; wg-quick up", "wwan0", "vpn")
    machine.run(["wg-quick", "down", "wg0"])
    yield from look(machine, "wg-quick down", "wwan0", "wlan0")
    machine.run(["wg-quick", "up", "wg0"])
    byway.stop()
    yield from look(machine, "wg-quick up; systemctl stop byway", "vpn", "vpn")


def look(machine: Machine, when: str, listed: Way, other: Way) -> Iterator[Row]:
    """Run both programs over both families."""
    for (program, argv), wanted in zip(PROGRAMS.items(), (listed, other), strict=True):
        urls = (f"http://{INTERNET[4]}/", f"http://[{INTERNET[6]}]/")
        printed = [machine.run([*argv, url], check=False).stdout for url in urls]
        yield Row(when, program, (way_in(printed[0]), way_in(printed[1])), wanted)


def write_table(rows: list[Row]) -> None:
    """Print the rows; a state is named once."""
    lines = [HEADING]
    last = ""
    for row in rows:
        verdict = "right" if row.right else f"WRONG, should be {NAMES[row.wanted]}"
        when = "" if row.when == last else row.when
        lines.append((when, row.program, NAMES[row.seen[0]], NAMES[row.seen[1]], verdict))
        last = row.when
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADING))]
    sys.stdout.write("\n")
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def say(text: str) -> None:
    """Tell what is going on."""
    sys.stdout.write(f"demo: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
