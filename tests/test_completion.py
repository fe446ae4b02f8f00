"""The shells' completions offer what byway takes."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time

import pytest
from documents import ROOT
from rendering.verbs import list_commands

BASH = ROOT / "completions/byway.bash"
# The words as bash splits them (at = and : too), the last one being completed; and what is offered.
OFFERED = {
    "byway co": ["confirm", "config"],
    "byway config ''": ["cat", "check", "edit", "--help"],
    "byway config ch": ["check"],
    "byway --config x.toml config e": ["edit"],
    "byway --config = x.toml config e": ["edit"],
    "byway status --j": ["--json"],
    "byway status --json = ''": ["pretty", "short", "off"],
    "byway status --json = p": ["pretty"],
    "byway status --json s": ["short"],
    "byway apply --d": ["--dry-run"],
    "byway add -p lte /etc/hostnam": ["/etc/hostname"],
    "byway add unit": ["unit:"],
    "byway add user-u": ["user-unit:"],
    "byway add flatpak : org.m": ["org.mozilla.firefox"],
    "byway add snap : ''": ["fire-fox", "core22"],
    "byway add user-unit : s": ["sync.service"],
    "byway add unit : s": ["ssh.service"],
    "byway generate --scope ''": ["system", "user"],
    "byway add -": ["--profile", "--wait", "--help", "--config"],
    "byway remove ''": ["/usr/bin/curl", "/opt/a b/app", "unit:ssh.service"],
    "byway remove unit : s": ["ssh.service"],
    "byway generate /et": ["/etc"],
    "byway run systemd-ru": ["systemd-run"],
    "byway run cat /etc/hostnam": ["/etc/hostname"],
    "byway run -- -": [],
    "byway config check extra ''": [],
    "byway mode f": ["full_tunnel"],
    "byway mode --r": ["--runtime"],
    "byway bypass ''": ["list", "add", "remove", "clear", "--help"],
}
FAKE_LIST = """
byway() { printf '%s\\n' /usr/bin/curl '/opt/a b/app  (there is no such file)' unit:ssh.service; }
systemd-run() { :; }
flatpak() { printf '%s\\n' org.mozilla.firefox com.example.App; }
snap() { printf '%s\\n' 'Name  Version  Rev' 'fire-fox  1  2' 'core22  3  4'; }
systemctl() {
    if [ "$1" = --user ]; then echo 'sync.service enabled'; echo 'sync@.service enabled'
    else echo 'ssh.service enabled'; fi
}
"""


@pytest.mark.parametrize("words", OFFERED)
def test_bash_offers(words: str) -> None:
    script = (
        f"{FAKE_LIST}. {BASH}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1));"
        "_byway; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == (OFFERED[words] or [""])


def test_bash_offers_every_verb() -> None:
    words = dict.fromkeys(command.words[0] for command in list_commands())
    script = f". {BASH}; COMP_WORDS=(byway ''); COMP_CWORD=1; _byway; echo ${{COMPREPLY[*]}}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [*words, "--help", "--version", "--config"]


def test_the_tab_key_in_a_terminal() -> None:
    """`byway config<TAB>ch<TAB>` at a prompt; Ctrl+A puts `echo` before what is there by then."""
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "HISTFILE": ""}
        os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], environment)  # noqa: S606
    try:
        os.write(terminal, f"PS1=; . {BASH}; echo rea''dy\n".encode())
        _wait_for(terminal, b"ready\r\n")
        os.write(terminal, b"byway config\tch\t")
        _wait_for(terminal, b"byway config check ")
        os.write(terminal, b"\x01echo -E done: \n")
        _wait_for(terminal, b"\ndone: byway config check\r\n")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def _wait_for(terminal: int, wanted: bytes) -> None:
    seen, end = b"", time.monotonic() + 20
    while wanted not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"waited for {wanted!r}, saw {seen!r}"
        seen += os.read(terminal, 4096)


def test_bash_completion_is_clean() -> None:
    subprocess.run(["shellcheck", str(BASH)], check=True)


@pytest.mark.parametrize(
    ("shell", "file"), [("zsh", "completions/_byway"), ("fish", "completions/byway.fish")]
)
def test_other_shells_can_read_theirs(shell: str, file: str) -> None:
    assert shutil.which(shell), f"{shell} is missing: run script/setup"
    done = subprocess.run([shell, "-n", str(ROOT / file)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
