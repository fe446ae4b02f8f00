"""Every kind of app passes through what looks at apps."""

from __future__ import annotations

import json

import pytest
from worlds import laptop

from byway_systemd.core.apps import AppKind, parse_app
from byway_systemd.core.config import Config, Profile
from byway_systemd.core.desired import desire
from byway_systemd.core.observed import Process
from byway_systemd.core.placement import tell_placement
from byway_systemd.core.plan import plan
from byway_systemd.core.status import build_status
from byway_systemd.system.executables import observe_executables

APPS = {
    AppKind.PATH: "/usr/bin/none",
    AppKind.GLOB: "/opt/none/*",
    AppKind.UNIT: "unit:a.service",
    AppKind.USER_UNIT: "user-unit:a.service",
    AppKind.DESKTOP: "desktop:org.a.B",
    AppKind.FLATPAK: "flatpak:org.a.B",
    AppKind.SNAP: "snap:a.b",
}


@pytest.mark.parametrize("kind", AppKind)
def test_every_kind(kind: AppKind) -> None:
    app = parse_app(APPS[kind])
    profile = Profile(interface="wwan0", apps=(app,))
    assert (app.kind, str(app)) == (kind, APPS[kind])
    assert bool(observe_executables([profile])) is kind.names_files
    desired, observed = desire(Config(profiles=(profile,))), laptop()
    status = build_status(desired, observed, plan(desired, observed))
    state = "missing" if kind.names_files else "not running"
    assert status["apps"] == [{"app": APPS[kind], "profile": "default", "state": state, "pids": []}]
    assert APPS[kind] in json.dumps(status)
    process = Process(100, 5, "/usr/bin/none", 8, 42, "/byway.slice/a.service")
    assert tell_placement(process, desired)
