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
        ("user-unit:syncthing", App(AppKind.USER_UNIT, "syncthing.service")),
        ("user-unit:app@1.service", App(AppKind.USER_UNIT, "app@1.service")),
        ("desktop:firefox", App(AppKind.DESKTOP, "firefox")),
        ("desktop:google-chrome.desktop", App(AppKind.DESKTOP, "google-chrome")),
        ("desktop:org.gnome.Epiphany", App(AppKind.DESKTOP, "org.gnome.Epiphany")),
        ("desktop:firefox_firefox", App(AppKind.DESKTOP, "firefox_firefox")),
        ("desktop:zo\u00eb's app", App(AppKind.DESKTOP, "zo\u00eb's app")),
        ("desktop:org.telegram.desktop", App(AppKind.DESKTOP, "org.telegram")),
        ("desktop:org.telegram.desktop.desktop", App(AppKind.DESKTOP, "org.telegram.desktop")),
        ("flatpak:org.mozilla.firefox", App(AppKind.FLATPAK, "org.mozilla.firefox")),
        ("flatpak:org.telegram.desktop", App(AppKind.FLATPAK, "org.telegram.desktop")),
        ("flatpak:com.a_b.C-d", App(AppKind.FLATPAK, "com.a_b.C-d")),
        ("snap:firefox", App(AppKind.SNAP, "firefox")),
        ("snap:firefox.firefox", App(AppKind.SNAP, "firefox")),
        ("snap:firefox.geckodriver", App(AppKind.SNAP, "firefox.geckodriver")),
        ("snap:hello-world_two.Env-1", App(AppKind.SNAP, "hello-world_two.Env-1")),
        ("snap:a_1.a", App(AppKind.SNAP, "a_1")),
    ],
)
def test_reads(text: str, app: App) -> None:
    assert parse_app(text) == app
    assert parse_app(str(app)) == app


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
        ("docker:firefox", "unknown kind"),
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
        ("user-unit:", "not a service"),
        ("user-unit:a.socket", "not a service"),
        ("user-unit:app@.service", "not an instance"),
        ("user-unit:byway-apps", "must stay"),
        ("user-unit:systemd-tmpfiles-clean", "must stay"),
        ("user-unit:init.scope", "not a service"),
        ("user-unit:a/b", "not a unit name"),
        ("desktop:", "not the ID"),
        ("desktop:.desktop", "not the ID"),
        ("desktop:.hidden", "not the ID"),
        ("desktop: firefox", "not the ID"),
        ("desktop:/usr/share/applications/firefox.desktop", "not the ID"),
        ("desktop:..", "not the ID"),
        ("desktop:a\\b", "not the ID"),
        ("desktop:a\nb", "control character"),
        ("desktop:" + "-" * 60, "too long"),
        ("desktop:" + "a" * 221, "too long"),
        ("flatpak:", "not the ID"),
        ("flatpak:firefox", "not the ID"),
        ("flatpak:org.firefox", "not the ID"),
        ("flatpak:org.mozilla.1", "not the ID"),
        ("flatpak:org..firefox", "not the ID"),
        ("flatpak:org.mozilla/fire.fox", "not the ID"),
        ("flatpak:org.mozilla.firefox//stable", "not the ID"),
        ("flatpak:org.mozilla." + "a" * 220, "too long"),
        ("snap:", "not the name"),
        ("snap:.", "not the name"),
        ("snap:firefox.", "not the name"),
        ("snap:.firefox", "not the name"),
        ("snap:Firefox", "not the name"),
        ("snap:fire--fox", "not the name"),
        ("snap:-fox", "not the name"),
        ("snap:123", "not the name"),
        ("snap:a.b.c", "not the name"),
        ("snap:a/b", "not the name"),
        ("snap:a_", "not the name"),
        ("snap:" + "a" * 41, "not the name"),
        ("snap:a." + "b" * 200, "too long"),
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


@given(
    st.text(max_size=40)
    | st.tuples(
        st.sampled_from(["unit:", "user-unit:", "desktop:", "flatpak:", "snap:"]),
        st.text("abzAZ09._-@:/\\ \n\u00eb", max_size=20),
    ).map("".join)
)
def test_is_read_or_refused_with_a_remedy(text: str) -> None:
    try:
        app = parse_app(text)
    except RefusedError as error:
        assert error.remedy  # noqa: PT017 - either outcome is right
    else:
        assert str(app).isprintable() or not str(app).isascii()
        assert parse_app(str(app)) == app
