"""Logins by ssh: one's own, and the connections that are open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.observed import Login
from byway_systemd.system.logins import observe_logins

if TYPE_CHECKING:
    from pathlib import Path

HEADING = "  sl  local_address rem_address   st rest\n"
REST = "00000000:00000000 00:00000000 00000000 0 0 4711 1 0\n"


def connections(*lines: str) -> str:
    return HEADING + "".join(f"   0: {line} {REST}" for line in lines)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(
        connections(
            "0100000A:0016 096433C6:C350 01",  # 198.51.100.9 to 10.0.0.1, port 22
            "0100000A:0016 096433C6:C351 01",  # the same once more
            "0100000A:08AE 0A6433C6:C350 01",  # port 2222
            "0100000A:0016 0B6433C6:C350 06",  # it has ended
            "0100007F:0016 0100007F:C350 01",  # from here
            "0100000A:0050 0C6433C6:C350 01",  # to a web server
        )
    )
    return tmp_path


def test_connections(proc: Path) -> None:
    assert observe_logins(proc, {}, str(proc)) == (Login("198.51.100.9", "10.0.0.1"),)
    (proc / "etc/ssh/sshd_config.d").mkdir(parents=True)
    (proc / "etc/ssh/sshd_config").write_text("#Port 80\nPortion 80\n")
    (proc / "etc/ssh/sshd_config.d/a.conf").write_text("  port=2222\n")
    assert [login.client for login in observe_logins(proc, {}, str(proc))] == [
        "198.51.100.10",
        "198.51.100.9",
    ]


@pytest.mark.parametrize(
    ("text", "login"),
    [
        ("198.51.100.9 50000 10.0.0.1 22", (Login("198.51.100.9", "10.0.0.1"),)),
        ("fe80::1%eth0 50000 fe80::2%eth0 22", (Login("fe80::1", "fe80::2"),)),
        ("127.0.0.1 50000 127.0.0.1 22", ()),
        ("UNKNOWN 65535 UNKNOWN 65535", ()),
        ("198.51.100.9", ()),
        ("", ()),
    ],
)
def test_own(tmp_path: Path, text: str, login: tuple[Login, ...]) -> None:
    assert observe_logins(tmp_path, {"SSH_CONNECTION": text}, str(tmp_path)) == login
