"""HTTP/1.1 on the socket: what is answered, what is refused, and that nothing waits for ever."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from served import NOBODY, Answer, Served, UnixConnection, read_all, serve, until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
GET = b"GET /state HTTP/1.1\r\nHost: x\r\n\r\n"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def problem_of(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    problem: dict[str, object] = json.loads(body)
    assert set(problem) >= {"type", "title", "status", "detail", "key", "remedy"}
    assert problem["status"] == status_of(answer)
    return problem


def test_curl_and_http_client(shared: Served) -> None:
    by_curl = shared.curl("http://localhost/state")
    assert by_curl.status == 200
    assert by_curl.json["state"] == "active"
    assert shared.get("/state") == by_curl.json


def test_one_connection_many_requests(shared: Served) -> None:
    connection = UnixConnection(shared.socket)
    for _ in range(50):
        connection.request("GET", "/state")
        assert connection.getresponse().read()
    connection.close()


def test_pipelined(shared: Served) -> None:
    last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert shared.send(GET * 20 + last).count(b"HTTP/1.1 200") == 21


def test_head_is_get_without_a_body(shared: Served) -> None:
    full = shared.ask("GET", "/state")
    head = shared.ask("HEAD", "/state")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == full.headers["Content-Length"]


def test_options_and_405_say_what_is_allowed(shared: Served) -> None:
    allowed = shared.ask("OPTIONS", "/state")
    assert (allowed.status, allowed.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
    assert shared.ask("OPTIONS", "*").status == 204
    assert shared.ask("OPTIONS", "/nowhere").status == 404
    refused = shared.ask("DELETE", "/state")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert refused.json["key"] == "method"


@pytest.mark.parametrize("target", ["/", "/nowhere", "/state/", "/%73tate/x", "//state"])
def test_404(shared: Served, target: str) -> None:
    refused = shared.ask("GET", target)
    assert refused.status == 404
    assert refused.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("target", ["/%73tate", "http://localhost/state"])
def test_other_ways_to_write_a_target(shared: Served, target: str) -> None:
    assert shared.get(target)["state"] == "active"


def test_unknown_parameter(shared: Served) -> None:
    refused = shared.ask("GET", "/state?verbose=1")
    assert (refused.status, refused.json["key"]) == (400, "verbose")


BAD = {
    "no HTTP": b"hello\r\n\r\n",
    "no Host": b"GET /state HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /state HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "binary": bytes(range(256)) + b"\r\n\r\n",
    "a space in a name": b"GET /state HTTP/1.1\r\nHost : x\r\n\r\n",
    "NUL": b"GET /state HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
    "two lengths": b"GET /state HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\n",
    "a length of two": b"GET /state HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n",
    "a negative length": b"GET /state HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a length that is none": b"GET /state HTTP/1.1\r\nHost: x\r\nContent-Length: 1_0\r\n\r\n",
    "length and chunks": b"GET /state HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": b"GET /state HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    "bad chunk": b"GET /state HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "bad percent": b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    "many parameters": b"GET /state?" + b"a&" * 100 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_bad_requests_are_400(shared: Served, data: bytes) -> None:
    answer = shared.send(data)
    assert status_of(answer) == 400
    problem_of(answer)
    assert answer.count(b"HTTP/1.1 4") == 1, "nothing is read after it"


def test_large_headers_are_431(shared: Served) -> None:
    answer = shared.send(b"GET /state HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000 + b"\r\n\r\n")
    assert status_of(answer) == 431
    problem_of(answer)


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 999999999\r\n\r\n", b"Content-Length: 99999999999999\r\n\r\n",
     b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
)  # fmt: skip
def test_body_that_nobody_wants_is_413(shared: Served, framing: bytes) -> None:
    answer = shared.send(b"GET /state HTTP/1.1\r\nHost: x\r\n" + framing)
    assert status_of(answer) == 413
    assert problem_of(answer)["key"] == "body"


def test_who_still_sends_reads_why_it_is_refused(shared: Served) -> None:
    with shared.connect() as sock:
        sock.sendall(b"GET /state HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
        with suppress(ConnectionError):
            sock.sendall(b"x" * 9_000_000)
        assert status_of(read_all(sock)) == 413


def test_http_1_0(shared: Served) -> None:
    answer = shared.send(b"GET /state HTTP/1.0\r\n\r\n")
    assert status_of(answer) == 200
    assert b"onnection: close" in answer


def test_connect_and_upgrade_are_not_followed(shared: Served) -> None:
    assert status_of(shared.send(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")) == 404
    upgrade = b"GET /state HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert status_of(shared.send(upgrade)) == 200


def test_slow_clients_are_not_waited_for() -> None:
    with serve(idle=0.3, head=0.3, body=0.3) as served:
        with served.connect() as silent, served.connect() as slow:
            slow.sendall(b"GET /sta")
            started = time.monotonic()
            assert read_all(silent) == b""
            assert status_of(read_all(slow)) == 408
            assert time.monotonic() - started < 3
        with served.connect() as drip:
            drip.sendall(b"GET /sta")
            for _ in range(40):  # a byte now and then does not buy more time
                with suppress(ConnectionError):
                    drip.sendall(b"a")
                time.sleep(0.02)
            assert status_of(read_all(drip)) == 408


def test_who_does_not_read_is_dropped() -> None:
    with serve(send=0.3) as served:
        before = served.descriptors()
        with served.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            sock.settimeout(0.5)
            with suppress(ConnectionError, TimeoutError):
                for _ in range(2000):
                    sock.sendall(GET * 20)
            until(lambda: served.descriptors() == before)
        assert served.get("/state")


def test_65th_connection_is_told_so() -> None:
    with serve() as served:
        before = served.descriptors()
        held = [served.connect() for _ in range(64)]
        until(lambda: served.descriptors() >= before + 64)
        over = served.connect()
        assert status_of(read_all(over)) == 503
        over.close()
        for sock in held:
            sock.sendall(GET)
            assert sock.recv(12) == b"HTTP/1.1 200"
            sock.close()
        until(lambda: served.descriptors() == before)
        assert served.get("/state")


HOLD = """
import select, socket, sys
held = [socket.socket(socket.AF_UNIX) for _ in range(80)]
for sock in held:
    sock.connect(sys.argv[1])
