"""byway mode and byway bypass, on the files below a root of their own."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from worlds import laptop

from byway_systemd.cli.show import _write_status as write_status
from byway_systemd.cli.verbs import build_parser
from byway_systemd.core.bypass import HEADING, add_destinations, remove_destinations
from byway_systemd.core.config import Config, Profile
from byway_systemd.core.desired import desire
from byway_systemd.core.edit import set_mode
from byway_systemd.core.errors import (
    BywayError,
    ConfigError,
    NotFoundError,
    RootNeededError,
    UsageError,
)
from byway_systemd.core.status import build_status
from byway_systemd.core.traffic import Mode, Overrides, Traffic, Users
from byway_systemd.system.files import BYPASS_LIST, CONFIG, RUNTIME_MODE
from byway_systemd.system.host import Host

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def root_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path, CONFIG, 'interface = "wwan0" # the modem\n')
    return tmp_path


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)


def run(root: Path, *words: str, config: Path | None = None) -> int:
    namespace = build_parser(lambda: "").parse_args(words)
    return int(namespace.verb.load()(Host(config, root), namespace))


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_mode_shows_what_is_configured(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "mode") == 0
    assert shown(capsys)[0].startswith("bypass: ")
    run(root, "mode", "--json=short")
    assert json.loads(shown(capsys)[0])["mode"] == "bypass"


def test_mode_is_written_into_the_main_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "mode", "selective") == 0
    text = (root / CONFIG).read_text()
    assert text == 'interface = "wwan0" # the modem\n\n[traffic]\nmode = "selective"\n'
    run(root, "mode", "direct")
    assert (root / CONFIG).read_text() == text.replace("selective", "direct")
    assert Host(None, root).config().traffic.mode == "direct"
    captured = capsys.readouterr()
    assert "direct: everything direct" in captured.out
    assert "at the next start" in captured.err


def test_runtime_mode_wins_until_a_lasting_one_is_set(root: Path) -> None:
    put(root, "etc/byway/conf.d/90-mine.toml", '[traffic]\nbypass = ["192.0.2.1"]\n')
    run(root, "mode", "full_tunnel", "--runtime")
    assert (root / RUNTIME_MODE).exists()
    assert "traffic" not in (root / CONFIG).read_text()
    assert Host(None, root).config().traffic.mode == "full_tunnel"
    run(root, "mode", "selective")
    assert not (root / RUNTIME_MODE).exists()
    assert Host(None, root).config().traffic.mode == "selective"


def test_mode_that_would_not_count_is_refused(root: Path) -> None:
    put(root, "etc/byway/conf.d/90-mine.toml", '[traffic]\nmode = "direct"\n')
    before = (root / CONFIG).read_text()
    with pytest.raises(UsageError, match=r"90-mine.toml sets the mode to .direct"):
        run(root, "mode", "selective")
    assert (root / CONFIG).read_text() == before
    run(root, "mode", "selective", "--runtime")
    assert Host(None, root).config().traffic.mode == "selective"


@pytest.mark.parametrize(
    "text", ["apps = [", "traffic = 3\n", '[traffic]\nmode = "x"\nbypass = 7\n', "apps = 7\n"]
)
def test_mode_changes_no_bad_file(root: Path, text: str) -> None:
    put(root, CONFIG, text)
    with pytest.raises(BywayError):
        run(root, "mode", "selective")
    with pytest.raises(BywayError):
        run(root, "mode", "selective", "--runtime")
    assert (root / CONFIG).read_text() == text
    assert not (root / RUNTIME_MODE).exists()


def test_mode_with_a_file_of_ones_own(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    put(tmp_path, "own.toml", "")
    run(root, "mode", "direct", config=own)
    assert own.read_text() == '[traffic]\nmode = "direct"\n'
    with pytest.raises(UsageError, match="etc/byway"):
        run(root, "mode", "direct", "--runtime", config=own)
    with pytest.raises(UsageError, match="etc/byway"):
        run(root, "bypass", "add", "192.0.2.1", config=own)


def test_set_mode_keeps_places_and_comments() -> None:
    text = '[traffic] # all else\n# why\nmode = "direct" # for now\nbypass = []\r\n'
    assert set_mode(text, "bypass") == text.replace('"direct"', '"bypass"')
    assert set_mode("a = 1\r\n", "direct") == 'a = 1\r\n\r\n[traffic]\r\nmode = "direct"\r\n'
    assert set_mode("traffic.bypass = []\n", "direct").count("traffic") == 2


def test_bypass_adds_lists_removes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(root, CONFIG, '[traffic]\nbypass = ["198.51.100.0/24"]\n')
    run(root, "bypass", "add", "192.0.2.1, 2001:DB8::/48", "Relay.Example", "192.0.2.1/32")
    assert (root / BYPASS_LIST).read_text() == (
        HEADING + "192.0.2.1/32\n2001:db8::/48\nrelay.example\n"
    )
    run(root, "bypass", "add", "192.0.2.1")
    capsys.readouterr()
    run(root, "bypass", "list")
    assert shown(capsys) == [
        "198.51.100.0/24  (configuration)", "192.0.2.1/32", "2001:db8::/48", "relay.example",
    ]  # fmt: skip
    run(root, "bypass", "remove", "192.0.2.1", "relay.example.")
    assert (root / BYPASS_LIST).read_text() == HEADING + "2001:db8::/48\n"
    run(root, "bypass", "clear")
    assert not (root / BYPASS_LIST).exists()
    capsys.readouterr()
    run(root, "bypass", "list", "--json=short")
    assert json.loads(shown(capsys)[0]) == [
        {"destination": "198.51.100.0/24", "source": "configuration"}
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("add", "192.0.2.9", "x y"), UsageError),
        (("add", ""), UsageError),
        (("add", "10.0.0.1/8"), UsageError),
        (("add", "192.0.2.77"), ConfigError),  # the configuration forces it to the VPN
        (("remove", "192.0.2.1", "192.0.2.9"), NotFoundError),
        (("remove", "198.51.100.0/24"), NotFoundError),
    ],
)
def test_bypass_refuses_whole(root: Path, words: tuple[str, ...], error: type[Exception]) -> None:
    put(root, CONFIG, '[traffic.force_vpn]\ndestinations = ["192.0.2.77"]\n')
    run(root, "bypass", "add", "192.0.2.1")
    before = (root / BYPASS_LIST).read_text()
    with pytest.raises(error):
        run(root, "bypass", *words)
    assert (root / BYPASS_LIST).read_text() == before


def test_a_damaged_list_is_an_error_with_its_line(root: Path) -> None:
    put(root, BYPASS_LIST, "192.0.2.1\nx y\n")
    with pytest.raises(ConfigError, match=r"/var/lib/byway/bypass.list:2: "):
        Host(None, root).config()


def test_only_root_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for words in (("mode", "direct"), ("bypass", "add", "192.0.2.1"), ("bypass", "clear")):
        with pytest.raises(RootNeededError):
            run(root, *words)
    with suppress(ConfigError):  # of a file that is not this user's
        run(root, "mode")


def test_status_says_the_mode_unless_there_is_nothing_to_say(
    capsys: pytest.CaptureFixture[str],
) -> None:
    observed = laptop()
    for traffic, line in (
        (Traffic(), ""),
        (Traffic(Mode.FULL_TUNNEL), "mode full_tunnel, VPN wg0 (up)"),
        (
            Traffic(Mode.SELECTIVE, "tun9", force_vpn=Overrides(uids=(Users(5, 5),))),
            "mode selective, VPN tun9 (down, block), 1 override",
        ),
        (
            Traffic(force_direct=Overrides(destinations=("192.0.2.1/32", "192.0.2.2/32"))),
            "mode bypass, 2 bypass routes",
        ),
    ):
        desired = desire(Config(profiles=(Profile(interface="wwan0"),), traffic=traffic))
        status = build_status(desired, observed, ())
        write_status({"version": "1", "daemon": {"running": True}, **status})
        shown = capsys.readouterr().out.splitlines()
        assert [text for text in shown if text.startswith("mode ")] == [line][: bool(line)]


def test_comments_of_the_list_stay() -> None:
    text = "# mine\n192.0.2.1 # one\n\n192.0.2.2"
    added, new = add_destinations(text, ("192.0.2.1/32", "192.0.2.3/32"))
    assert (added, new) == (f"{text}\n192.0.2.3/32\n", ("192.0.2.3/32",))
    assert remove_destinations(added, ("192.0.2.1/32",)) == "# mine\n\n192.0.2.2\n192.0.2.3/32\n"
