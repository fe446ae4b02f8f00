"""The systemd generator: what it writes, from memory or not, and that it never fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from verification import (
    SYSTEM_UNITS,
    USER_UNITS,
    lay_out_units,
    lay_out_user_units,
    place_program,
    verify,
    verify_user,
)

from byway_systemd.core.errors import ConfigError, UsageError
from byway_systemd.core.units import Scope
from byway_systemd.system import generator
from byway_systemd.system.generator import generate, unit_files
from byway_systemd.system.remembered import CACHE, recall, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[1]
SCRIPT = CHECKOUT / "units/generators/byway-generator"
CONFIG = """interface = "wwan0"
apps = ["/usr/bin/curl", "unit:jellyfin", "unit:backup@nightly.service"]
[profile.lte]
interface = "wwan1"
apps = ["unit:other"]
"""
USERS = """interface = "100%\\\\"
apps = ["user-unit:sync", "user-unit:job@1", "desktop:my-app", "flatpak:org.x.Y-z", "snap:fox.a-b"]
[profile.lte]
apps = ["user-unit:other", "desktop:%n 'é'"]
"""
HEAVY = {"jinja2", "pystemd", "pyroute2", "asyncio", "tomli", "tomlkit", "argparse", "pathlib"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a tree with a configuration and an empty /run."""
    for directory in ("etc/byway/conf.d", "run/byway/conf.d", "usr/lib/byway/conf.d"):
        (tmp_path / directory).mkdir(parents=True)
    write(tmp_path / "etc/byway/byway.toml", CONFIG)
    return tmp_path


@pytest.fixture
def reachable(tmp_path: Path) -> Iterator[None]:
    """Let everybody into the tree, which has the checkout in it, wherever that really is."""
    assert CHECKOUT.stat().st_mode & 5 == 5, "for this test: chmod -R o+rX the checkout"
    closed = [path for path in tmp_path.parents if path.stat().st_mode & 5 != 5]
    modes = [path.stat().st_mode for path in closed]
    for path in (tmp_path, *closed):
        path.chmod(path.stat().st_mode | 0o755)
    yield
    for path, mode in zip(closed, modes, strict=True):
        path.chmod(mode)


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


