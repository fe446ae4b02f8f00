"""Programs of users' sessions: they stay with the session, and leave by the direct link."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.laptop import LISTED
from booted.topology import LISTED_PORT, kept_apart, probe_command, seen_from, seen_from_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.laptop import Byway
    from booted.machine import Machine
    from booted.topology import Topology

SLEEPER = "/opt/app/sleeper"
CONFIG = f"""
interface = "wwan0"
apps = ["{LISTED}", "{SLEEPER}", "user-unit:own.service", "flatpak:org.example.App"]
"""
UIDS = {"alice": 1000, "bob": 1001}


def of_user(user: str, *options: str) -> list[str]:
    """`systemd-run --user`, as that user."""
    runtime = f"XDG_RUNTIME_DIR=/run/user/{UIDS[user]}"
    return ["runuser", "-u", user, "--", "env", runtime, "systemd-run", "--user", "-q", *options]


def by_login(user: str) -> list[str]:
    """What runs in a login session of that user."""
    return ["systemd-run", "-q", "--wait", "--pipe", "-p", "PAMName=login", "-p", f"User={user}"]


def manager_of(user: str) -> str:
    """The cgroup of that user's manager."""
    uid = UIDS[user]
    return f"/user.slice/user-{uid}.slice/user@{uid}.service"


UNTIL_IT_RUNS = ("--property=Type=exec",)  # and not only until it is forked
SERVICE, SCOPE = ("--wait", "--pipe", "--collect"), ("--scope", "--collect")
WAYS = {
    "service": lambda user: [*of_user(user, *SERVICE), LISTED],
    "scope": lambda user: [*of_user(user, *SCOPE), LISTED],
    "app's scope": lambda user: [*of_user(user, *SCOPE, "--unit=app-some-1"), LISTED],
    "login": lambda user: [*by_login(user), LISTED],
    "slice": lambda user: [*of_user(user, *SERVICE, "--slice=byway.slice"), "probe"],
    "listed service": lambda user: [*of_user(user, *SERVICE, "--unit=own"), "probe"],
    "flatpak": lambda user: [
        *of_user(user, *SCOPE, "--slice=app.slice", "--unit=app-flatpak-org.example.App-7"), "probe"
    ],
}  # fmt: skip
CONTROLS = {
    "service": lambda user: [*of_user(user, *SERVICE), "probe"],
    "scope": lambda user: [*of_user(user, *SCOPE, "--unit=app-flatpak-org.example.B-7"), "probe"],
    "login": lambda user: [*by_login(user), "probe"],
}

HOLDER_IS_ACTIVE = ["systemctl", "is-active", "-q", "byway-holder@1000"]


@pytest.fixture
def users(machine: Machine) -> Iterator[None]:
    """Alice and bob linger: their managers run; afterwards they do not."""
    machine.run(f"mkdir -p /opt/app; cp -n /bin/sleep {SLEEPER}; true")
    for user in UIDS:
        linger(machine, user)
    yield
    machine.run("pkill -x sleeper; true")
    for user in UIDS:
        leave(machine, user)


def linger(machine: Machine, user: str) -> None:
    # While logind still puts the last session away it does not start the manager itself.
    machine.run(f"loginctl enable-linger {user}; systemctl start user@{UIDS[user]}")


def leave(machine: Machine, user: str) -> None:
    manager = f"user@{UIDS[user]}"  # which logind may stop at the same time
    machine.run(
        f"loginctl disable-linger {user}; systemctl stop {manager};"
        f"while systemctl is-active -q {manager}; do sleep 0.1; done"
    )


def cgroup_of(machine: Machine, program: str) -> str:
    """The cgroup of the newest process of that name; empty when there is none."""
    command = f"pid=$(pgrep -n -x {program}) && cat /proc/$pid/cgroup"
    return machine.run(command, check=False).stdout.strip().removeprefix("0::")


@pytest.mark.usefixtures("users")
def test_programs_of_sessions(machine: Machine, topology: Topology, byway: Byway) -> None:
    """Byway comes when the users are there already; what is not listed takes the VPN.

    One of the users by IPv4 and the other by IPv6.
    """
    topology.vpn_up()
    byway.configure(CONFIG)
    byway.start()
    byway.settle()
    listed = {
        f"{name} of {user}, IPv{family}": probe_command(way(user), family=family, port=LISTED_PORT)
        for family, user in zip((4, 6), UIDS, strict=True)
        for name, way in WAYS.items()
    }
    others = {
        f"{name} of {user}, not listed": probe_command(way(user))
        for user in UIDS
        for name, way in CONTROLS.items()
    }
    wanted = dict.fromkeys(listed, "wwan0") | dict.fromkeys(others, "vpn")
    with kept_apart(topology):
        assert seen_from_all(machine, listed | others) == wanted


