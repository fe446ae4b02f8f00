"""Metrics: OpenMetrics as its grammar has it, from the same values as the status."""

from __future__ import annotations

import re
from dataclasses import replace

from worlds import configured, laptop

from byway_systemd.core.metrics import render_metrics
from byway_systemd.core.plan import plan
from byway_systemd.core.status import build_status

LABELS = r'\{[a-z]+="(?:[^"\\\n]|\\[\\n"])*"(?:,[a-z]+="(?:[^"\\\n]|\\[\\n"])*")*\}'
SAMPLE = re.compile(rf"([a-z_]+)({LABELS})? (-?[0-9.e+]+)")
SUFFIXES = {"counter": "_total", "info": "_info", "gauge": ""}


def parse(text: str) -> dict[str, float]:
    """Return the samples by name and labels; fail where the text is not OpenMetrics."""
    *lines, last, end = text.split("\n")
    assert (last, end) == ("# EOF", "")
    found: dict[str, float] = {}
    family = kind = ""
    families = []
    for line in lines:
        if line.startswith("# TYPE "):
            family, kind = line.split(" ")[2:]
            families.append(family)
        elif line.startswith("# HELP "):
            assert line.split(" ")[2] == family
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] == family + SUFFIXES[kind]
            assert sample[1] + (sample[2] or "") not in found, "twice"
            found[sample[1] + (sample[2] or "")] = float(sample[3])
    assert len(families) == len(set(families)), "a family stands once"
    return found


def metrics(**changes: object) -> dict[str, float]:
    placed = replace(laptop().processes[0], cgroup="/byway.slice/a.scope", origin="/x")
    observed = replace(laptop(), processes=(placed,))
    desired = configured()
    status = build_status(desired, observed, plan(desired, observed))
    counters = {
        "repairs": 7, "moves": 3, "failures": 0, "config_loads": 2, "config_refusals": 1,
        "moves_by_app": {"/usr/bin/curl": 3}, "last_repair": 1_700_000_000.5,
    }  # fmt: skip
    return parse(render_metrics({**status, "counters": counters, **changes}, "1.2.3"))


def test_values() -> None:
    found = metrics(config_problems=["a", "b"], failures=["c"])
    assert found['byway_info{version="1.2.3"}'] == 1
    assert (found["byway_up"], found["byway_in_sync"]) == (1, 0)
    assert found["byway_drift"] > 5
    assert (found["byway_config_problems"], found["byway_failures"]) == (2, 1)
    assert found['byway_link_up{profile="default",link="wwan0"}'] == 1
    assert found['byway_app_processes{app="/usr/bin/curl",profile="default"}'] == 1
    assert found['byway_processes{profile="default",placement="moved"}'] == 1
    assert found['byway_moves_total{app="/usr/bin/curl"}'] == 3
    assert found["byway_repairs_total"] == 7
    assert found["byway_last_repair_timestamp_seconds"] == 1_700_000_000.5


def test_daemon_that_does_not_run() -> None:
    assert parse(render_metrics({}, "1")) == {'byway_info{version="1"}': 1, "byway_up": 0}


def test_without_counters() -> None:
    assert metrics(counters={})["byway_repairs_total"] == 0


def test_names_that_others_chose_are_escaped() -> None:
    odd = 'a"b\\c\nd{e="f"} 1'
    app = {"app": odd, "profile": "default", "state": "running", "pids": []}
    found = metrics(apps=[app])
    assert r'byway_app_processes{app="a\"b\\c\nd{e=\"f\"} 1",profile="default"}' in found
