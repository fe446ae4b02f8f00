"""What the page's server serves, how it ends, and that nobody can make it wait."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from page_served import Page, serve_page
from raw_requests import make_raw
from served import Served, read_all, serve, until

from byway_systemd.ui.files import PAGE, read_page

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_the_pages_files_and_no_others(opened: Page) -> None:
    for file in PAGE.iterdir():
        answer = opened.read("/" if file.name == "index.html" else f"/{file.name}")
        if file.suffix == ".json":  # Cockpit's
            assert answer.status == 404
        else:
            assert (answer.status, answer.body) == (200, file.read_bytes())
    kinds = {path: answer.headers["Content-Type"] for path, answer in read_page().items()}
    assert kinds["/transport.js"] == "text/javascript; charset=utf-8"
    for target in ("/../message.py", "/%2e%2e/message.py", "//etc/passwd", "/page", "/stateless"):
        assert opened.read(target).status == 404


def test_what_is_the_daemons_is_passed_on(daemon: Served, opened: Page) -> None:
    for target in ("/state", "/bypass", "/openapi.json", "/api/v1/status", "/api/v1/explain?pid=x"):
        theirs, ours = daemon.ask("GET", target), opened.read(target)
        assert (ours.status, ours.body) == (theirs.status, theirs.body)
        assert ours.headers["Content-Type"] == theirs.headers["Content-Type"]
    theirs, ours = daemon.ask("GET", "/api/v1/config"), opened.read("/api/v1/config")
    assert ours.headers["ETag"] == theirs.headers["ETag"]
    head = opened.ask("HEAD", "/state", headers=opened.cookie)
    assert (head.status, head.body) == (200, b"")
    unchanged = {**opened.cookie, "If-None-Match": ours.headers["ETag"]}
    assert opened.ask("GET", "/api/v1/config", headers=unchanged).status == 304


def test_requests_follow_each_other_on_a_connection(opened: Page) -> None:
    with opened.connect() as sock:
        sock.sendall(opened.head() * 2 + opened.head("GET", "/nothing", "Connection: close"))
        answers = read_all(sock)
    assert [answers.count(f" {status} ".encode()) for status in (200, 404)] == [2, 1]


def test_events_are_passed_on_as_they_happen(daemon: Served, opened: Page) -> None:
    with opened.connect() as sock:
        sock.sendall(opened.head("GET", "/events"))
        until_contains(sock, b"event: state")
        daemon.put("/api/v1/config", daemon.config.read_text() + "# changed\n")
        until_contains(sock, b"event: ")
    until(lambda: streams(daemon) == 0)  # who leaves is not served any more


def streams(daemon: Served) -> int:
    """Return how many connections to the daemon are open."""
    path = str(daemon.socket)
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(path) and line.split()[5] == "03" for line in lines)


def until_contains(sock: socket.socket, wanted: bytes) -> bytes:
    found = b""
    while wanted not in found:
        part = sock.recv(65536)
        assert part, found
        found += part
    return found


@pytest.fixture
def alone() -> Iterator[Served]:
    """Run a daemon for one test."""
    with serve() as served:
        yield served


def test_a_daemon_that_is_down_is_told_from_one_that_refuses(alone: Served) -> None:
    with serve_page(alone.root) as page:
        page.enter()
        assert page.read("/state").status == 200
        alone.stop()
        down = page.read("/state")
        assert (down.status, down.headers["Content-Type"]) == (502, "application/problem+json")
        assert "systemctl start byway" in down.json["remedy"]
        alone.socket.unlink()
        assert page.read("/state").json["detail"].endswith("No such file or directory")
        assert page.read("/transport.js").status == 200


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\n", b"\0\xff" * 99, b"HTTP/1.1 100 X\r\n\r\n"]
)
def test_a_daemon_that_talks_nonsense(tmp_path: Path, said: bytes) -> None:
    with daemon_that_says(tmp_path, said) as listener, serve_page(tmp_path) as page:
        page.enter()
        with page.connect() as sock:
            sock.sendall(page.head("GET", "/state", "Connection: close"))
            theirs, _ = listener.accept()
            theirs.recv(65536)
            theirs.sendall(said)
            theirs.close()
            assert b" 502 " in read_all(sock)


def test_a_daemon_that_hangs(tmp_path: Path) -> None:
    with daemon_that_says(tmp_path, b""), serve_page(tmp_path, answer=0.2) as page:
        page.enter()
        assert page.read("/state").status == 504


def test_an_answer_that_is_cut_off_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{}"
    with daemon_that_says(tmp_path, head) as listener, serve_page(tmp_path) as page:
        page.enter()
        with page.connect() as sock:
            sock.sendall(page.head("GET", "/state"))
            theirs, _ = listener.accept()
            theirs.recv(65536)
            theirs.sendall(head)
            theirs.close()
            answer = read_all(sock)
    assert b"content-length: 99" in answer.lower()  # and 2 bytes: every client tells


def daemon_that_says(root: Path, said: bytes) -> socket.socket:
    """Return a socket that listens where the daemon would."""
    for folder in (root, *root.parents[:2]):
        folder.chmod(0o755)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    (root / "run/byway").mkdir(parents=True)
    with ExitStack() as stack:  # a socket's path has 107 bytes at most
        here = os.open(".", os.O_RDONLY)
        stack.callback(os.close, here)
        stack.callback(os.fchdir, here)
        os.chdir(root)
        listener.bind("run/byway/byway.sock")
    (root / "run/byway/byway.sock").chmod(0o666)
    listener.listen()
    return listener


def test_too_much_is_refused(opened: Page) -> None:
    large = opened.head(
        "PUT", "/api/v1/config", f"Origin: http://{opened.host}", "Content-Length: 8388609"
    )
    assert b" 413 " in opened.send(large)
    assert b" 431 " in opened.send(opened.head("GET", "/state", "A: " + "a" * 200000))
    chunked = opened.head("PUT", "/api/v1/config", "Transfer-Encoding: chunked")
    assert b" 413 " in opened.send(chunked + (b"100000\r\n" + b"a" * 0x100000 + b"\r\n") * 9)


def test_who_is_slow_is_not_waited_for(daemon: Served) -> None:
    with serve_page(daemon.root, between=0.3, head=0.3, body=0.3) as page:
        page.enter()
        assert page.send(b"") == b""  # nothing at all
        assert b" 408 " in page.send(b"GET / HT")
        slow = page.head("PUT", "/api/v1/config", "Content-Length: 10")
        assert b" 408 " in page.send(slow + b"a")


def test_who_does_not_read_is_not_waited_for(daemon: Served) -> None:
    with serve_page(daemon.root, send=0.3) as page:
        page.enter()
        with page.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(0.2)
            many = page.head("GET", "/transport.js") * 100000
            with pytest.raises((TimeoutError, ConnectionError)):
                sock.sendall(many)  # until it does not take any more either
            sock.settimeout(10)
            until(lambda: len(descriptors(page)) == before_any(page))


def descriptors(page: Page) -> list[str]:
    """Return the sockets the server has open."""
    links = []
    for entry in Path(f"/proc/{page.process.pid}/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:  # closed meanwhile
            continue
    return [link for link in links if link.startswith("socket:")]


def before_any(_page: Page) -> int:
    """Return how many there are without connections: the listener, and the loop's own pair."""
    return 3


