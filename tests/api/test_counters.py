"""The counters over the API."""

from __future__ import annotations

import os

import pytest
from served import NOBODY, Served

COUNTERS = "/api/v1/counters"


def test_apps_and_links(shared: Served) -> None:
    assert shared.get(COUNTERS) == {
        "apps": [
            {
                "app": "/usr/bin/curl",
                "profile": "default",
                "links": [{"link": "wwan0", "connections": 1, "sent": 1000, "received": 2000}],
            }
        ],
        "links": [
            {"link": "wlan0", "role": "other", "state": "up", "sent": 2, "received": 2},
            {"link": "wwan0", "role": "direct", "state": "up", "sent": 3, "received": 3},
            {"link": "wg0", "role": "vpn", "state": "up", "sent": 4, "received": 4},
        ],
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
def test_everybody_may_ask(shared: Served) -> None:
    assert shared.curl(f"http://localhost{COUNTERS}", uid=NOBODY).status == 200
