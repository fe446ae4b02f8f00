"""The daemon's state for the service manager (sd_notify(3)).

pystemd has this too, but importing it costs 40 ms and 19 MB, which the gate would pay for nothing.
"""

from __future__ import annotations

import os
import socket
import time


def notify(
    *, ready: bool = False, reloading: bool = False, watchdog: bool = False, status: str = ""
) -> None:
    """Tell the manager what is set; without a manager, do nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    lines = []
    if ready:
        lines.append("READY=1")
    if reloading:
        # With the time of this reload Type=notify-reload can tell it from an earlier one.
        lines += ["RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"]
    if watchdog:
        lines.append("WATCHDOG=1")
    if status:
        lines.append("STATUS=" + status.replace("\n", " "))
    if address and lines:
        if address.startswith("@"):  # an abstract socket
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto("\n".join(lines).encode(), address)