def run_script(
    root: Path, *options: str, user: int = 0, scope: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the script where /etc and /run are those of ``root``; it writes into root/out.

    The checkout is reached by way of ``root``, too.
    """
    become = f"setpriv --reuid={user} --regid={user} --clear-groups" if user else ""
    script = (
        'mount --bind "$0/etc" /etc && mount --bind "$0/run" /run &&'
        f' mount --bind "{CHECKOUT}" "$0/checkout" && exec {become} "$@"'
    )
    out, checkout = root / "out", root / "checkout"
    out.mkdir(exist_ok=True)
    checkout.mkdir(exist_ok=True)
    os.chown(out, user, user)
    program = checkout / SCRIPT.relative_to(CHECKOUT)
    interpreter = sys.executable.replace(str(CHECKOUT), str(checkout), 1)
    python = [interpreter, *options, str(program), str(out), str(out), str(out)]
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(root), *python],
        capture_output=True, text=True, check=False,
        # The installed script finds its package beside its interpreter; a checkout has none there.
        env={**os.environ, "PYTHONPATH": str(checkout), "SYSTEMD_SCOPE": scope},
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
    pinned = "60-byway-marker.conf"  # nothing is pinned here
    assert tree(root / "out") == {p: text for p, text in files if not p.endswith(pinned)}
    assert len(tree(root / "out")) == len(files) - 2


def test_names_a_program_only_when_it_is_pinned(tmp_path: Path) -> None:
    files = tuple(
        (f"{name}.slice.d/x.conf", f"[Slice]\nBPFProgram=sock_create:{tmp_path / name}\n")
        for name in ("a", "b")
    )
    write(tmp_path / "b", "")
    assert write_files(str(tmp_path / "out"), files) == ("b.slice.d/x.conf",)
    assert tree(tmp_path / "out") == dict(files[1:])


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
    forged["files"]["system"] = [["evil.service", "[Service]\nExecStart=/bin/sh"]]
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


def test_both_scopes_are_remembered(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "etc/byway/byway.toml", USERS)
    files = unit_files(root, scope=Scope.USER)
    assert recall(str(root), "user") == files != recall(str(root))
    forbid_rendering(monkeypatch)
    generate(root / "out", root, scope=Scope.USER)
    assert tree(root / "out") == dict(files)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_users_believe_roots_memory_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = unit_files(root)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert recall(str(root)) == files
    os.chown(root / CACHE, 1001, 1001)
    assert recall(str(root)) is None


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


def test_users_systemd_has_nothing_to_say(root: Path, tmp_path: Path) -> None:
    write(root / "etc/byway/byway.toml", USERS)
    generate(tmp_path / "generated", root, scope=Scope.USER)
    units = lay_out_user_units(tmp_path)
    # A scope cannot be loaded from a file: what is in its drop-ins is tried in a service's.
    names = ["byway.slice", "byway-lte.slice"]
    for directory in sorted((tmp_path / "generated").glob("*.d")):
        name = directory.name.removesuffix(".d").replace("-.s", "-1.s").replace("@.s", "@1.s")
        if name.endswith(".slice"):
            continue
        service = name.removesuffix(".scope").removesuffix(".service") + ".service"
        (units / service).write_text("[Service]\nExecStart=true\n")
        text = (directory / "50-byway.conf").read_text().replace("[Scope]", "[Service]")
        (units / f"{service}.d").mkdir(exist_ok=True)
        (units / f"{service}.d/60-again.conf").write_text(text)
        names.append(service)
    assert len(names) > 40
    assert verify_user(tmp_path, *names) == ""
    odd = tmp_path / "generated/sync.service.d/50-byway.conf"
    odd.write_text(odd.read_text().replace("Slice=", "Slic="))
    assert "Slic" in verify_user(tmp_path, *names)
    assert (tmp_path / USER_UNITS / "byway.slice").exists()


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

    @pytest.mark.parametrize("scope", ["system", "user"])
    def test_refused_configuration_changes_nothing(self, root: Path, scope: str) -> None:
        write(root / "etc/byway/byway.toml", USERS)
        run_script(root, scope=scope)
        written = tree(root / "out")
        for bad in ('interface = "eth0"\napps = 1\n', "{"):
            shutil.rmtree(root / "out")
            write(root / "etc/byway/byway.toml", bad)
            done = run_script(root, scope=scope)
            assert done.stderr.startswith("<3>byway-generator: /etc/byway/byway.toml")
            assert tree(root / "out") == written != {}

    def test_without_a_configuration_it_is_silent(self, root: Path) -> None:
        run_script(root)
        shutil.rmtree(root / "out")
        (root / "etc/byway/byway.toml").unlink()
        done = run_script(root)
        assert (done.returncode, done.stderr, tree(root / "out")) == (0, "", {})

    def test_users_managers(self, root: Path, reachable: None) -> None:
        write(root / "etc/byway/byway.toml", USERS)
        first = run_script(root, user=1000, scope="user")
        assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
        generate(root / "verb", root, scope=Scope.USER)
        assert tree(root / "out") == tree(root / "verb") != {}
        assert run_script(root).returncode == 0
        shutil.rmtree(root / "out")
        again = run_script(root, "-S", "-X", "importtime", user=1000, scope="user")
        assert tree(root / "out") == tree(root / "verb"), "from root's memory"
        imported = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}
        assert not {name for name in imported if name.split(".")[0] in HEAVY}

    @pytest.mark.parametrize("hidden", ["etc/byway/byway.toml", "etc/byway"])
    def test_configuration_that_users_cannot_read(
        self, root: Path, reachable: None, hidden: str
    ) -> None:
        (root / hidden).chmod(0o600)
        done = run_script(root, user=1000, scope="user")
        assert (done.returncode, done.stdout, tree(root / "out")) == (0, "", {})
        assert done.stderr.splitlines() == [
            "<3>byway-generator: /etc/byway/byway.toml: cannot be read: Permission denied "
            "(users' service managers read it, too: chmod -R a+rX /etc/byway)"
        ]

    def test_directory_that_cannot_be_written(self, root: Path) -> None:
        (root / "out").write_text("") if (root / "out").exists() else None
        (root / "out").mkdir()
        (root / "out/byway.slice.d").write_text("in the way")
        done = run_script(root)
        assert done.returncode == 0
        assert done.stderr.startswith("<3>byway-generator: ")
