"""Whose session a cgroup is of, and which holder is a process's own."""

from __future__ import annotations

import pytest

from byway_systemd.core.config import Profile
from byway_systemd.core.users import (
    holder_of,
    manager_cgroup,
    session_uid,
    uid_of_slice,
    user_cgroups,
)

SLICE = "/user.slice/user-1000.slice"
MANAGER = f"{SLICE}/user@1000.service"
HOLDER = f"{MANAGER}/byway.slice/byway-apps.service"


@pytest.mark.parametrize(
    ("cgroup", "uid"),
    [
        (MANAGER, 1000),
        (f"{MANAGER}/app.slice/app-x-1.scope", 1000),
        (f"{SLICE}/session-3.scope", 1000),
        (f"{SLICE}/session-c1.scope/below", 1000),
        ("/user.slice/user-0.slice/session-1.scope", 0),
        (SLICE, None),
        (f"{SLICE}/user@1001.service", None),
        (f"{SLICE}/user@1000.services", None),
        (f"{SLICE}/x.scope", None),
        (f"{SLICE}/session-/3.scope", None),
        ("/user.slice/user-01.slice/session-1.scope", None),
        ("/user.slice/user-1.slice/x/session-1.scope", None),
        (f"/machine.slice{MANAGER}", None),
        ("/system.slice/a.service", None),
        ("", None),
    ],
)
def test_session_uid(cgroup: str, uid: int | None) -> None:
    assert session_uid(cgroup) == uid


@pytest.mark.parametrize(
    ("origin", "uid", "holder"),
    [
        (f"{SLICE}/session-3.scope", 1000, HOLDER),
        (f"{MANAGER}/app.slice/a.service", 1000, HOLDER),
        (f"{SLICE}/session-3.scope", 0, ""),  # sudo
        (f"{SLICE}/session-3.scope", 1001, ""),
        (f"{SLICE}/session-3.scope", -1, ""),  # ids that differ
        ("/system.slice/a.service", 1000, ""),
        ("/system.slice/a.service", -1, ""),
    ],
)
def test_holder_of(origin: str, uid: int, holder: str) -> None:
    assert holder_of(origin, uid) == holder


@pytest.mark.parametrize(
    ("name", "uid"),
    [
        ("user-1000.slice", 1000),
        ("user-0.slice", 0),
        ("user-.slice", None),
        ("user-1000.slice.d", None),
        ("user-00.slice", None),
        ("user-99999999999.slice", None),
        ("user-1x.slice", None),
    ],
)
def test_uid_of_slice(name: str, uid: int | None) -> None:
    assert uid_of_slice(name) == uid


def test_cgroups_of_a_profile() -> None:
    assert manager_cgroup(1000) == MANAGER
    assert user_cgroups(Profile(), MANAGER) == (f"{MANAGER}/byway.slice",)
    assert user_cgroups(Profile("lte"), MANAGER) == (
        f"{MANAGER}/byway.slice/byway-lte.slice",
        f"{HOLDER}/lte",
    )
