"""What happens, told to the journal and to those who listen, and counted."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

from byway_systemd.core.describe import JsonObject, describe_operation, present_operation
from byway_systemd.core.messages import Message
from byway_systemd.core.operations import PlaceProcess, ReturnProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from byway_systemd.core.operations import Operation
    from byway_systemd.reconcile import Failure

log = logging.getLogger("byway")


class Happenings:
    """Tells the journal; ``publish`` takes an event's kind and its value."""

    def __init__(self, publish: Callable[[str, JsonObject], None]) -> None:
        """Nothing has happened."""
        self.failures: tuple[str, ...] = ()
        self._publish = publish
        self._warnings: frozenset[str] = frozenset()
        self._counts: Counter[str] = Counter()
        self._moves: Counter[str] = Counter()
        self._last_repair: float | None = None

    def counters(self) -> JsonObject:
        """Return what was counted since the start; ``last_repair`` is in seconds since 1970."""
        names = ("repairs", "moves", "failures", "config_loads", "config_refusals")
        return {
            **{name: self._counts[name] for name in names},
            "moves_by_app": dict(self._moves),
            "last_repair": self._last_repair,
        }

    def ready(self, summary: str) -> None:
        """Everything is up."""
        log.info("ready: %s", summary, extra={"message_id": Message.READY})

    def stopped(self) -> None:
        """Everything has been taken down."""
        log.info("stopped", extra={"message_id": Message.STOPPED})

    def loaded(self, problems: Sequence[str]) -> None:
        """The configuration was read; with ``problems`` it is refused."""
        for problem in problems:
            log.error("%s", problem, extra={"message_id": Message.CONFIG_REFUSED})
        if problems:
            log.error("the configuration is refused; the last good one stays in force")
        else:
            log.info("configuration loaded", extra={"message_id": Message.CONFIG_LOADED})
        self._counts["config_refusals" if problems else "config_loads"] += 1
        self._publish("config", {"problems": list(problems)})

    def applied(self, operation: Operation) -> None:
        """An operation was applied: a process is moved, or something is put right."""
        moved = isinstance(operation, PlaceProcess | ReturnProcess)
        value = present_operation(operation)
        fields = {f"BYWAY_{name.upper()}": text for name, text in value.items()}
        if isinstance(operation, PlaceProcess | ReturnProcess):
            fields["BYWAY_PID"] = str(operation.pid)
        if isinstance(operation, PlaceProcess):
            fields["BYWAY_APP"] = operation.app
            self._moves[operation.app] += 1
        message = Message.PLACED if moved else Message.REPAIRED
        log.info(
            "%s (%s)",
            describe_operation(operation),
            operation.because,
            extra={"message_id": message, "fields": fields},
        )
        self._counts["moves" if moved else "repairs"] += 1
        if not moved:
            self._last_repair = round(time.time(), 3)
        self._publish("move" if moved else "repair", value)

    def failed(self, failures: Sequence[Failure]) -> None:
        """Tell what failed, unless it failed the same way the last time."""
        texts = {f"{describe_operation(f.operation)}: {f.reason}": f for f in failures}
        for text, failure in texts.items():
            if text not in self.failures:
                value = {**present_operation(failure.operation), "reason": failure.reason}
                fields = {f"BYWAY_{name.upper()}": part for name, part in value.items()}
                log.error("%s", text, extra={"message_id": Message.FAILED, "fields": fields})
                self._counts["failures"] += 1
                self._publish("failure", value)
        self.failures = tuple(texts)

    def warned(self, warnings: Sequence[str]) -> None:
        """Tell what keeps the configuration from working, once."""
        now = frozenset(warnings)
        for warning in sorted(now - self._warnings):
            log.warning("%s", warning, extra={"message_id": Message.WARNED})
        self._warnings = now
