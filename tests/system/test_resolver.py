"""The resolver: what it asks of systemd-resolved, and what it keeps."""

from __future__ import annotations

import base64
import json
import select
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from core.test_hosts import record

from byway_systemd.core.hosts import LONGEST, SHORTEST, UNKNOWN, Answer, Host
from byway_systemd.system.resolver import Resolver, ask_resolved, observe_addresses, read_hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NO_METHOD = {"error": "org.varlink.service.MethodNotFound"}
NXDOMAIN = {"error": "io.systemd.Resolve.DNSError", "parameters": {"rcode": 3}}
SERVFAIL = {"error": "io.systemd.Resolve.DNSError", "parameters": {"rcode": 2}}
NO_RECORD = {"error": "io.systemd.Resolve.NoSuchResourceRecord", "parameters": {}}
NO_SERVERS = {"error": "io.systemd.Resolve.NoNameServers"}
Reply = dict[str, Any] | bytes


@pytest.fixture
def resolved(tmp_path: Path) -> Iterator[Callable[[Callable[[dict[str, Any]], Reply]], str]]:
    """A server of varlink calls; returns the path of its socket."""
    path = str(tmp_path / "resolved")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    threads: list[threading.Thread] = []

    def serve(reply: Callable[[dict[str, Any]], Reply]) -> str:
        def run() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    request = b""
                    while not request.endswith(b"\0"):
                        part = connection.recv(4096)
                        if not part:
                            return
                        request += part
                    said = reply(json.loads(request[:-1]))
                    connection.sendall(
                        said if isinstance(said, bytes) else json.dumps(said).encode() + b"\0"
                    )

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return path

    yield serve
    with socket.socket(socket.AF_UNIX) as last:
        last.connect(path)
    for thread in threads:
        thread.join()
    server.close()


def records(*addresses: str, seconds: int = 300) -> Reply:
    rrs = [{"raw": base64.b64encode(record(a, seconds)).decode()} for a in addresses]
    return {"parameters": {"rrs": rrs, "flags": 1}}


def test_asks_for_both_families(resolved: Any) -> None:
    asked: list[dict[str, Any]] = []

    def reply(request: dict[str, Any]) -> Reply:
        asked.append(request)
        is_ipv4 = request["parameters"]["type"] == 1
        return records("192.0.2.1", seconds=90) if is_ipv4 else records("2001:db8::1", seconds=50)

    assert ask_resolved("a.example", resolved(reply)) == Answer(("192.0.2.1", "2001:db8::1"), 50)
    assert [request["method"] for request in asked] == ["io.systemd.Resolve.ResolveRecord"] * 2
    assert asked[0]["parameters"] == {"name": "a.example", "class": 1, "type": 1}


def test_an_older_one_tells_no_time(resolved: Any) -> None:
    addresses = [
        {"family": 2, "address": [192, 0, 2, 1]},
        {"address": [0] * 15 + [9]},
        {"address": []},
    ]

    def reply(request: dict[str, Any]) -> Reply:
        if request["method"].endswith("ResolveRecord"):
            return NO_METHOD
        return {"parameters": {"addresses": addresses, "name": "a"}}

    assert ask_resolved("a.example", resolved(reply)) == Answer(("192.0.2.1", "::9"), UNKNOWN)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (NXDOMAIN, Answer(())),
        (NO_RECORD, Answer(())),
        (SERVFAIL, None),
        (NO_SERVERS, None),
        (b"", None),
        (b"[]\0", None),
        (b"nonsense\0", None),
    ],
)
def test_no_such_name_is_an_answer_and_not_knowing_is_none(
    resolved: Any, reply: Reply, answer: Answer | None
) -> None:
    assert ask_resolved("a.example", resolved(lambda _: reply)) == answer


def test_without_a_resolver_nobody_knows(tmp_path: Path) -> None:
    assert ask_resolved("a.example", str(tmp_path / "gone")) is None


