"""The command line asks the daemon where it runs."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from served import CONFIG, Served, serve, until

from byway_systemd.cli.verbs import build_parser
from byway_systemd.core.errors import (
    BywayError,
    ConfigError,
    NotFoundError,
    NotRunningError,
    RootNeededError,
    UsageError,
)
from byway_systemd.system import client
from byway_systemd.system.host import Host

if TYPE_CHECKING:
    from pathlib import Path


def byway(root: Path, *arguments: str) -> int:
    namespace = build_parser(lambda: "").parse_args(list(arguments))
    return int(namespace.verb.load()(Host(root=root), namespace))


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be nobody for the command line; the daemon goes by the socket."""
    monkeypatch.setattr(os, "geteuid", lambda: 65534)


@pytest.mark.usefixtures("nobody")
def test_add_and_remove(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert byway(served.root, "add", "/usr/bin/wget", "unit:a") == 0
    assert capsys.readouterr().out == "added /usr/bin/wget\nadded unit:a.service\n"
    assert [app["app"] for app in served.get("/api/v1/apps")][1:] == [
        "/usr/bin/wget",
        "unit:a.service",
    ]
    with pytest.raises(UsageError, match=r"^already listed: /usr/bin/wget \("):
        byway(served.root, "add", "/usr/bin/wget")
    assert byway(served.root, "remove", "/usr/bin/wget", "unit:a") == 0
    assert served.config.read_text() == CONFIG
    with pytest.raises(NotFoundError):
        byway(served.root, "remove", "/usr/bin/wget")


def test_add_says_what_keeps_an_app_from_being_selected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warnings = ["/opt/gone: there is no such file", "/opt/gone2: there is no such file"]

    class Answered(Host):
        def ask_daemon(
            self, method: str, target: str, body: object = None
        ) -> tuple[int, dict[str, list[str]]]:
            if method == "POST":
                assert body == {"app": ["/opt/gone"], "profile": "default"}
                return 200, {}
            assert (method, target) == ("GET", "/api/v1/status")
            return 200, {"warnings": warnings}

    namespace = build_parser(lambda: "").parse_args(["add", "/opt/gone"])
    assert namespace.verb.load()(Answered(root=tmp_path), namespace) == 0
    shown = capsys.readouterr()
    assert shown.out == "added /opt/gone\n"
    assert shown.err == "warning: /opt/gone: there is no such file\n"


@pytest.mark.usefixtures("nobody")
def test_errors_are_the_ones_of_the_verb_itself(served: Served) -> None:
    served.config.write_text("apps = 1\ninterfacee = 2\n")
    with pytest.raises(ConfigError) as caught:
        byway(served.root, "add", "/usr/bin/wget")
    assert [problem.line for problem in caught.value.problems] == [1, 2]


@pytest.mark.usefixtures("nobody")
def test_plan_and_apply(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert byway(served.root, "plan") == 0
    assert byway(served.root, "apply") == 0
    assert capsys.readouterr().out == "in sync: nothing to do\n" * 2
    served.config.write_text('interface = "wlan0"\n')
    assert byway(served.root, "apply") == 0
    assert "replace table inet byway  (" in capsys.readouterr().out


@pytest.mark.usefixtures("nobody")
def test_explain(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    template = served.root / "usr/lib/systemd/system/a@.service"
    template.parent.mkdir(parents=True)
    template.touch()
    served.tell("321")
    until(lambda: served.get("/api/v1/explain?pid=321")["verdict"] == "direct")
    assert byway(served.root, "explain", "321") == 0
    assert byway(served.root, "explain", "192.168.1.5") == 0
    assert byway(served.root, "explain", "a@b") == 0
    pid, placed, profile, address, unit = capsys.readouterr().out.splitlines()
    assert pid == "pid 321: direct (it runs the program /usr/bin/curl)"
    assert placed.startswith("  in /byway.slice/")
    assert profile == "  profile default"
    assert address.startswith("192.168.1.5: near (")
    assert unit.startswith("a@b.service: vpn (")
    with pytest.raises(UsageError, match="not a pid"):
        byway(served.root, "explain", "99999999")
    with pytest.raises(NotFoundError, match="no such unit"):
        byway(served.root, "explain", "gone")


@pytest.mark.usefixtures("nobody")
def test_confirm_and_rollback(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="nothing waits"):
        byway(served.root, "confirm")
    served.config.write_text('interface = "wlan0"\n')
    assert byway(served.root, "apply", "--confirm", "600") == 0
    assert "taken back in 600 s unless confirmed (byway confirm)\n" in capsys.readouterr().out
    assert byway(served.root, "confirm") == 0
    served.config.write_text(CONFIG)
    byway(served.root, "apply")
    assert byway(served.root, "rollback") == 0
    assert served.config.read_text() == 'interface = "wlan0"\n'


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("runtime", [(), ("--runtime",)])
def test_mode_on_condition_of_being_confirmed(
    served: Served, capsys: pytest.CaptureFixture[str], runtime: tuple[str, ...]
) -> None:
    """It takes itself back, for the terminal that asked may be cut off by the mode."""
    for verdict in ("confirm", "nothing"):
        seconds = "600" if verdict == "confirm" else "1"
        assert byway(served.root, "mode", "direct", *runtime, "--confirm", seconds) == 0
        told = capsys.readouterr().out
        assert told.startswith("direct: ")
        assert f"taken back in {seconds} s unless confirmed (byway confirm)\n" in told
        assert served.get("/api/v1/traffic/mode")["mode"] == "direct"
        if verdict == "confirm":
            byway(served.root, "confirm")
            byway(served.root, "mode", "bypass")
            capsys.readouterr()
        else:
            until(lambda: served.get("/api/v1/traffic/mode")["mode"] == "bypass")


def test_mode_to_confirm_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"byway mode --confirm 5 NAME"):
        byway(tmp_path, "mode", "--confirm", "5")


@pytest.mark.parametrize("seconds", ["0", "x", "86401", "1_0", "9999999999", "٣"])
def test_odd_times(seconds: str) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser(lambda: "").parse_args(["apply", "--confirm", seconds])
    assert caught.value.code == 2


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("verb", ["add /a", "remove /a", "apply", "plan", "explain 1"])
def test_without_a_daemon_it_needs_root(verb: str, tmp_path: Path) -> None:
    (tmp_path / "etc/byway").mkdir(parents=True)
    (tmp_path / "etc/byway/byway.toml").write_text(CONFIG)
    with pytest.raises(RootNeededError):
        byway(tmp_path, *verb.split())


@pytest.mark.parametrize(
    "verb", ["confirm", "rollback", "apply --confirm 5", "mode direct --confirm 5"]
)
def test_what_only_a_daemon_can_do(verb: str, tmp_path: Path) -> None:
    with pytest.raises((NotRunningError, RootNeededError)):
        byway(tmp_path, *verb.split())


def test_refused_by_the_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    problem = {"detail": "uid 7 may not", "remedy": "use sudo"}
    answers = {"/state": (200, {}), "/api/v1/apps": (403, problem)}
    monkeypatch.setattr(client, "ask", lambda *request: answers[request[2]])
    with pytest.raises(RootNeededError, match=r"uid 7 may not \(use sudo\)"):
        byway(tmp_path, "add", "/a")
    answers["/api/v1/apps"] = (503, problem)
    with pytest.raises(BywayError):
        byway(tmp_path, "add", "/a")


def test_own_file_is_not_the_daemons_business(served: Served, tmp_path: Path) -> None:
    assert Host(tmp_path / "own.toml", served.root).ask_daemon("GET", "/state") is None
    assert Host(None, served.root).ask_daemon("GET", "/state")


def test_wait_tries_every_150_ms_for_15_s(tmp_path: Path) -> None:
    clock = [0.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    assert not client.wait(tmp_path / "none", now=lambda: clock[0], sleep=sleep)
    assert set(slept) == {0.15}
    assert 98 <= len(slept) <= 100


def test_wait_for_a_daemon_that_comes(tmp_path: Path) -> None:
    came: list[bool] = []
    path = tmp_path / "run/byway/byway.sock"
    path.parent.mkdir(parents=True)
    waiting = threading.Thread(target=lambda: came.append(client.wait(path)))
    waiting.start()
    with serve() as served:
        path.symlink_to(served.socket)
        until(lambda: came)
        assert came == [True]
    waiting.join()


def test_daemon_that_does_not_answer(served: Served) -> None:
    served.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(BywayError, match="does not answer"):
            client.ask(served.socket, "GET", "/state", timeout=0.2)
    finally:
        served.process.send_signal(signal.SIGCONT)


def test_editors_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "etc/byway/byway.toml"
    file.parent.mkdir(parents=True)
    file.write_text(CONFIG)

    def edit(_host: Host, text: str) -> str:
        file.write_text(text + "# somebody else\n")
        return text + "# me\n"

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Host, "edit_text", edit)
    with pytest.raises(UsageError, match="changed meanwhile"):
        byway(tmp_path, "config", "edit")
    assert file.read_text() == CONFIG + "# somebody else\n"
    assert (tmp_path / "etc/byway/byway.toml.rejected").read_text() == CONFIG + "# me\n"
