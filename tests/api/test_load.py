"""No client delays what byway is there for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from latency import busy, many_destinations, measure
from served import serve, until

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


def test_starts_of_programs_do_not_wait_for_a_long_list() -> None:
    """They are looked at while the kernel takes it; who asked for it is answered afterwards."""
    with serve(long="waits") as served, ThreadPoolExecutor() as pool:
        asking = pool.submit(served.ask, "PUT", "/bypass", many_destinations(2000))
        until(lambda: not served.get("/api/v1/status")["in_sync"])
        measure(served, 20)
        assert len(served.get("/bypass")) == 2000, "readers are answered"
        assert not asking.done()
        served.tell("go")
        told = asking.result()
        assert told.status == 200
        assert [one["operation"] for one in told.json["applied"]] == ["replace-table"]
        assert told.json["in_sync"]
        assert served.get("/api/v1/status")["in_sync"]
