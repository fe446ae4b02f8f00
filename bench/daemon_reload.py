#!/usr/bin/env python3
"""Measures byway's share of a `systemctl daemon-reload`, during which PID 1 waits; as root.

  bench/daemon_reload.py [--count N]                 the generator alone, on this machine's kernel
  bench/daemon_reload.py --machine 13 [--count N]    whole reloads too, on a booted machine

What is compared runs in turns, so that the machine's other work falls on all alike.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from booted.image import image_for  # noqa: E402
from booted.machine import Machine  # noqa: E402
from booted.payload import byway_tar, overlay  # noqa: E402

Figures = dict[str, list[float]]

CONFIG = """\
interface = "wwan0"
reconcile = "5s"
apps = ["/usr/bin/firefox", "/usr/bin/curl", "unit:jellyfin.service"]
[profile.lte]
interface = "wwan1"
apps = ["/usr/bin/transmission-gtk"]
"""
GENERATOR = "/usr/lib/systemd/system-generators/byway-generator"
FOLDERS = ["/run/generated", "/run/generated.early", "/run/generated.late"]
MEMORY = "/run/byway/generated.json"
ALONE = {
    "/bin/true": (["/bin/true"], False),
    "the generator, remembering": ([GENERATOR, *FOLDERS], False),
    "the generator, after a change": ([GENERATOR, *FOLDERS], True),
}
# Reloads with the generator and with it masked, in turns, inside the machine.
RELOADS = """
import os, subprocess, time
mask = "/etc/systemd/system-generators/byway-generator"
def timed(masked):
    if masked:
        os.symlink("/dev/null", mask)
    begin = time.perf_counter()
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    seconds = time.perf_counter() - begin
    if masked:
        os.unlink(mask)
    return seconds
os.makedirs(os.path.dirname(mask), exist_ok=True)
for masked in (True, False):
    timed(masked)
result = {"daemon-reload without byway": [], "daemon-reload with byway": []}
names = {True: "daemon-reload without byway", False: "daemon-reload with byway"}
for number in range(args["count"]):
    for masked in ((True, False), (False, True))[number % 2]:
        result[names[masked]].append(timed(masked))
"""
RUN_ALONE = """
import contextlib, os, subprocess, time
result = {name: [] for name in args["commands"]}
for _ in range(args["count"] + 1):
    for name, (argv, forgets) in args["commands"].items():
        if forgets:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(args["memory"])
        begin = time.perf_counter()
        subprocess.run(argv, check=True)
        result[name].append(time.perf_counter() - begin)
result = {name: seconds[1:] for name, seconds in result.items()}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--machine", choices=["12", "13"], help="a booted one of that release")
    parser.add_argument("--count", type=int, default=25, help="runs of each (25)")
    chosen = parser.parse_args()
    if chosen.machine:
        with Machine(chosen.machine) as machine:
            machine.put("/etc/byway/byway.toml", CONFIG)
            given = {"commands": ALONE, "memory": MEMORY, "count": chosen.count}
            machine.run(["mkdir", "-p", *FOLDERS])
            write(machine.python(RELOADS, timeout=600, count=chosen.count))
            write(machine.python(RUN_ALONE, timeout=600, **given))
    else:
        write(measure_here(chosen.count))


def measure_here(count: int) -> Figures:
    """Run the installed generator in a test machine's root file system, without booting it."""
    image = image_for("13")
    with overlay(image.root) as (root, _):
        subprocess.run(["tar", "-xpf", byway_tar(image), "-C", root], check=True)
        for path in ("etc/byway/byway.toml", MEMORY.lstrip("/")):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "etc/byway/byway.toml").write_text(CONFIG)
        commands = {
            name: (["chroot", root, *argv], forgets) for name, (argv, forgets) in ALONE.items()
        }
        scope: dict[str, Any] = {
            "args": {"commands": commands, "memory": root / MEMORY.lstrip("/"), "count": count}
        }
        exec(compile(RUN_ALONE, "alone", "exec"), scope)
        return dict(scope["result"])


def write(figures: Figures) -> None:
    """The medians and the least, and what each is over the first."""
    first = next(iter(figures.values()))
    for name, seconds in figures.items():
        median, least = statistics.median(seconds) * 1000, min(seconds) * 1000
        more = statistics.median(b - a for a, b in zip(first, seconds, strict=True)) * 1000
        over = "" if seconds is first else f"{more:+9.1f} ms over the first"
        sys.stdout.write(f"{name:32}{median:9.1f} ms, least{least:9.1f} ms{over}\n")


if __name__ == "__main__":
    main()
