"""The systemd generator: what it writes, from memory or not, and that it never fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from verification import SYSTEM_UNITS, lay_out_units, place_program, verify

from byway_systemd.core.errors import ConfigError, UsageError
from byway_systemd.system import generator
from byway_systemd.system.generator import generate, unit_files
from byway_systemd.system.remembered import CACHE, recall

CHECKOUT = Path(__file__).parents[1]
SCRIPT = CHECKOUT / "units/generators/byway-generator"
CONFIG = """interface = "wwan0"
apps = ["/usr/bin/curl", "unit:jellyfin", "unit:backup@nightly.service"]
[profile.lte]
interface = "wwan1"
apps = ["unit:other"]
"""
HEAVY = {"jinja2", "pystemd", "pyroute2", "asyncio", "tomli", "tomlkit", "argparse", "pathlib"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a tree with a configuration and an empty /run."""
    for directory in ("etc/byway/conf.d", "run/byway/conf.d", "usr/lib/byway/conf.d"):
        (tmp_path / directory).mkdir(parents=True)
    write(tmp_path / "etc/byway/byway.toml", CONFIG)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


def tree(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_text() for path in files}


def forbid_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(generator, "render_unit_files", refuse)


def run_script(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script where /etc and /run are those of ``root``; it writes into root/out."""
    script = 'mount --bind "$0/etc" /etc && mount --bind "$0/run" /run && exec "$@"'
    out = root / "out"
    out.mkdir(exist_ok=True)
    python = [sys.executable, *options, str(SCRIPT), str(out), str(out), str(out)]
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(root), *python],
        capture_output=True, text=True, check=False,
        # The installed script finds its package beside its interpreter; a checkout has none there.
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip


def test_writes_what_is_configured(root: Path) -> None:
    paths = generate(root / "out", root)
    assert sorted(paths) == sorted(tree(root / "out")) == [
        "backup@nightly.service.d/50-byway.conf",
        "byway-lte.slice",
        "byway-reconcile.timer.d/50-byway.conf",
        "byway.slice.d/50-byway.conf",
        "jellyfin.service.d/50-byway.conf",
        "other.service.d/50-byway.conf",
    ]  # fmt: skip


def test_remembers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = unit_files(root)
    assert recall(str(root)) == files
    forbid_rendering(monkeypatch)
    generate(root / "out", root)
    assert tree(root / "out") == dict(files)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: write(root / "etc/byway/byway.toml", CONFIG.replace("wwan0", "wwan9")),
        lambda root: os.utime(root / "etc/byway/byway.toml"),
        lambda root: (root / "etc/byway/byway.toml").unlink(),
        lambda root: write(root / "etc/byway/conf.d/a.toml", ""),
        lambda root: write(root / "run/byway/conf.d/a.toml", ""),
        lambda root: write(root / "usr/lib/byway/conf.d/a.toml", ""),
        lambda root: (root / "etc/byway/conf.d/old.toml").unlink(),
        lambda root: (root / "etc/byway/conf.d/old.toml").rename(root / "etc/byway/conf.d/z.toml"),
        lambda root: write(root / "etc/byway/target", "# longer"),
    ],
    ids=["text", "time", "removed", "etc", "run", "usr", "no drop-in", "renamed", "link's target"],
)
def test_any_change_is_noticed(root: Path, change: object) -> None:
    write(root / "etc/byway/conf.d/old.toml", "")
    write(root / "etc/byway/target", "")
    (root / "etc/byway/conf.d/link.toml").symlink_to(root / "etc/byway/target")
    unit_files(root)
    assert recall(str(root)) is not None
    change(root)  # type: ignore[operator]
    assert recall(str(root)) is None


def test_change_of_byway_itself_is_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit_files(root)
    monkeypatch.setattr("byway_systemd.system.remembered.__file__", str(SCRIPT))
    assert recall(str(root)) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_forged_memory_is_refused(root: Path) -> None:
    unit_files(root)
    cache = root / CACHE
    forged = json.loads(cache.read_text())
    forged["files"] = [["evil.service", "[Service]\nExecStart=/bin/sh"]]
    cache.write_text(json.dumps(forged))
    assert recall(str(root)) is not None, "the same as root's own is believed"
    os.chown(cache, 65534, 65534)
    assert recall(str(root)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"key": 1}', "\xff", '{"files": []}'])
def test_broken_memory_is_as_none(root: Path, text: str) -> None:
    files = unit_files(root)
    (root / CACHE).write_text(text, encoding="latin-1")
    assert recall(str(root)) is None
    assert unit_files(root) == files


def test_file_of_the_users_own_is_not_remembered(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    write(own, 'apps = ["unit:a"]\n')
    assert (
        f"# Automatically generated by byway from {own}"
        in dict(unit_files(root, own))["a.service.d/50-byway.conf"]
    )
    assert not (root / CACHE).exists()
    odd = tmp_path / "a\n[Service]"
    write(odd, "")
    with pytest.raises(UsageError, match="control character"):
        unit_files(root, odd)


def test_bad_configuration_writes_nothing(root: Path) -> None:
    write(root / "etc/byway/byway.toml", "apps = 1\n")
    with pytest.raises(ConfigError):
        generate(root / "out", root)
    assert not (root / "out").exists()


def test_systemd_has_nothing_to_say(root: Path, tmp_path: Path) -> None:
    generate(root / "out", root)
    machine = tmp_path / "machine"
    units = lay_out_units(machine)
    for name in ("jellyfin.service", "backup@.service", "other.service"):
        (units / name).write_text("[Unit]\nDescription=x\n[Service]\nExecStart=/usr/bin/serve\n")
    place_program(machine / "usr/bin/serve")
    names = ("jellyfin.service", "backup@nightly.service", "other.service", "byway.slice",
             "byway-reconcile.timer")  # fmt: skip
    assert verify(machine, *names) == ""
    shutil.copytree(root / "out", machine / "etc/systemd/system")
    assert verify(machine, *names, "byway-lte.slice") == ""
    odd = machine / "etc/systemd/system/jellyfin.service.d/50-byway.conf"
    odd.write_text(odd.read_text().replace("Slice=", "Slic="))
    assert "Slic" in verify(machine, *names)
    assert (machine / SYSTEM_UNITS / "byway.service").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace")
class TestScript:
    """The script as systemd runs it."""

    def test_same_as_the_verb(self, root: Path) -> None:
        done = run_script(root)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        generate(root / "verb", root)
        assert tree(root / "out") == tree(root / "verb") != {}

    def test_from_memory_it_imports_next_to_nothing(self, root: Path) -> None:
        first = run_script(root)
        assert (first.returncode, first.stderr) == (0, "")
        written = tree(root / "out")
        shutil.rmtree(root / "out")
        again = run_script(root, "-S", "-X", "importtime")
        assert tree(root / "out") == written
        imported = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}
        assert "byway_systemd.system.remembered" in imported
        assert not {name for name in imported if name.split(".")[0] in HEAVY}
        assert len(imported) < 60

    @pytest.mark.parametrize(
        ("config", "complaint"),
        [
            ("apps = 1\nreconcile = 5\n", "byway.toml:2: reconcile"),
            ("\udcff", "not UTF-8"),
            ("a" + ".a" * 30000 + " = 1", "too many dots"),
        ],
    )
    def test_never_fails(self, root: Path, config: str, complaint: str) -> None:
        (root / "etc/byway/byway.toml").write_bytes(config.encode(errors="surrogateescape"))
        done = run_script(root)
        assert (done.returncode, done.stdout) == (0, "")
        assert complaint in done.stderr
        assert all(line.startswith("<3>byway-generator: ") for line in done.stderr.splitlines())
        assert tree(root / "out") == {}

    def test_without_a_configuration_it_is_silent(self, root: Path) -> None:
        (root / "etc/byway/byway.toml").unlink()
        done = run_script(root)
        assert (done.returncode, done.stderr, tree(root / "out")) == (0, "", {})

    def test_users_managers_have_none(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SYSTEMD_SCOPE", "user")
        done = run_script(root)
        assert (done.returncode, done.stderr, tree(root / "out")) == (0, "", {})

    def test_directory_that_cannot_be_written(self, root: Path) -> None:
        (root / "out").write_text("") if (root / "out").exists() else None
        (root / "out").mkdir()
        (root / "out/byway.slice.d").write_text("in the way")
        done = run_script(root)
        assert done.returncode == 0
        assert done.stderr.startswith("<3>byway-generator: ")
