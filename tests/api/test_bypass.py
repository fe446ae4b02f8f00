"""The list of bypassed destinations over the API, and by the commands that go through it."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

import pytest
from api.test_cli import byway
from served import CONFIG, GROUP, NOBODY, Served, serve, until

from byway_systemd.core.bypass import HEADING
from byway_systemd.core.errors import NotFoundError, UsageError
from byway_systemd.core.parse import ConfigFile, parse_config

LIST = "var/lib/byway/bypass.list"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")


def destinations(served: Served) -> list[str]:
    """Return the list, which must be in force."""
    found: list[str] = served.get("/bypass")
    wanted = sum(served.get("/api/v1/status")["traffic"]["overrides"]["force_direct"].values())
    assert len(found) == wanted, "what is listed is in force"
    return found


@pytest.mark.parametrize("body", ["203.0.113.7", ["203.0.113.7"], ["203.0.113.7/32"] * 2])
def test_add_again_and_remove(served: Served, body: Any) -> None:
    assert served.get("/bypass") == []
    for _ in range(2):
        added = served.ask("POST", "/bypass", body)
        assert (added.status, added.json["code"], added.json["description"]) == (200, 200, "OK")
        assert destinations(served) == ["203.0.113.7/32"]
    assert (served.root / LIST).read_text() == HEADING + "203.0.113.7/32\n"
    assert served.ask("DELETE", "/bypass/203.0.113.8").status == 404
    assert served.ask("DELETE", "/bypass/203.0.113.7").status == 200
    assert destinations(served) == []
    assert served.ask("DELETE", "/bypass/203.0.113.7").status == 404


def test_replace_and_clear(served: Served) -> None:
    several = ["2001:DB8::/48", "Relay.Example.net.", "198.51.100.0/24"]
    served.ask("POST", "/bypass", several)
    (served.root / LIST).write_text((served.root / LIST).read_text() + "# mine\n")
    assert served.ask("PUT", "/bypass", ["192.0.2.1", "relay.example.net"]).status == 200
    assert destinations(served) == ["relay.example.net", "192.0.2.1/32"]
    assert "# mine" in (served.root / LIST).read_text()
    assert served.ask("DELETE", "/bypass/198.51.100.0%2F24").status == 404
    assert served.ask("DELETE", "/bypass").status == 200
    assert destinations(served) == []
    served.ask("POST", "/bypass", several)
    assert served.ask("PUT", "/bypass", []).status == 200
    assert not (served.root / LIST).exists()


def test_some_are_taken_off_together(served: Served) -> None:
    served.ask("POST", "/bypass", ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
    two = "/bypass?destination=192.0.2.1&destination=192.0.2."
    assert served.ask("DELETE", two + "9").status == 404
    assert len(destinations(served)) == 3
    assert served.ask("DELETE", two + "2").status == 200
    assert destinations(served) == ["192.0.2.3/32"]
    assert served.ask("DELETE", "/bypass?destination=").status == 400
    assert served.ask("DELETE", "/bypass", ["192.0.2.9"]).status == 413, "no mistake clears it"
    assert destinations(served) == ["192.0.2.3/32"]


BAD = [
    "", None, 1, 1.5, True, {}, {"ip": "192.0.2.1"}, [], " ", "0.0.0.0/0", "::/0", "127.0.0.1",
    "127.0.0.0/8", "::1", "224.0.0.1", "ff02::1", "ff00::/8", "::", "localhost",
    "::ffff:192.0.2.1", "192.0.2.1/33", "192.0.2.1/24", "192.0.2", "192.0.2.256", "a b", "a\nb",
    "-x.example", "x" * 64, "\ud800", "192.0.2.1,192.0.2.2", "fe80::1%eth0", "0/0",
    [["192.0.2.1"]],
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: repr(bad)[:30])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_refused_whole_with_the_entry_and_the_cause(shared: Served, method: str, bad: Any) -> None:
    if bad == [] and method == "PUT":
        return
    before = shared.get("/bypass")
    refused = shared.ask(method, "/bypass", json.dumps(bad).encode())
    assert (refused.status, bool(refused.json["remedy"])) == (400, True)
    refused = shared.ask(method, "/bypass", json.dumps(["192.0.2.1", bad, "192.0.2.2"]).encode())
    assert (refused.status, refused.json["key"]) == (400, "body[1]")
    assert len(refused.json["problems"]) == 1
    assert shared.get("/bypass") == before


def test_everything_that_is_wrong_is_named(shared: Served) -> None:
    refused = shared.ask("POST", "/bypass", ["127.0.0.1", "192.0.2.1", None, ""])
    assert [(p["key"], p["message"]) for p in refused.json["problems"]] == [
        ("body[0]", "never leaves by any link: '127.0.0.1'"),
        ("body[2]", "not a text: null"),
        ("body[3]", "empty: ''"),
    ]
    assert len(shared.ask("POST", "/bypass", ["x y"] * 1000).json["problems"]) == 20


@pytest.mark.parametrize(
    "body",
    [b"", b"[", b'["192.0.2.1"', b'["192.0.2.1",]', b'["192.0.2.1" "192.0.2.2"]', b"[,]", b"\xff",
     b'["192.0.2.1"] x', b"[" * 100_000, b'"192.0.2.1" 1', b"[NaN]", b'["192.0.2.1"]]'],
)  # fmt: skip
def test_body_that_is_no_json(shared: Served, body: bytes) -> None:
    refused = shared.ask("POST", "/bypass", body)
    assert (refused.status, refused.json["key"][:4]) == (400, "body")
    assert shared.get("/bypass") == []


def test_white_space_of_json(served: Served) -> None:
    assert served.ask("POST", "/bypass", b' [ "192.0.2.1" ,\r\n\t"192.0.2.2" ] \n').status == 200
    assert len(destinations(served)) == 2
    assert served.ask("PUT", "/bypass", b" [ ] ").status == 200
    assert destinations(served) == []


def test_what_the_configuration_forces_the_other_way(served: Served) -> None:
    served.put("/api/v1/config", CONFIG + '[traffic.force_vpn]\ndestinations = ["192.0.2.7"]\n')
    refused = served.ask("POST", "/bypass", ["192.0.2.1", "192.0.2.7"])
    assert refused.status == 400
    assert "forced both ways: '192.0.2.7/32'" in refused.json["detail"]
    assert served.get("/bypass") == []


def test_configured_destinations_are_not_of_the_list(served: Served) -> None:
    served.put("/api/v1/config", CONFIG + '[traffic]\nbypass = ["192.0.2.7"]\n')
    assert served.get("/bypass") == []
    assert served.ask("DELETE", "/bypass/192.0.2.7").status == 404


def test_dry_run_confirm_and_tags(served: Served) -> None:
    dry = served.ask("POST", "/bypass?dry_run=1", "192.0.2.1")
    assert dry.json["plan"]
    assert destinations(served) == []
    tag = served.ask("GET", "/bypass").headers["ETag"]
    first = served.ask("POST", "/bypass?confirm=1", "192.0.2.1", {"If-Match": tag})
    assert (first.status, first.json["unconfirmed"]) == (200, 1)
    assert first.json["applied"] == dry.json["plan"]
    assert served.ask("PUT", "/bypass", [], {"If-Match": tag}).status == 412
    remembered = json.loads((served.root / "var/lib/byway/unconfirmed.json").read_text())
    assert remembered["texts"][f"/{LIST}"] == ""
    until(lambda: not (served.root / LIST).exists())
    until(lambda: destinations(served) == [])
    served.ask("POST", "/bypass", "192.0.2.2")
    assert served.ask("POST", "/api/v1/rollback").status == 200
    assert destinations(served) == []


def test_stop_takes_back_what_is_not_confirmed() -> None:
    with serve() as served:
        served.ask("POST", "/bypass", "192.0.2.1")
        served.ask("DELETE", "/bypass?confirm=600")
        served.stop()
        assert (served.root / LIST).read_text() == HEADING + "192.0.2.1/32\n"


def test_damaged_list(served: Served) -> None:
    served.ask("POST", "/bypass", "192.0.2.1")
    (served.root / LIST).write_text("192.0.2.1\nx y\n")
    shown = served.ask("GET", "/bypass")
    assert (shown.status, "damaged" in shown.json["detail"]) == (409, True)
    refused = served.ask("POST", "/bypass", "192.0.2.2")
    assert refused.json["problems"][0]["line"] == 2
    assert served.ask("DELETE", "/bypass").status == 200
    assert destinations(served) == []


@as_root
def test_who_may_write(served: Served) -> None:
    url = "http://localhost/bypass"
    assert served.curl("-d", '"192.0.2.1"', url, uid=NOBODY).status == 403
    assert served.curl("-X", "DELETE", url, uid=NOBODY).status == 403
    assert served.curl("-X", "DELETE", f"{url}/192.0.2.1", uid=NOBODY).status == 403
    assert served.curl(url, uid=NOBODY).json == []
    assert served.curl("-d", '"192.0.2.1"', url, uid=NOBODY, groups=f"1,{GROUP}").status == 200
    assert served.curl(url, uid=NOBODY).json == ["192.0.2.1/32"]


def test_large_list_leaves_the_loop_its_turn(served: Served) -> None:
    """A body near the limit that is refused at its end; meanwhile others are answered."""
    many = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(400_000)]
    body = json.dumps([*many, "x y"]).encode()
    assert 6_000_000 < len(body) < 8 * 1024 * 1024
    answers: list[Any] = []
    writer = threading.Thread(target=lambda: answers.append(served.ask("POST", "/bypass", body)))
    writer.start()
    waits = []
    while writer.is_alive():
        start = time.monotonic()
        served.get("/state")
        waits.append(time.monotonic() - start)
    assert (answers[0].status, answers[0].json["key"]) == (400, "body[400000]")
    assert len(waits) > 10
    assert sorted(waits)[len(waits) // 2] < 0.3
    head = b"POST /bypass HTTP/1.1\r\nHost: x\r\nContent-Length: 8388609\r\n\r\n"
    assert served.send(head).startswith(b"HTTP/1.1 413 ")
    assert "200000 lines" in served.ask("POST", "/bypass", many).json["detail"]
    assert served.get("/bypass") == []


def test_many_destinations(served: Served) -> None:
    many = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(2, 20_002)]
    assert served.ask("POST", "/bypass", many).status == 200
    assert len(destinations(served)) == 20_000
    assert served.ask("PUT", "/bypass", many[:3]).status == 200
    assert destinations(served) == [f"{value}/32" for value in many[:3]]


def test_commands_go_through_the_daemon(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert byway(served.root, "bypass", "add", "192.0.2.1, Relay.example", "2001:db8::/48") == 0
    byway(served.root, "bypass", "add", "192.0.2.1")
    assert capsys.readouterr() == (
        "added 192.0.2.1/32\nadded relay.example\nadded 2001:db8::/48\n"
        "in the list already: 192.0.2.1/32\n",
        "",
    )
    assert len(destinations(served)) == 3
    with pytest.raises(UsageError, match="never leaves"):
        byway(served.root, "bypass", "add", "::1")
    with pytest.raises(NotFoundError, match=r"not in the list: 192\.0\.2\.9/32"):
        byway(served.root, "bypass", "remove", "192.0.2.1", "192.0.2.9")
    assert byway(served.root, "bypass", "remove", "192.0.2.1", "relay.example") == 0
    assert destinations(served) == ["2001:db8::/48"]
    many = [f"192.0.2.{n}" for n in range(1, 120)]
    byway(served.root, "bypass", "add", *many)
    with pytest.raises(NotFoundError):
        byway(served.root, "bypass", "remove", *many, "192.0.2.200")
    assert len(destinations(served)) == 120
    byway(served.root, "bypass", "remove", *many)
    assert destinations(served) == ["2001:db8::/48"]
    assert byway(served.root, "bypass", "clear") == 0
    assert destinations(served) == []


def test_what_was_looked_at_is_not_read_again() -> None:
    """What a change has checked in a thread costs the loop nothing when it is put in force."""
    text = "".join(f"10.0.{n >> 8}.{n & 255}\n" for n in range(1000))

    def files() -> tuple[ConfigFile, ...]:
        return ConfigFile("main", ""), ConfigFile("list", "".join(list(text)), is_list=True)

    assert parse_config(files()) is parse_config(files())
