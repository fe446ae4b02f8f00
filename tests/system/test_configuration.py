"""The configuration's files, seen and written for the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.errors import ConfigError
from byway_systemd.system.configuration import Configuration

if TYPE_CHECKING:
    from pathlib import Path


MAIN, LIST = "/etc/byway/byway.toml", "/var/lib/byway/bypass.list"
CACHE = "/run/byway/routes.json"
MODE, DIRECT = "/run/byway/conf.d/zz-byway-mode.toml", '[traffic]\nmode = "direct"\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/byway/conf.d").mkdir(parents=True)
    (tmp_path / "etc/byway/byway.toml").write_text('interface = "a"\n')
    return tmp_path


def test_preview_is_of_the_text_and_the_drop_ins(root: Path) -> None:
    (root / "etc/byway/conf.d/a.toml").write_text('apps = ["unit:b"]\n')
    desired = Configuration(root).preview({MAIN: 'interface = "c"\n'})
    (profile,) = desired.profiles
    assert (profile.interface, [str(app) for app in profile.apps]) == ("c", ["unit:b.service"])
    assert "b.service.d/50-byway.conf" in dict(desired.unit_files)
    with pytest.raises(ConfigError):
        Configuration(root).preview({MAIN: 'apps = ["unit:b"]\n'})
    with pytest.raises(ConfigError, match="a directory"):
        Configuration(root).preview({MAIN: f'apps = ["{root}"]\n'})


def test_tables_go_by_their_registered_names(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"work": 11640, "main": 254}
    monkeypatch.setattr("byway_systemd.system.configuration.find_table", tables.get)

    def preview(name: str) -> int:
        text = f'interface = "a"\n[traffic]\nvpn_table = "{name}"\n'
        return Configuration(root).preview({MAIN: text}).traffic.vpn_table.number

    assert (preview("work"), preview("agvpn")) == (11640, 11653)
    with pytest.raises(ConfigError, match=r"toml:3: traffic.vpn_table: .* 'main', which is 254"):
        preview("main")
    with pytest.raises(
        ConfigError, match=r"no such routing table: 'missing' .*echo 11622 missing > "
    ):
        preview("missing")


def test_without_a_main_file(root: Path) -> None:
    (root / "etc/byway/byway.toml").unlink()
    assert Configuration(root).read().main.text == ""
    (root / "etc/byway/conf.d/a.toml").write_text("")
    assert [file.name for file in Configuration(root).read().drop_ins] == [
        "/etc/byway/conf.d/a.toml"
    ]


def test_file_of_ones_own_has_no_drop_ins(root: Path) -> None:
    (root / "etc/byway/conf.d/a.toml").write_text("")
    own = root / "own.toml"
    own.write_text("")
    snapshot = Configuration(root, own).read()
    assert (snapshot.main.name, snapshot.drop_ins) == (str(own), ())


def test_what_was_not_confirmed_comes_back_once(root: Path) -> None:
    configuration = Configuration(root)
    assert not configuration.recover()
    configuration.remember({MAIN: 'interface = "good"\n', LIST: "192.0.2.1\n", MODE: DIRECT})
    assert not Configuration(root, root / "own.toml").recover(), "another daemon's"
    assert configuration.recover()
    assert configuration.read().main.text == 'interface = "good"\n'
    assert configuration.read().texts[LIST] == "192.0.2.1\n"
    assert configuration.read().texts[MODE] == DIRECT
    assert not configuration.recover()
    configuration.remember({MAIN: "x"})
    configuration.remember(None)
    assert not configuration.recover()
    for content in (
        "",
        "[]",
        "{}",
        '{"texts": 1}',
        '{"texts": {"/etc/byway/byway.toml": 1}, "boot": ""}',
        "\xff",
    ):
        (root / "var/lib/byway/unconfirmed.json").write_text(content)
        assert not configuration.recover()
    assert configuration.read().main.text == 'interface = "good"\n'


def test_public_is_what_everybody_may_read(root: Path) -> None:
    assert Configuration(root).read().public
    (root / "etc/byway/conf.d/a.toml").write_text("")
    (root / "etc/byway/conf.d/a.toml").chmod(0o600)
    assert not Configuration(root).read().public


def test_mode_of_one_boot_does_not_come_back_in_another(root: Path) -> None:
    configuration = Configuration(root)
    configuration.remember({MAIN: "", MODE: DIRECT, "/etc/shadow": "x"})
    path = root / "var/lib/byway/unconfirmed.json"
    path.write_text(path.read_text().replace('"boot": "', '"boot": "another '))
    assert configuration.recover()
    assert configuration.read().texts[MODE] == ""
    assert not (root / "etc/shadow").exists()


def test_several_files_at_once(root: Path) -> None:
    configuration = Configuration(root)
    before = configuration.read()
    assert before.texts == {MAIN: 'interface = "a"\n', MODE: "", LIST: "", CACHE: ""}
    texts = {MAIN: "", MODE: DIRECT, LIST: "192.0.2.1\n", CACHE: "?\n"}
    wanted = configuration.preview(texts)
    assert (wanted.traffic.mode, wanted.traffic.force_direct.destinations) == (
        "direct",
        ("192.0.2.1/32",),
    )
    assert wanted.cleared
    configuration.write(texts)
    assert configuration.read().texts == texts
    assert configuration.read().tag != before.tag
    assert configuration.preview({}) == wanted
    assert configuration.preview({MODE: ""}).traffic.mode == "bypass"
    configuration.write({MODE: "", LIST: ""})
    assert not (root / MODE[1:]).exists()
    assert not (root / LIST[1:]).exists()


def test_masked_mode_of_one_boot_is_none_of_the_files(root: Path) -> None:
    (root / "etc/byway/conf.d/zz-byway-mode.toml").symlink_to("/dev/null")
    assert MODE not in Configuration(root).read().texts
