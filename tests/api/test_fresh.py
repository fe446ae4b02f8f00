"""What takes its time is looked for once for all who ask, and never in the loop."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from byway_systemd.api.fresh import Fresh


def test_many_ask_and_one_looks() -> None:
    looked: list[int] = []

    def look() -> int:
        looked.append(threading.get_ident())
        time.sleep(0.02)
        return len(looked)

    async def story() -> tuple[list[int], list[int]]:
        fresh = Fresh()
        first = await asyncio.gather(*(fresh.get("a", look) for _ in range(20)))
        return first, [await fresh.get("b", look, 0.0), await fresh.get("b", look, 0.0)]

    first, again = asyncio.run(story())
    assert (first, again) == ([1] * 20, [2, 3])
    assert threading.get_ident() not in looked


def test_what_fails_is_looked_for_again() -> None:
    def fail() -> int:
        raise OSError(5, "no")

    async def story() -> int:
        fresh = Fresh()
        with pytest.raises(OSError, match="no"):
            await fresh.get("a", fail)
        return await fresh.get("a", lambda: 7)

    assert asyncio.run(story()) == 7
