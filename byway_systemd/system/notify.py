"""The daemon's state for the service manager (sd_notify(3)), through pystemd."""

from __future__ import annotations

import time

from pystemd.daemon import notify as send


def notify(
    *, ready: bool = False, reloading: bool = False, watchdog: bool = False, status: str = ""
) -> None:
    """Tell the manager what is set; without a manager, do nothing."""
    fields: dict[str, object] = {}
    if ready:
        fields["ready"] = 1  # True would be sent as READY=True
    if reloading:
        # With the time of this reload Type=notify-reload can tell it from an earlier one.
        fields |= {"reloading": 1, "monotonic_usec": time.monotonic_ns() // 1000}
    if watchdog:
        fields["watchdog"] = 1
    if status:
        fields["status"] = status.replace("\n", " ")
    send(False, **fields)  # noqa: FBT003
