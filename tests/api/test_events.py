"""Server-sent events: what happens, to those who listen, and to no one who does not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from served import CONFIG, NOBODY, Served, read_all, serve, until

if TYPE_CHECKING:
    from collections.abc import Iterator

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
LISTEN = b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n"


class Listener:
    """An event stream, read event by event."""

    def __init__(self, served: Served) -> None:
        self.sock = served.connect()
        self.sock.sendall(LISTEN)
        self._file = self.sock.makefile("rb")
        self.head = b""
        while (line := self._file.readline()) not in (b"\r\n", b""):
            self.head += line

    def next(self) -> tuple[str, Any]:
        """Return the next event's kind and value; comments are kind ``:``."""
        fields: dict[str, str] = {}
        while True:
            line = self._file.readline().decode()
            assert line, "the stream has ended"
            if line == "\n" and fields:
                return fields.get("event", ":"), json.loads(fields.get("data", "null"))
            name, _, value = line.rstrip("\n").partition(": ")
            if name in ("id", "event", "data", ""):
                fields[name] = value

    def until(self, kind: str) -> Any:
        while True:
            event, value = self.next()
            if event == kind:
                return value

    def close(self) -> None:
        self._file.close()
        self.sock.close()


@contextmanager
def listening(served: Served) -> Iterator[Listener]:
    listener = Listener(served)
    try:
        yield listener
    finally:
        listener.close()


def test_begins_with_the_state(shared: Served) -> None:
    with listening(shared) as listener:
        assert b"text/event-stream" in listener.head
        assert b"Content-Length" not in listener.head
        assert listener.next() == ("state", shared.get("/state"))


def test_moves_repairs_config_and_state(served: Served) -> None:
    with listening(served) as listener:
        listener.next()
        served.tell("321")
        assert listener.until("move")["object"].startswith("321 (curl) into byway.slice")
        served.tell("network")
        assert listener.until("repair")["operation"] == "replace-table"
        served.config.write_text("apps = 1\n")
        served.ask("POST", "/api/v1/apply")
        (problem,) = listener.until("config")["problems"]
        assert "apps" in problem
        assert listener.until("state")["config_problems"] == [problem]
        served.put("/api/v1/config", 'interface = "wlan0"\n')
        assert listener.until("config") == {"problems": []}
        assert listener.until("state")["links"]["default"]["link"] == "wlan0"


def test_what_waits_to_be_confirmed(served: Served) -> None:
    """Whoever listens is told when something begins to wait, and when it does not any more."""
    with listening(served) as listener:
        assert listener.next()[1]["unconfirmed"] is None
        served.put("/api/v1/traffic/mode?confirm=60", '{"mode": "direct"}')
        while (waiting := listener.until("state"))["unconfirmed"] is None:
            pass
        assert waiting["unconfirmed"] == 60
        assert served.get("/state")["unconfirmed"] in (58, 59, 60)
        served.ask("POST", "/api/v1/confirm")
        while (kept := listener.until("state"))["unconfirmed"] is not None:
            pass
        assert kept["can_roll_back"] is False
        served.put("/api/v1/traffic/mode", '{"mode": "bypass"}')
        while not listener.until("state")["can_roll_back"]:
            pass


def test_counters(served: Served) -> None:
    before = served.get("/api/v1/status")["counters"]
    served.tell("321")
    until(lambda: served.get("/api/v1/explain?pid=321")["verdict"] == "direct")
    served.tell("network")
    until(lambda: served.get("/api/v1/status")["counters"]["repairs"] > before["repairs"])
    after = served.get("/api/v1/status")["counters"]
    assert (after["moves"], after["moves_by_app"]) == (1, {"/usr/bin/curl": 1})
    assert after["last_repair"] > before["last_repair"]


def test_curl_reads_it(served: Served) -> None:
    answer = served.curl("-N", "--max-time", "1", "http://localhost/events")
    assert answer.body.startswith(b"id: 0\nevent: state\ndata: {")


def test_head_and_options(shared: Served) -> None:
    head = shared.ask("HEAD", "/events")
    assert (head.status, head.headers["Content-Type"]) == (200, "text/event-stream")
    assert shared.ask("OPTIONS", "/events").status == 204


def test_17th_stream_is_told_so(served: Served) -> None:
    held = [Listener(served) for _ in range(16)]
    refused = served.ask("GET", "/events")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert served.get("/state")
    held.pop().close()
    until(lambda: b" 200 " in _first_line(served))
    for listener in held:
        listener.close()


def _first_line(served: Served) -> bytes:
    with served.connect() as sock:
        sock.sendall(LISTEN)
        return sock.recv(20) + b" "


@as_root
def test_one_user_gets_half_of_the_streams(served: Served) -> None:
    held = [Listener(served) for _ in range(4)]
    curl = "for n in $(seq 9); do curl -sN --max-time 2 -w '%{http_code}\\n' -o /dev/null "
    curl += f"--unix-socket {served.socket} http://localhost/events & done; wait"
    who = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "bash", "-c"]
    done = subprocess.run([*who, curl], capture_output=True, text=True, check=False)
    assert sorted(done.stdout.split()) == ["200"] * 8 + ["503"]
    for listener in held:
        listener.close()


def test_silence_is_filled_with_comments() -> None:
    with serve(keep_alive=0.1) as served, listening(served) as listener:
        listener.next()
        started = time.monotonic()
        assert [listener.next()[0] for _ in range(3)] == [":"] * 3
        assert time.monotonic() - started < 3


def test_who_does_not_read_is_dropped_and_others_go_on() -> None:
    with serve(send=0.3, backlog=50) as served, listening(served) as good:
        before = served.descriptors()
        good.next()
        slow = served.connect()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        slow.sendall(LISTEN)
        until(lambda: served.descriptors() > before)
        good.sock.setblocking(False)
        end = time.monotonic() + 20
        while served.descriptors() > before:
            assert time.monotonic() < end, "never dropped"
            served.tell("\n".join(str(pid) for pid in range(1000, 1100)))
            served.tell("network")
            with suppress(BlockingIOError):
                while good.sock.recv(65536):
                    pass
        slow.close()
        assert served.get("/state")["state"] == "active"


def test_who_leaves_is_forgotten_at_once(served: Served) -> None:
    before = served.descriptors()
    for _ in range(40):
        with listening(served) as listener:
            listener.next()
    until(lambda: served.descriptors() == before)


def test_stop_ends_streams_within_a_second_and_says_so() -> None:
    with serve() as served:
        listener = Listener(served)
        listener.next()
        started = time.monotonic()
        served.stop()
        assert time.monotonic() - started < 1
        assert b'"state": "deactivating"' in read_all(listener.sock)
        listener.close()


def test_event_is_one_line_whatever_it_holds(served: Served) -> None:
    with listening(served) as listener:
        listener.next()
        served.config.write_text('apps = ["/a\\nevent: forged\\u2028"]\n')
        served.ask("POST", "/api/v1/apply")
        assert "forged" in listener.until("config")["problems"][0]
        served.config.write_text(CONFIG)
