"""What the fixtures and the tests share of a pytest session."""

from __future__ import annotations

import pytest

from booted.machine import Machine

# The machines that are up, by release.
MACHINES = pytest.StashKey[dict[str, Machine]]()


def end_machines(config: pytest.Config) -> None:
    """Power off the session's machines: two at once are too slow."""
    machines = config.stash[MACHINES]
    for other in list(machines):
        machines.pop(other).power_off()
