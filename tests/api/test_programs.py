"""What the list of apps could have, over the API."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest
from served import NOBODY, Served

PNG = b"\x89PNG\r\n\x1a\n"
PROGRAMS = "/api/v1/programs"


def install(served: Served, name: str, icon: str) -> None:
    entry = served.root / f"usr/share/applications/{name}.desktop"
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.write_text(f"[Desktop Entry]\nType=Application\nName={name.title()}\nIcon={icon}\n")


def test_programs_and_their_users(shared: Served) -> None:
    found = {one["program"]: one for one in shared.get(PROGRAMS)["programs"]}
    daemon = Path(f"/proc/{shared.process.pid}/exe").resolve()
    assert shared.process.pid in found[str(daemon)]["pids"]
    assert found[str(daemon)]["users"]
    assert all(set(one) == {"program", "pids", "users"} for one in found.values())


def test_apps_and_their_icons(served: Served) -> None:
    install(served, "mail", "mail")
    install(served, "paint", "/opt/paint/icon.png")
    install(served, "plain", "gone")
    install(served, "odd", "../../../../etc/shadow.png")
    for path in ("usr/share/pixmaps/mail.png", "opt/paint/icon.png", "etc/shadow.png"):
        (served.root / path).parent.mkdir(parents=True, exist_ok=True)
        (served.root / path).write_bytes(PNG + path.encode())
    assert served.get(PROGRAMS)["desktop"] == [
        {"id": "mail", "name": "Mail", "app": "desktop:mail", "icon": "mail"},
        {"id": "odd", "name": "Odd", "app": "desktop:odd", "icon": ""},
        {"id": "paint", "name": "Paint", "app": "desktop:paint", "icon": "/opt/paint/icon.png"},
        {"id": "plain", "name": "Plain", "app": "desktop:plain", "icon": ""},
    ]
    for name, path in (
        ("mail", "usr/share/pixmaps/mail.png"), ("/opt/paint/icon.png", "opt/paint/icon.png")
    ):  # fmt: skip
        icon = served.ask("GET", f"/api/v1/icons/{quote(name, safe='')}")
        assert (icon.status, icon.headers["Content-Type"]) == (200, "image/png")
        assert icon.body == PNG + path.encode()
        assert icon.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in icon.headers["Content-Security-Policy"]
    added = served.ask("POST", "/api/v1/apps", "desktop:mail")
    assert added.status == 200


@pytest.mark.parametrize(
    "name",
    ["gone", "..%2F..%2Fetc%2Fshadow.png", "../../etc/shadow.png", "%2Fetc%2Fshadow", "/etc/shadow",
     "a%00b", "%0A", ".", "mail.png"],
)  # fmt: skip
def test_no_other_file_is_served(shared: Served, name: str) -> None:
    install(shared, "mail", "mail")
    refused = shared.ask("GET", f"/api/v1/icons/{name}")
    assert (refused.status, refused.json["key"]) == (404, "name")
    assert refused.json["remedy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
def test_everybody_may_ask(shared: Served) -> None:
    assert shared.curl(f"http://localhost{PROGRAMS}", uid=NOBODY).status == 200
