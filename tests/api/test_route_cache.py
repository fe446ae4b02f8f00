"""Clearing byway's routes and restoring them, over the API and by the command."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from api.test_cli import byway
from served import CONFIG, NOBODY, Served, until

from byway_systemd.core.errors import NotRunningError, RootNeededError, UsageError
from byway_systemd.system.configuration import Configuration
from byway_systemd.system.files import ROUTE_CACHE

if TYPE_CHECKING:
    from pathlib import Path

CLEAR, RESTORE = "/api/v1/traffic/routes/clear", "/api/v1/traffic/routes/restore"
OURS = {"delete-rule", "delete-route", "add-rule", "add-route"}


def is_cleared(served: Served) -> bool:
    found: bool = served.get("/api/v1/status")["traffic"]["routes_cleared"]
    assert found == (served.root / ROUTE_CACHE).exists()
    return found


def kinds(result: dict[str, Any]) -> set[str]:
    return {operation["operation"] for operation in result["applied"]}


def test_cleared_until_restored(served: Served) -> None:
    assert served.ask("POST", RESTORE).status == 409
    dry = served.ask("POST", f"{CLEAR}?dry_run=1").json
    assert not is_cleared(served)
    done = served.ask("POST", CLEAR).json
    assert done["applied"] == dry["plan"]
    assert kinds(done) == {"delete-rule", "delete-route"}
    assert is_cleared(served)
    saved = (served.root / ROUTE_CACHE).read_text()
    for _ in range(2):  # neither an event nor a reload puts them back
        served.tell("network")
        assert not kinds(served.ask("POST", "/api/v1/apply").json) & OURS
    assert served.ask("POST", CLEAR).json["applied"] == []
    assert (served.root / ROUTE_CACHE).read_text() == saved
    back = served.ask("POST", RESTORE).json
    assert kinds(back) == {"add-rule", "add-route"}
    assert back["not_restored"] == []
    assert not is_cleared(served)
    assert served.get("/state")["in_sync"]


def test_unconfirmed_clearing_is_taken_back(served: Served) -> None:
    assert served.ask("POST", f"{CLEAR}?confirm=1").json["unconfirmed"] == 1
    assert is_cleared(served)
    until(lambda: not (served.root / ROUTE_CACHE).exists())
    until(lambda: served.get("/state")["in_sync"])
    assert not is_cleared(served)
    served.ask("POST", CLEAR)
    served.ask("POST", "/api/v1/rollback")
    assert not is_cleared(served)


def test_what_was_not_confirmed_comes_back_after_a_crash(served: Served) -> None:
    served.ask("POST", f"{CLEAR}?confirm=60")
    served.process.kill()
    served.process.wait()
    assert Configuration(served.root).recover()
    assert not (served.root / ROUTE_CACHE).exists()


def damage(path: Path) -> None:
    path.write_text(path.read_text().replace("11590", "11591"))


def link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def let_others_write(path: Path) -> None:
    path.chmod(0o666)


def give_away(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def enlarge(path: Path) -> None:
    path.write_text(" " * (8 * 1024 * 1024 + 1))


@pytest.mark.skipif(os.geteuid() != 0, reason="what root may do to a file")
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage, "checksum"), (link, "symbolic link"), (let_others_write, "be trusted"),
        (give_away, "be trusted"), (enlarge, "more than"),
    ],
)  # fmt: skip
def test_bad_cache_is_refused_and_all_stays_as_it_is(
    served: Served, harm: Any, message: str
) -> None:
    served.ask("POST", CLEAR)
    harm(served.root / ROUTE_CACHE)
    refused = served.ask("POST", RESTORE)
    assert refused.status == 409
    assert refused.json["detail"].startswith(f"/{ROUTE_CACHE}: ")
    assert message in refused.json["detail"]
    assert refused.json["remedy"]
    assert is_cleared(served)
    assert served.ask("PUT", "/api/v1/config", CONFIG.encode()).status == 200, "all else goes on"
    (served.root / ROUTE_CACHE).unlink()
    assert kinds(served.ask("POST", "/api/v1/apply").json) == {"add-rule", "add-route"}
    assert not is_cleared(served)


def test_with_a_file_of_ones_own_there_is_none(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("")
    (tmp_path / "run/byway").mkdir(parents=True)
    (tmp_path / ROUTE_CACHE).write_text("")
    configuration = Configuration(tmp_path, own)
    assert configuration.read().cache_name == ""
    assert not configuration.preview({}).cleared


def test_command(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(UsageError, match="not cleared"):
        byway(served.root, "routes", "restore")
    assert byway(served.root, "routes", "clear", "--dry-run") == 6
    planned = capsys.readouterr().out
    assert not is_cleared(served)
    assert byway(served.root, "routes", "clear") == 0
    assert capsys.readouterr().out == (
        f"{planned}cleared until byway routes restore, or the next boot\n"
    )
    cache = served.root / ROUTE_CACHE
    value = json.loads(cache.read_text())
    assert len(value["routes"]) > 5
    assert byway(served.root, "routes", "restore") == 0
    captured = capsys.readouterr()
    assert captured.out.count("add route") == len(value["routes"])
    assert captured.err == ""


def test_command_without_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for uid, error in ((0, NotRunningError), (NOBODY, RootNeededError)):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        for what in ("clear", "restore"):
            with pytest.raises(error):
                byway(tmp_path, "routes", what)
