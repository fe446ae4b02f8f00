"""The command line from outside: exit codes, output, and what it takes to load."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byway_systemd.__main__ import main
from byway_systemd.cli.verbs import VERBS, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
CONFIG = """interface = "wwan0"
apps = ["/bin/sh", "/opt/byway-test-gone", "unit:jellyfin"]
[profile.lte]
apps = ["/opt/byway-test-*"]
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "byway.toml"
    path.write_text(CONFIG)
    path.chmod(0o644)
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o755)  # for nobody to read
    return str(path)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    path = tmp_path / "bad.toml"
    path.write_text('apps = ["firefox"]\ninterfacee = 1\n')
    path.chmod(0o644)
    return str(path)


def test_directories_are_told_with_everything_else(tmp_path: Path) -> None:
    """All that is wrong at once, in the order of the lines."""
    path = tmp_path / "byway.toml"
    path.write_text('interfacee = 1\napps = ["/usr/bin"]\nreconcile = 5\n')
    done = byway("config", "check", "--config", str(path))
    assert done.returncode == 2
    said = [line.removeprefix(f"{path}:").partition(":")[0] for line in done.stderr.splitlines()]
    assert said == ["1", "2", "3"], done.stderr


def byway(
    *arguments: str, options: tuple[str, ...] = (), nobody: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-m", "byway_systemd", *arguments]
    if nobody:
        # Nobody may do nothing, but reads a checkout wherever it is.
        who = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        reads = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
        command = ["setpriv", *who, *reads, *command]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=30,
        stdin=subprocess.DEVNULL, env={**os.environ, **environment},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


def all_verbs(verbs: tuple[Verb, ...] = VERBS, above: tuple[str, ...] = ()) -> Iterator[list[str]]:
    for verb in verbs:
        yield [*above, verb.name]
        yield from all_verbs(verb.verbs, (*above, verb.name))


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "--json=short"],
        ["config", "check"],
        ["config", "cat"],
        ["generate", "out"],
        ["--help"],
        ["--version"],
        ["config", "--help"],
    ],
    ids=" ".join,
)
def test_readers_load_little(arguments: list[str], config: str, tmp_path: Path) -> None:
    arguments = [str(tmp_path / "out") if part == "out" else part for part in arguments]
    done = byway("--config", config, *arguments, options=("-X", "importtime"))
    assert done.returncode == 0
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in lines}
    assert "byway_systemd" in imported
    assert not imported & {"pystemd", "pyroute2", "asyncio"}
    if "generate" not in arguments:
        assert "jinja2" not in imported
    assert "tomlkit" not in imported


@pytest.mark.parametrize("verb", [[], *all_verbs()], ids=" ".join)
def test_help_of_every_verb(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*verb, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(" ".join(["usage: byway", *verb]))


def test_version() -> None:
    done = byway("--version")
    name, version = done.stdout.split()
    assert (done.returncode, name) == (0, "byway")
    assert version[0].isdigit()


def test_list(config: str) -> None:
    done = byway("--config", config, "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "/bin/sh",
        "/opt/byway-test-gone  (there is no such file)",
        "unit:jellyfin.service",
        "/opt/byway-test-*  (profile lte)  (there is no such file)",
    ]


@pytest.mark.parametrize("form", ["short", "pretty"])
def test_json(config: str, bad: str, form: str) -> None:
    listed = byway("--config", config, "list", f"--json={form}").stdout
    assert json.loads(listed)[1] == {
        "app": "/opt/byway-test-gone", "profile": "default", "exists": False,
    }  # fmt: skip
    assert (listed.count("\n") == 1) == (form == "short")
    done = byway("--config", bad, "config", "check", f"--json={form}")
    assert done.returncode == 2
    assert [(p["line"], p["key"]) for p in json.loads(done.stdout)] == [
        (1, "apps[0]"),
        (2, "interfacee"),
    ]
    assert json.loads(byway("--config", config, "config", "check", f"--json={form}").stdout) == []


def test_check(config: str, bad: str) -> None:
    done = byway("--config", config, "config", "check")
    assert (done.returncode, done.stdout) == (0, "valid\n")
    assert "warning: /opt/byway-test-gone: there is no such file" in done.stderr
    done = byway("--config", bad, "config", "check")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"{bad}:1: apps[0]: not absolute: 'firefox' "
        "(write the full path, such as /usr/bin/firefox)",
        f"{bad}:2: interfacee: unknown key (did you mean interface?)",
    ]