class Dns:
    """Answers by name, and what was asked."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.answers: dict[str, Answer | None] = {}
        self.asked: list[str] = []

    def ask(self, name: str) -> Answer | None:
        self.asked.append(name)
        return self.answers.get(name)

    def clock(self) -> float:
        return self.now


@pytest.fixture
def dns() -> Dns:
    return Dns()


@pytest.fixture
def resolver(tmp_path: Path, dns: Dns) -> Iterator[Resolver]:
    made = Resolver(tmp_path, dns.ask, dns.clock)
    yield made
    made.close()


def test_keeps_what_it_learns_and_tells(tmp_path: Path, resolver: Resolver, dns: Dns) -> None:
    dns.answers["a"] = Answer(("192.0.2.1",), 100)
    assert resolver.look(("a",)) == dns.now + 100
    assert observe_addresses(tmp_path, ("a", "b")) == (("a", "192.0.2.1/32"),)
    assert resolver.drain()
    assert not resolver.drain()


def test_asks_only_for_what_is_due(resolver: Resolver, dns: Dns) -> None:
    dns.answers = {"a": Answer(("192.0.2.1",), 100), "b": Answer(("192.0.2.2",), 10_000)}
    assert resolver.look(("a", "b")) == dns.now + 100
    dns.now += 100
    assert resolver.look(("a", "b")) == dns.now + 100
    assert dns.asked == ["a", "b", "a"]
    dns.now += LONGEST
    resolver.look(("a", "b"))
    assert dns.asked[3:] == ["a", "b"]


def test_an_equal_answer_wakes_nobody_and_a_new_one_does(resolver: Resolver, dns: Dns) -> None:
    dns.answers["a"] = Answer(("192.0.2.1",), 100)
    resolver.look(("a",))
    resolver.drain()
    dns.now += 100
    resolver.look(("a",))
    assert not resolver.drain()
    dns.answers["a"] = Answer(("192.0.2.9",), 100)
    dns.now += 100
    resolver.look(("a",))
    assert resolver.drain()


def test_the_last_good_answer_outlives_dns_and_a_restart(tmp_path: Path, dns: Dns) -> None:
    dns.answers["a"] = Answer(("192.0.2.1",), 100)
    first = Resolver(tmp_path, dns.ask, dns.clock)
    first.look(("a",))
    first.close()
    dns.answers["a"] = None
    dns.now += 5000
    second = Resolver(tmp_path, dns.ask, dns.clock)
    assert second.look(("a",)) == dns.now + SHORTEST
    assert observe_addresses(tmp_path, ("a",)) == (("a", "192.0.2.1/32"),)
    second.close()


def test_a_clock_that_was_set_back_is_no_reason_to_wait(resolver: Resolver, dns: Dns) -> None:
    dns.answers["a"] = Answer(("192.0.2.1",), 100)
    resolver.look(("a",))
    dns.now -= 10**6
    resolver.look(("a",))
    assert len(dns.asked) == 2


def test_names_that_are_not_wanted_any_more_are_forgotten(
    tmp_path: Path, resolver: Resolver, dns: Dns
) -> None:
    dns.answers = {"a": Answer(("192.0.2.1",)), "b": Answer(("192.0.2.2",))}
    resolver.look(("a", "b"))
    resolver.look(("b",))
    assert [host.name for host in read_hosts(tmp_path)] == ["b"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 1}', '{"a": [1, 2]}', '{"a": [[], "x"]}', '{"a": [["x"], 1]}']
)
def test_a_damaged_file_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "var/lib/byway").mkdir(parents=True)
    (tmp_path / "var/lib/byway/hosts.json").write_text(text)
    assert read_hosts(tmp_path) == ()


def test_the_thread_asks_and_wakes_the_loop(tmp_path: Path) -> None:
    resolver = Resolver(tmp_path, lambda _: Answer(("192.0.2.1",), 100))
    resolver.want(("a",))
    assert select.select([resolver], [], [], 5)[0] == [resolver]
    assert read_hosts(tmp_path)[0].prefixes == ("192.0.2.1/32",)
    resolver.want(("a", "b"))
    assert select.select([resolver], [], [], 5)[0] == [resolver]
    resolver.close()
    assert isinstance(read_hosts(tmp_path)[0], Host)
