"""Sockets that systemd passes, and who is at the other end."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from byway_systemd.system import peers
from byway_systemd.system.peers import group_id, identify, take_listeners

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def connected(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        client.connect(str(tmp_path / "s"))
        accepted, _ = listener.accept()
        with accepted:
            yield accepted


def test_peer_is_known_by_the_kernel(connected: socket.socket) -> None:
    peer = identify(connected)
    assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
    assert peer.groups == {os.getegid(), *os.getgroups()}
    if peer.pidfd >= 0:
        assert not os.get_inheritable(peer.pidfd)
        link = f"/proc/self/fdinfo/{peer.pidfd}"
        with open(link, encoding="ascii") as file:  # noqa: PTH123
            assert f"Pid:\t{os.getpid()}\n" in file.read()
    peer.close()


def test_kernel_without_pidfds_of_peers(
    connected: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_SO_PEERPIDFD", 9999)
    monkeypatch.setattr(peers, "_SO_PEERGROUPS", 9999)
    peer = identify(connected)
    assert (peer.pidfd, peer.groups) == (-1, {os.getegid()})
    peer.close()


def test_many_groups_do_not_fit_at_first(
    connected: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Socket:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            asked.append(size)
            if size < 4000:
                raise OSError(34, "ERANGE")
            return connected.getsockopt(level, option, size)

    groups = peers._groups_of(Socket())  # type: ignore[arg-type]  # noqa: SLF001
    assert set(groups) == set(os.getgroups())
    assert len(asked) == 2


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "self", "LISTEN_FDS": "x"},
    ],
)
def test_sockets_for_others_are_not_taken(environment: dict[str, str]) -> None:
    environment = {
        name: value.replace("self", str(os.getpid())) for name, value in environment.items()
    }
    environment["LISTEN_FDNAMES"] = "byway.socket"
    assert take_listeners(environment) == ()
    assert environment == {}, "children do not see them either"


def test_group_is_read_from_the_file(tmp_path: Path) -> None:
    assert group_id(tmp_path, "byway") is None
    (tmp_path / "etc").mkdir()
    lines = ["root:x:0:", "byways:x:1:", "byway:x:x:", "byway:x:", "# byway:x:5:", "byway:x:7:a,b"]
    (tmp_path / "etc/group").write_text("\n".join(lines))
    assert group_id(tmp_path, "byway") == 7
    assert group_id(tmp_path, "none") is None