answers = []
while len(answers) < 80 - 32:
    for sock in select.select(held, [], [])[0]:
        answers.append(sock.recv(12))
        held.remove(sock)
print(len(held), len(answers), set(answers), flush=True)
sys.stdin.read()
"""


@as_root
def test_nobody_keeps_root_out() -> None:
    """One user gets half of the connections, and some are root's."""
    who = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with (
        serve() as served,
        subprocess.Popen(
            [*who, "/usr/bin/python3", "-I", "-c", HOLD, str(served.socket)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as nobody,
    ):  # fmt: skip
        assert nobody.stdin
        assert nobody.stdout
        assert nobody.stdout.readline() == "32 48 {b'HTTP/1.1 503'}\n"
        assert served.get("/state")
        nobody.stdin.close()


def test_many_clients_at_once(shared: Served) -> None:
    def ask(_: int) -> Answer:
        return shared.ask("GET", "/state")

    with ThreadPoolExecutor(32) as pool:
        assert {answer.status for answer in pool.map(ask, range(400))} == {200}


def test_stop_ends_connections_within_a_second() -> None:
    with serve() as served:
        idle = served.connect()
        begun = served.connect()
        begun.sendall(b"GET /state HTTP/1.1\r\n")
        served.get("/state")
        started = time.monotonic()
        served.stop()
        assert time.monotonic() - started < 1
        assert read_all(idle) == b""
        assert read_all(begun) == b""
        idle.close()
        begun.close()


def test_without_a_descriptor_left_it_waits_and_goes_on() -> None:
    with serve() as served:
        served.get("/state")
        process = served.process.pid
        before = resource.prlimit(process, resource.RLIMIT_NOFILE)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (served.descriptors(), before[1]))
        with served.connect() as waiting:
            waiting.sendall(GET)
            used = _processor_time(process)
            time.sleep(0.5)
            assert _processor_time(process) - used < 0.2, "it does not try all the time"
            resource.prlimit(process, resource.RLIMIT_NOFILE, before)
            assert waiting.recv(12) == b"HTTP/1.1 200"


def _processor_time(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_serves_is_not_loaded_before_somebody_comes() -> None:
    code = "import sys, byway_systemd.daemon; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert "asyncio" in done.stdout.split()
    assert not {"h11", "jeepney", "tomlkit", "jinja2", "pyroute2"} & set(done.stdout.split())


@as_root
def test_expectation_is_met_only_where_the_body_is_wanted(served: Served) -> None:
    head = b"PUT /api/v1/config?dry_run=1 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    with served.connect() as sock:
        sock.sendall(head + b"Content-Length: 2\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"#\n")
        assert sock.recv(12) == b"HTTP/1.1 200"
    assert served.send(head + b"Content-Length: 9000000\r\n\r\n").startswith(b"HTTP/1.1 413 ")
