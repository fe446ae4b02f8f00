"""The status as metrics: OpenMetrics text, which Prometheus' textfile collector reads as well."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from byway_systemd.core.describe import JsonObject

    Sample = tuple[dict[str, str], float]


def render_metrics(status: JsonObject, version: str) -> str:
    """Return the metrics of a status; of an empty one, that byway does not run."""
    families = [
        ("byway", "info", "byway's version", [({"version": version}, 1)]),
        ("byway_up", "gauge", "Whether the daemon runs", [({}, bool(status))]),
        *(_families(status) if status else ()),
    ]
    lines = [line for family in families for line in _render_family(*family)]
    return "\n".join([*lines, "# EOF", ""])


def _families(status: JsonObject) -> Iterator[tuple[str, str, str, list[Sample]]]:
    counters = status.get("counters", {})
    placed = Counter((p["profile"], p["placement"]) for p in status["processes"])
    yield "byway_in_sync", "gauge", "Whether nothing is left to do", [({}, status["in_sync"])]
    for name, help_text in (
        ("drift", "Operations that are left to do"),
        ("warnings", "What keeps the configuration from working"),
        ("config_problems", "Errors of a configuration that is refused"),
        ("failures", "Operations that failed at the last look"),
    ):
        yield f"byway_{name}", "gauge", help_text, [({}, len(status.get(name, ())))]
    yield (
        "byway_link_up", "gauge", "Whether a profile's direct link can be used",
        [
            ({"profile": p["name"], "link": p["link"] or p["interface"]}, p["state"] == "up")
            for p in status["profiles"]
        ],
    )  # fmt: skip
    yield (
        "byway_app_processes", "gauge", "Processes of an app by the direct link",
        [({"app": a["app"], "profile": a["profile"]}, len(a["pids"])) for a in status["apps"]],
    )  # fmt: skip
    yield (
        "byway_processes", "gauge", "Processes by the direct link, by how they were placed",
        [({"profile": p, "placement": how}, number) for (p, how), number in sorted(placed.items())],
    )  # fmt: skip
    yield from _counter_families(counters)


def _counter_families(counters: JsonObject) -> Iterator[tuple[str, str, str, list[Sample]]]:
    moves = counters.get("moves_by_app", {})
    yield (
        "byway_moves", "counter", "Processes that were moved, by app",
        [({"app": app}, number) for app, number in sorted(moves.items())],
    )  # fmt: skip
    for name, help_text in (
        ("repairs", "Operations that put something right"),
        ("config_loads", "Configurations that were loaded"),
        ("config_refusals", "Configurations that were refused"),
    ):
        yield f"byway_{name}", "counter", help_text, [({}, counters.get(name, 0))]
    if (last := counters.get("last_repair")) is not None:
        name = "byway_last_repair_timestamp_seconds"
        yield name, "gauge", "When something was put right last", [({}, last)]


def _render_family(
    name: str, kind: str, help_text: str, samples: Iterable[Sample]
) -> Iterator[str]:
    suffix = {"info": "_info", "counter": "_total"}.get(kind, "")
    yield f"# TYPE {name} {kind}"
    yield f"# HELP {name} {help_text}."
    for labels, value in samples:
        pairs = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        number = int(value) if value == int(value) else repr(value)
        yield f"{name}{suffix}{{{pairs}}} {number}" if pairs else f"{name}{suffix} {number}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