@pytest.mark.one_release
@pytest.mark.usefixtures("users")
def test_it_stays_with_the_session_and_ends_with_it(
    machine: Machine, topology: Topology, running: Byway
) -> None:
    """Held or moved, it is in its own user's manager; a login later all is as it was."""
    running.configure(CONFIG)
    running.settle("len($['apps']) == 4")
    for user in UIDS:
        machine.run([*of_user(user, *UNTIL_IT_RUNS), SLEEPER, "600"])
        cgroup = cgroup_of(machine, "sleeper")
        assert cgroup.startswith(f"{manager_of(user)}/byway.slice/byway-apps.service/default/gate-")
    shown = running.run("status").stdout
    assert shown.count(SLEEPER) >= 3, shown  # the app, and a process of each user
    leave(machine, "alice")
    assert cgroup_of(machine, "sleeper").startswith(manager_of("bob"))
    assert machine.run("pgrep -c -x sleeper").stdout.strip() == "1"
    running.settle()
    linger(machine, "alice")
    with kept_apart(topology):
        for user in UIDS:
            assert seen_from(machine, WAYS["service"](user), port=LISTED_PORT) == "wwan0"
            assert seen_from(machine, WAYS["slice"](user), port=LISTED_PORT) == "wwan0"
            assert seen_from(machine, CONTROLS["service"](user)) == "vpn"


@pytest.mark.one_release
@pytest.mark.usefixtures("users")
def test_what_runs_already_is_moved_within_the_session_and_back(
    machine: Machine, running: Byway
) -> None:
    running.configure('interface = "wwan0"\n')
    running.settle("not $['apps']")
    shell = f"{SLEEPER} 600 & sleep 600; true"  # not alone: else its scope would be adopted
    machine.spawn([*by_login("alice"), "/bin/sh", "-c", shell])
    machine.run("until pgrep -x sleeper; do sleep 0.1; done", timeout=20)
    origin = cgroup_of(machine, "sleeper")
    assert "/user-1000.slice/session-" in origin
    running.configure(CONFIG)
    running.run("reconcile")
    holder = f"{manager_of('alice')}/byway.slice/byway-apps.service/default/moved-"
    machine.run(f"until grep -q {holder} /proc/$(pgrep -x sleeper)/cgroup; do sleep 0.1; done")
    running.configure('interface = "wwan0"\n')
    running.run("reconcile")
    machine.run(f"until grep -q {origin} /proc/$(pgrep -x sleeper)/cgroup; do sleep 0.1; done")
    machine.run("pkill -x sleeper")


@pytest.mark.one_release
@pytest.mark.usefixtures("users")
def test_a_manager_that_is_to_be_stopped_is(machine: Machine, running: Byway) -> None:
    """Its holder is not started again meanwhile, which would take the place of the stop."""
    machine.wait_until("not __import__('subprocess').call(args['holds'])", holds=HOLDER_IS_ACTIVE)
    tied = ("BindsTo=user@1000.service", "After=user@1000.service")
    properties = [f"--property={one}" for one in (*tied, "ExecStop=sleep 6")]
    machine.run(["systemd-run", "-q", "--unit=slow", *properties, "sleep", "600"])
    machine.run("systemctl stop --no-block user@1000")
    machine.wait_until("__import__('subprocess').call(args['holds'])", holds=HOLDER_IS_ACTIVE)
    running.run("reconcile")
    assert machine.run("systemctl is-active slow", check=False).stdout == "deactivating\n"
    machine.wait_until("__import__('subprocess').call(['systemctl', 'is-active', 'user@1000'])")
    assert "destructive" not in machine.journal("byway")


@pytest.mark.one_release
@pytest.mark.usefixtures("users")
def test_stop_ends_the_holders_nobody_is_in(machine: Machine, byway: Byway) -> None:
    byway.configure(CONFIG)
    byway.start()
    byway.settle()
    machine.run([*of_user("alice", *UNTIL_IT_RUNS), SLEEPER, "600"])
    byway.stop()
    holders = "/sys/fs/cgroup/user.slice/*/*/byway.slice/byway-apps.service"
    machine.run(f"until [ $(ls -d {holders} | wc -l) = 1 ]; do sleep 0.1; done", timeout=15)
    assert cgroup_of(machine, "sleeper").startswith(manager_of("alice"))
    assert machine.run("systemctl --failed --no-legend").stdout == ""
    runtime = "XDG_RUNTIME_DIR=/run/user/1001"
    failed = ["systemctl", "--user", "--failed", "--no-legend"]
    assert machine.run(["runuser", "-u", "bob", "--", "env", runtime, *failed]).stdout == ""


@pytest.mark.one_release
@pytest.mark.usefixtures("users")
def test_a_manager_its_user_has_stopped(machine: Machine, byway: Byway) -> None:
    """It does not keep byway from anything, nor others from theirs."""
    pid = byway.main_pid("user@1000.service")
    machine.run(f"kill -STOP {pid}")
    byway.configure(CONFIG)
    byway.start()
    machine.run(["systemctl", "is-active", "byway"])
    try:
        machine.spawn([*by_login("bob"), SLEEPER, "600"])
        machine.run("until pgrep -x sleeper; do sleep 0.1; done", timeout=20)
        assert cgroup_of(machine, "sleeper").startswith(manager_of("bob"))
    finally:
        machine.run(f"kill -CONT {pid}; pkill -x sleeper")
