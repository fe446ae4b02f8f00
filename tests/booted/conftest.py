"""Fixtures: one machine for the session, the world around it, the journal with every failure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from _pytest.runner import runtestprotocol

from booted.image import CODENAMES
from booted.laptop import Byway
from booted.machine import AgentError, Machine, MachineDied
from booted.session import MACHINES
from booted.topology import Topology, kept_apart

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

DIED = pytest.StashKey[bool]()
NETWORK = """
for f in -4 -6; do ip $f rule; ip $f route show table byway; ip $f route; ip $f neigh; done
ip address; ip -n isp -6 neigh
"""
FAILED = pytest.StashKey[bool]()
TURNS = ("running", "machine")  # by fixtures: starting byway takes seconds, and booting many


def pytest_addoption(parser: pytest.Parser) -> None:
    """Choose the machines."""
    parser.addoption(
        "--machine",
        choices=[*sorted(CODENAMES), "both"],
        default=os.environ.get("BYWAY_MACHINES", "13"),
        help="the Debian release the booted tests run in (BYWAY_MACHINES; 13)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker every test of this folder gets."""
    config.addinivalue_line("markers", "booted: runs in a booted machine under QEMU")
    config.addinivalue_line(
        "markers", "one_release: `both` runs it on the newer one only, to take less than 40 minutes"
    )
    config.stash[MACHINES] = {}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark this folder's tests."""
    if "release" in _fixtures_of(item):
        item.add_marker("booted")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test in every chosen machine, all of one machine's tests before the next."""
    if "release" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--machine")
        releases = ["13", "12"] if chosen == "both" else [chosen]
        if chosen == "both" and metafunc.definition.get_closest_marker("one_release"):
            releases = ["13"]
        names = [f"debian{release}" for release in releases]
        metafunc.parametrize("release", releases, ids=names, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What shares a running byway comes first, what boots a machine of its own comes last.

    Leave out, of `both`, the values that are marked one_release on the older machine.
    """
    booted = [item for item in items if "release" in _fixtures_of(item)]
    booted.sort(key=lambda item: (-int(_release_of(item)), _turn_of(item)))
    items[:] = [*(item for item in items if "release" not in _fixtures_of(item)), *booted]
    if config.getoption("--machine") != "both":
        return
    older = [
        item
        for item in items
        if item.get_closest_marker("one_release") and _release_of(item) == "12"
    ]
    items[:] = [item for item in items if item not in older]
    config.hook.pytest_deselected(items=older)


def _release_of(item: pytest.Item) -> str:
    spec = getattr(item, "callspec", None)
    return str(spec.params.get("release", "")) if spec else ""


def _turn_of(item: pytest.Item) -> int:
    return next((n for n, name in enumerate(TURNS) if name in _fixtures_of(item)), len(TURNS))


def _fixtures_of(item: pytest.Item) -> Sequence[str]:
    return getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def release(request: pytest.FixtureRequest) -> str:
    """The Debian release of the machine; parametrized above."""
    return str(request.param)


@pytest.fixture
def machine(release: str, request: pytest.FixtureRequest) -> Machine:
    """The session's machine of that release, booted when first asked for, or when it has died."""
    machines = request.config.stash[MACHINES]
    if release not in machines:
        # one after the other: two at once are four times as slow
        for other in list(machines):
            machines.pop(other).power_off()
        started = Machine(release)
        started.boot()
        machines[release] = started
    return machines[release]


@pytest.fixture
def topology(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Topology]:
    """The world around the machine, with the VPN down unless byway is ``running`` already."""
    world = Topology(machine)
    if machine.left == "running" and "running" not in request.fixturenames:
        Byway(machine).remove()
        lower_vpn(machine, world)
        machine.left = "clean"
    yield world
    if machine.left != "running":
        lower_vpn(machine, world)
    world.restore()


def lower_vpn(machine: Machine, world: Topology) -> None:
    """Take the VPN down where it is up."""
    if machine.python("import os; result = os.path.exists('/sys/class/net/wg0')"):
        world.vpn_down()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the machines away."""
    for machine in config.stash[MACHINES].values():
        machine.power_off()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the machine's journal beside a failure, and note when it was the machine that failed."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    given = getattr(item, "funcargs", {})
    machine = given.get("machine") or given.get("own_machine")
    if call.excinfo and isinstance(call.excinfo.value, MachineDied):
        item.stash[DIED] = True
    elif report.failed and machine:
        try:
            journal = machine.journal("byway*", "wg-quick@*", lines=80)
            network = machine.run(NETWORK, check=False).stdout
        except (MachineDied, AgentError) as error:
            journal, network = str(error), ""
        report.sections.append(("the machine's journal", journal))
        report.sections.append(("the machine's network", network))
        report.sections.append(("the machine's console", machine.console()))
    return report


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test again, once, when the machine died; never when the test failed."""
    if "release" not in _fixtures_of(item):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if item.stash.get(DIED, False):
        for machine in item.config.stash[MACHINES].values():
            machine.power_off()
        item.config.stash[MACHINES].clear()
        item._initrequest()  # type: ignore[attr-defined]  # noqa: SLF001
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.fixture
def byway(machine: Machine, topology: Topology) -> Iterator[Byway]:
    """byway, configured by the test; taken away afterwards."""
    assert topology
    program = Byway(machine)
    if machine.left != "clean":  # a removal is seconds of every test
        program.remove()
    machine.left = "unknown"
    yield program
    program.remove()
    machine.left = "clean"


@pytest.fixture
def running(
    machine: Machine, topology: Topology, request: pytest.FixtureRequest
) -> Iterator[Byway]:
    """byway, running as RUNNING says with the VPN up; shared by the tests, which leave it so.

    Starting and removing it takes longer than most tests do.
    """
    program = Byway(machine)
    if machine.left == "unknown":
        program.remove()
    program.run_as_shared(topology, runs=machine.left == "running")
    machine.left = "unknown"
    yield program
    if not request.node.stash.get(FAILED, False):
        machine.run(["systemctl", "is-active", "byway"])
        machine.left = "running"


@pytest.fixture
def captured(topology: Topology, running: Byway) -> Iterator[None]:
    """While byway runs, whatever the test does: nothing of one kind leaves by the other's way."""
    assert running
    with kept_apart(topology):
        yield
