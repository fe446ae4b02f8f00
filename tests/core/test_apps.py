"""What an entry of ``apps`` may say, and what it must not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway_systemd.core.apps import App, AppKind, RefusedError, parse_app


@pytest.mark.parametrize(
    ("text", "app"),
    [
        ("/usr/bin/curl", App(AppKind.PATH, "/usr/bin/curl")),
        ("/opt/with space/a:b", App(AppKind.PATH, "/opt/with space/a:b")),
        ("/opt/zo\u00eb/app", App(AppKind.PATH, "/opt/zo\u00eb/app")),
        ("/opt/...", App(AppKind.PATH, "/opt/...")),
        ("/opt/*/bin/app", App(AppKind.GLOB, "/opt/*/bin/app")),
        ("/opt/app[12]", App(AppKind.GLOB, "/opt/app[12]")),
        ("/opt/app?", App(AppKind.GLOB, "/opt/app?")),
        ("unit:jellyfin", App(AppKind.UNIT, "jellyfin.service")),
        ("unit:jellyfin.service", App(AppKind.UNIT, "jellyfin.service")),
        ("unit:app@1.service", App(AppKind.UNIT, "app@1.service")),
        ("unit:a\\x2db.service", App(AppKind.UNIT, "a\\x2db.service")),
        ("unit:a:b-c_d.service", App(AppKind.UNIT, "a:b-c_d.service")),
    ],
)
def test_reads(text: str, app: App) -> None:
    assert parse_app(text) == app


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("firefox", "not absolute"),
        ("../firefox", "not absolute"),
        ("~/bin/app", "not absolute"),
        ("/", "a directory"),
        ("/usr/bin/", "a directory"),
        ("/usr//bin/curl", "not a plain path"),
        ("/usr/../bin/curl", "not a plain path"),
        ("/usr/./curl", "not a plain path"),
        ("/usr/bin/..", "not a plain path"),
        ("/a/" + "b" * 256, "too long"),
        ("/a" * 2048, "too long"),
        ("/usr/bin/\ncurl", "control character"),
        ("/usr/bin/\x7fcurl", "control character"),
        ("/usr/bin/\x9bcurl", "control character"),
        ("/usr/bin/\udc80curl", "control character"),
        ("snap:firefox", "unknown kind"),
        ("http://example.net", "unknown kind"),
        (":", "unknown kind"),
        ("unit:", "not a service"),
        ("unit:.service", "not a service"),
        ("unit:../../etc/passwd", "not a unit name"),
        ("unit:a/b.service", "not a unit name"),
        ("unit:a b.service", "not a unit name"),
        ("unit:a%i.service", "not a unit name"),
        ("unit:\u00e4.service", "not a unit name"),
        ("unit:a.service\n", "control character"),
        ("unit:a\n[Service].service", "control character"),
        ("unit:-.slice", "not a service"),
        ("unit:byway.slice", "not a service"),
        ("unit:init.scope", "not a service"),
        ("unit:nginx.socket", "not a service"),
        ("unit:app@.service", "not an instance"),
        ("unit:@1.service", "not an instance"),
        ("unit:a@b@c.service", "not an instance"),
        ("unit:byway.service", "must stay"),
        ("unit:byway", "must stay"),
        ("unit:byway-gate.service", "must stay"),
        ("unit:byway-reconcile.service", "must stay"),
        ("unit:systemd-journald", "must stay"),
        ("unit:" + "a" * 256, "not a unit name"),
        # A drop-in's directory is the unit's name and ".d", and a file name has 255 bytes.
        ("unit:" + "a" * 246 + ".service", "not a unit name"),
    ],
)
def test_refuses(text: str, complaint: str) -> None:
    with pytest.raises(RefusedError, match=complaint) as caught:
        parse_app(text)
    assert caught.value.remedy


def test_longest_unit_name_has_room_for_its_drop_in() -> None:
    assert len(parse_app("unit:" + "a" * 245).value + ".d") == 255


@given(st.text(max_size=40) | st.text(max_size=20).map("unit:".__add__))
def test_is_read_or_refused_with_a_remedy(text: str) -> None:
    try:
        app = parse_app(text)
    except RefusedError as error:
        assert error.remedy  # noqa: PT017 - either outcome is right
    else:
        assert str(app).isprintable() or not str(app).isascii()
        assert parse_app(str(app)) == app