def test_what_is_excluded_and_missing_is_no_missing_app(tmp_path: Path) -> None:
    config = tmp_path / "byway.toml"
    config.write_text('[[app]]\npath = "/bin/sh"\nexclude = ["/opt/byway-test-gone"]\n')
    assert byway("--config", str(config), "list").stdout == "/bin/sh\n"
    checked = byway("--config", str(config), "config", "check")
    assert (checked.stdout, checked.stderr) == ("valid\n", "")


def test_check_says_what_is_refused(tmp_path: Path) -> None:
    """Its own interpreter, and what is many programs in one file."""
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"\x7fELF")
    (tmp_path / "wget").symlink_to(busybox)
    file = tmp_path / "byway.toml"
    file.write_text(f'apps = ["{Path(sys.executable).resolve()}", "{tmp_path}/wget"]\n')
    done = byway("--config", str(file), "config", "check")
    assert (done.returncode, done.stdout) == (0, "valid\n")
    own, shared = done.stderr.splitlines()
    assert "is part of byway or of what it works with; it is not selected" in own
    assert f"{busybox} is many programs in one file; it is not selected" in shared


def test_cat_shows_the_file_as_it_is(config: str) -> None:
    assert byway("--config", config, "config", "cat").stdout == f"# {config}\n{CONFIG}"


@pytest.mark.parametrize("verb", ["list", "config check", "config cat", "generate /nowhere"])
def test_exit_code_2_without_the_file(verb: str) -> None:
    done = byway("--config", "/nonexistent/byway.toml", *verb.split())
    assert done.returncode == 2
    assert "cannot be read" in done.stderr


@pytest.mark.parametrize("verb", ["list", "generate /nowhere"])
def test_exit_code_2_of_a_bad_configuration(verb: str, bad: str) -> None:
    done = byway("--config", bad, *verb.split())
    assert done.returncode == 2
    assert done.stderr.count("byway: ") == 2


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["list", "x"], ["--colour"], ["list", "--json=x"], ["config"]]
)
def test_exit_code_2_of_wrong_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@as_root
@pytest.mark.parametrize(
    "verb",
    ["add /bin/ls", "remove /bin/sh", "apply", "reconcile", "plan", "daemon", "config edit"],
)
def test_exit_code_4_without_root(verb: str, config: str) -> None:
    done = byway("--config", config, *verb.split(), nobody=True)
    assert (done.returncode, done.stdout) == (4, "")
    assert "root" in done.stderr
    assert Path(config).read_text() == CONFIG


@as_root
def test_anybody_may_read(config: str) -> None:
    assert byway("--config", config, "list", nobody=True).returncode == 0
    assert byway("--config", config, "config", "check", nobody=True).returncode == 0


@as_root
def test_add_and_remove_of_every_kind(config: str) -> None:
    kinds = ["user-unit:a.service", "desktop:b", "flatpak:c.d.E", "snap:f", "snap:g.h"]
    done = byway("--config", config, "add", *kinds)
    assert done.returncode == 0, done.stderr
    listed = byway("--config", config, "list").stdout.splitlines()
    assert [app for app in listed if app in kinds] == kinds
    shown = json.loads(byway("--config", config, "list", "--json").stdout)
    assert [app["exists"] for app in shown if app["app"] in kinds] == [True] * len(kinds)
    done = byway("--config", config, "config", "check")
    assert (done.returncode, done.stdout) == (0, "valid\n")
    assert byway("--config", config, "add", "snap:f.f").returncode == 2
    done = byway("--config", config, "add", "flatpak:firefox")
    assert done.returncode == 2
    assert "flatpak list" in done.stderr
    assert byway("--config", config, "remove", *kinds).returncode == 0
    assert Path(config).read_text() == CONFIG


