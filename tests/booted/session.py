"""What the fixtures and the tests share of a pytest session."""

from __future__ import annotations

import pytest

from booted.machine import Machine

# The machines that are up, by release.
MACHINES = pytest.StashKey[dict[str, Machine]]()
