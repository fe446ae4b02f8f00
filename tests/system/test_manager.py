"""Calls of the service manager that a signal interrupts."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest
from pystemd.dbusexc import DBusInterruptedError

from byway_systemd.system.manager import Manager


class Bus:
    """A bus on which the first calls are interrupted."""

    def __init__(self, times: int) -> None:
        self.times = times

    def call_method(self, *_: Any) -> Any:
        self.times -= 1
        if self.times >= 0:
            raise DBusInterruptedError(-4, b"Interrupted system call")
        return SimpleNamespace(body=[(b"a.service", b"", b"", b"active", *(b"",) * 6)])

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("times", [1, 2])
def test_signal_is_no_answer(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """It is asked again, and then it is an OSError as any other."""
    manager, bus = Manager(), Bus(times)
    monkeypatch.setattr(manager, "_connect", lambda: bus)
    if times == 1:
        assert manager.states(["a.service"]) == {"a.service": "active"}
    else:
        with pytest.raises(InterruptedError) as caught:
            manager.states(["a.service"])
        assert caught.value.errno == errno.EINTR


def test_a_job_tells_what_a_unit_will_be(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {b"a": b"", b"b": b"start", b"c": b"stop", b"d": b"reload"}
    rows = [(name, *(b"",) * 2, b"active", *(b"",) * 4, job, b"") for name, job in jobs.items()]
    bus = SimpleNamespace(call_method=lambda *_: SimpleNamespace(body=rows))
    manager = Manager()
    monkeypatch.setattr(manager, "_connect", lambda: bus)
    expected = {"a": "active", "b": "activating", "c": "deactivating", "d": "active"}
    assert manager.states_like("*") == expected