def test_generates_for_whom_it_is_told(config: str, tmp_path: Path) -> None:
    Path(config).write_text('apps = ["unit:a", "user-unit:b"]\n')
    for scope, unit in (("system", "a"), ("user", "b")):
        done = byway("--config", config, "generate", "--scope", scope, str(tmp_path / scope))
        assert done.returncode == 0, done.stderr
        assert f"{unit}.service.d/50-byway.conf" in done.stdout.splitlines()
        written = {path.name for path in (tmp_path / scope).glob("?.service.d")}
        assert written == {f"{unit}.service.d"}


@as_root
def test_add_and_remove(config: str) -> None:
    done = byway("--config", config, "add", "ls", "unit:nginx")
    assert done.returncode == 0, done.stderr
    added = Path(config).read_text()
    assert '"unit:jellyfin", "/' in added
    assert byway("--config", config, "add", "unit:nginx").returncode == 2
    assert byway("--config", config, "remove", "unit:nginx", "ls").returncode == 0
    assert Path(config).read_text() == CONFIG
    assert byway("--config", config, "remove", "unit:nginx").returncode == 5
    assert byway("--config", config, "add", "unit:byway").returncode == 2
    assert byway("--config", config, "add", "-p", "none", "/bin/ls").returncode == 2
    assert Path(config).read_text() == CONFIG


@as_root
@pytest.mark.parametrize("content", [b"apps = 1\n", b"\xff", b"apps = [", b"profile = 3\n"])
@pytest.mark.parametrize("verb", ["add /bin/ls", "remove /bin/ls"])
def test_bad_file_is_not_changed(content: bytes, verb: str, config: str) -> None:
    Path(config).write_bytes(content)
    assert byway("--config", config, *verb.split()).returncode == 2
    assert Path(config).read_bytes() == content


@as_root
def test_line_ends_stay(config: str) -> None:
    before = CONFIG.replace("\n", "\r\n").encode()
    Path(config).write_bytes(before)
    assert byway("--config", config, "add", "unit:nginx").returncode == 0
    assert Path(config).read_bytes() == before.replace(
        b'"unit:jellyfin"', b'"unit:jellyfin", "unit:nginx.service"'
    )


def test_colour_is_for_terminals_without_no_color(config: str) -> None:
    assert "\x1b" not in byway("--config", config, "list").stdout
    assert "\x1b[33m" in on_terminal("--config", config, "list")
    assert "\x1b" not in on_terminal("--config", config, "list", NO_COLOR="1")


def on_terminal(*arguments: str, **environment: str) -> str:
    """Return what byway writes to a terminal."""
    ours, theirs = os.openpty()
    variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    subprocess.run(
        [sys.executable, "-m", "byway_systemd", *arguments],
        stdout=theirs, check=True, env={**variables, **environment},
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    return shown


@pytest.mark.parametrize("verb", ["list", "config cat", "config check", "generate out"])
def test_file_with_an_odd_name(verb: str, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/a\xff\n.toml"
    Path(os.fsdecode(odd)).write_text(CONFIG)
    arguments = [str(tmp_path / "out") if part == "out" else part for part in verb.split()]
    done = byway("--config", os.fsdecode(odd), *arguments, PYTHONIOENCODING="utf-8:strict")
    assert done.returncode == (2 if "out" in verb else 0)


def test_closed_output_is_no_error(config: str) -> None:
    script = '"$0" -m byway_systemd --config "$1" list | :'
    for _ in range(3):
        command = ["bash", "-c", script, sys.executable, config]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


_WORDS = [
    *itertools.chain.from_iterable(all_verbs()), "--json=short", "--json", "-p", "--profile=lte",
    "-n", "--", "--config", "good.toml", "bad.toml", "", "-", "unit:", "unit:a", "a b", "%", "\n",
    "--help", "--version", "--direct", "--gate", "--clean-up", "-u", "\udcff", "out",
]  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(_WORDS) | st.text("ab-=.\x00é%", max_size=4), max_size=6))
def test_no_arguments_end_in_a_traceback(
    tmp_path: Path, config: str, bad: str, arguments: list[str]
) -> None:
    # As nobody, in a directory of its own: no verb may change anything.
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr(os, "geteuid", lambda: NOBODY)
        Path("good.toml").write_text(CONFIG)
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code  # type: ignore[assignment]
    assert code in range(7)
