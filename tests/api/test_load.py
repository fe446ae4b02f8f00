"""No client delays what byway is there for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from latency import busy, measure

if TYPE_CHECKING:
    from served import Served


@pytest.mark.parametrize("clients", [{"readers": 20}, {"pipelining": 4}], ids=min)
def test_starts_of_programs_do_not_wait_for_readers(
    served: Served, clients: dict[str, int]
) -> None:
    """However many keep asking, and however much at once: a start waits for a few slices.

    Alone a tenth of these times; the tests of booted machines run beside.
    """
    with busy(served, **clients) as asking:
        waited = measure(served, 40)
    assert asking.asked > 5, "they did keep asking"
    assert waited[len(waited) // 2] < 0.3
    assert waited[-1] < 3.0
