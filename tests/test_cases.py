"""Golden cases: a machine and its configuration, and what byway makes of them.

tests/cases/NN-name/
  etc/ run/ usr/     the configuration, as below /etc/byway, /run/byway and /usr/lib/byway
  observed.json      the machine (observations.py)
  before/            what byway had done there: etc/ and observed.json as above; ``steps`` says how
                     far its plan had got (all of it where there is none)
  stop               byway stops
  cleared            its routes are cleared
  expected/          plan.txt, plan.json, stderr and units/; rewritten by --update-expected
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_system import FakeSystem
from hypothesis import given
from observations import dump_observed, load_observed
from worlds import observeds

from byway_systemd.core.describe import describe_operation, present_operation
from byway_systemd.core.desired import TABLES, Desired, desire
from byway_systemd.core.errors import ConfigError
from byway_systemd.core.parse import parse_config
from byway_systemd.core.plan import plan
from byway_systemd.core.rules import is_own_rule
from byway_systemd.core.status import find_warnings
from byway_systemd.core.units import Scope, render_unit_files
from byway_systemd.system.files import find_templates, read_config
from byway_systemd.system.generator import generate

if TYPE_CHECKING:
    from byway_systemd.core.observed import Observed

CASES = sorted(path for path in Path(__file__).with_name("cases").iterdir() if path.is_dir())
_PLACES = {"etc": "etc/byway", "run": "run/byway", "usr": "usr/lib/byway"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path, tmp_path: Path, update_expected: bool) -> None:
    found = run_case(case, tmp_path)
    expected = case / "expected"
    if update_expected:
        shutil.rmtree(expected, ignore_errors=True)
        for name, text in found.items():
            (expected / name).parent.mkdir(parents=True, exist_ok=True)
            (expected / name).write_text(text)
    files = (path for path in expected.rglob("*") if path.is_file())
    assert found == {str(path.relative_to(expected)): path.read_text() for path in files}


def run_case(case: Path, scratch: Path) -> dict[str, str]:
    """Return what is expected of a case, by file name."""
    observed = load_observed(json.loads((case / "observed.json").read_text()))
    if (case / "before").is_dir():
        observed = _with_what_byway_did(observed, case, scratch / "before")
    try:
        desired = _desired(case, scratch / "now")
    except ConfigError as error:
        return {"stderr": f"{error}\n"}
    operations = plan(desired, observed)
    described = (f"{describe_operation(o)}  ({o.because})\n" for o in operations)
    presented = json.dumps([present_operation(o) for o in operations], indent=2)
    warnings = find_warnings(desired, observed)
    _check_that_it_converges(desired, observed)
    return {
        "plan.txt": "".join(described),
        "plan.json": presented + "\n",
        "stderr": "".join(f"{warning}\n" for warning in warnings),
        **_units(case, scratch),
    }


def _desired(case: Path, root: Path) -> Desired:
    if (case / "stop").exists():
        return Desired.empty()
    _lay_out(case, root)
    config = parse_config(read_config(root))
    units, of_users = (
        render_unit_files(config, find_templates(), scope=scope)
        for scope in (Scope.SYSTEM, Scope.USER)
    )
    desired = desire(config, units, of_users, has_generator=True, runs_units=True)
    return replace(desired, cleared=(case / "cleared").exists())


def _lay_out(case: Path, root: Path) -> None:
    for name, place in _PLACES.items():
        if (case / name).is_dir():
            # Copied: root trusts no file others can write, which a checkout may hold.
            shutil.copytree(case / name, root / place, symlinks=True, copy_function=shutil.copyfile)
    for path in root.rglob("*.toml"):
        if not path.is_symlink():
            path.chmod(0o644)


def _units(case: Path, scratch: Path) -> dict[str, str]:
    if (case / "stop").exists():
        return {}
    paths = generate(scratch / "units", scratch / "now")
    return {f"units/{path}": (scratch / "units" / path).read_text() for path in paths}


def _with_what_byway_did(observed: Observed, case: Path, root: Path) -> Observed:
    """Put what byway had made, on the machine as it was before, on the machine as it is."""
    before = case / "before"
    machine = before / "observed.json"
    earlier = load_observed(json.loads(machine.read_text())) if machine.exists() else observed
    system = FakeSystem(earlier)
    desired = _desired(before if (before / "etc").is_dir() else case, root)
    system.observe(desired)
    operations = plan(desired, earlier)
    steps = int((before / "steps").read_text()) if (before / "steps").exists() else None
    for operation in operations[:steps]:
        system.apply(operation)
    made = system.observed
    return replace(
        made,
        links=observed.links,
        routes=(*observed.routes, *(r for r in made.routes if r.table in TABLES)),
        rules=(*observed.rules, *(r for r in made.rules if is_own_rule(r))),
        executables=observed.executables,
    )


def _check_that_it_converges(desired: Desired, observed: Observed) -> None:
    system = FakeSystem(observed)
    system.observe(desired)
    for operation in plan(desired, observed):
        system.apply(operation)
    assert plan(desired, system.observed) == ()


def test_there_are_cases() -> None:
    assert len(CASES) >= 12


@given(observeds)
def test_observed_survives_json(observed: Observed) -> None:
    assert load_observed(json.loads(json.dumps(dump_observed(observed)))) == observed


def test_unknown_names_are_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        load_observed({"links": [{"index": 1, "name": "lo", "colour": "red"}]})