def test_no_more_than_32_connections(opened: Page) -> None:
    with ExitStack() as stack:
        for _ in range(32):
            sock = stack.enter_context(opened.connect())
            sock.sendall(opened.head())
            until_contains(sock, b" 200 ")
        with opened.connect() as late:
            assert b" 503 " in read_all(late)
    until(lambda: opened_again(opened))


def opened_again(page: Page) -> bool:
    return page.read("/state").status == 200


def test_any_bytes_are_answered_or_refused(opened: Page) -> None:
    chosen = random.Random(7)  # noqa: S311 - the same at every run
    for _ in range(80):
        data = make_raw(chosen)
        with opened.connect() as sock:
            sock.settimeout(0.02)
            try:
                sock.sendall(data)
                answer = sock.recv(65536)
            except (TimeoutError, ConnectionError):
                continue
            assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 100")), (data, answer)
    assert opened.read("/state").status == 200


def test_it_ends_when_nobody_needs_it(daemon: Served) -> None:
    with serve_page(daemon.root, "--idle", "1") as page:
        page.enter()
        with page.connect() as sock:
            sock.sendall(page.head("GET", "/events"))
            until_contains(sock, b"event: state")
            with pytest.raises(Exception, match="timed out"):
                page.process.wait(1.8)  # a page that is open needs it
        started = time.monotonic()
        assert page.ended() == 0
        assert time.monotonic() - started > 0.5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_at_once_when_told(daemon: Served, number: int) -> None:
    with serve_page(daemon.root) as page:
        page.enter()
        with page.connect() as stream, page.connect() as silent, page.connect() as half:
            stream.sendall(page.head("GET", "/events"))
            until_contains(stream, b"event: state")
            half.sendall(b"GET / HT")
            started = time.monotonic()
            page.process.send_signal(number)
            assert page.ended() == 0
            assert time.monotonic() - started < 1
            assert silent.recv(1) == b""


def test_a_port_of_ones_own(daemon: Served) -> None:
    with serve_page(daemon.root) as page:
        taken = str(page.port)
        with (
            pytest.raises(AssertionError, match="cannot listen"),
            serve_page(daemon.root, "--port", taken),
        ):
            pass
    with serve_page(daemon.root, "--port", taken) as page:
        assert page.port == int(taken)


@pytest.mark.parametrize("screen", ["DISPLAY", "WAYLAND_DISPLAY", ""])
def test_the_browser_is_opened_where_there_is_a_screen(
    daemon: Served, tmp_path: Path, screen: str
) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    opened = tmp_path / "opened"
    opened.touch()
    opened.chmod(0o666)
    program = tmp_path / "xdg-open"
    program.write_text(f'#!/bin/sh\necho "$1" >>{opened}\n')
    program.chmod(0o755)
    desktop = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with serve_page(daemon.root, desktop=desktop | ({screen: ":7"} if screen else {})) as page:
        if screen:
            until(lambda: opened.read_text() == f"{page.url}\n")
        assert page.enter().status == 303
    assert bool(opened.read_text()) == bool(screen)


def test_the_manifest_is_one() -> None:
    manifest = json.loads((PAGE / "manifest.json").read_text())
    assert set(manifest) == {"version", "requires", "conditions", "tools"}
    assert (PAGE / manifest["tools"]["index"]["path"]).suffix == ".html"
