"""The static unit files: their order, what systemd says of them, and how exposed they are."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from verification import SYSTEM_UNITS, UNITS, lay_out_units, lay_out_user_units, verify, verify_user

from byway_systemd.system.polkit import ACTION

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = {".service", ".slice", ".socket", ".timer"}
SYSTEM_NAMES = sorted(path.name for path in UNITS.iterdir() if path.suffix in KINDS)
USER_NAMES = sorted(
    f"user/{path.name}" for path in (UNITS / "user").iterdir() if path.suffix in KINDS
)
NAMES = SYSTEM_NAMES + USER_NAMES
# In the order of systemd.unit(5), systemd.service(5), systemd.timer(5), systemd.kill(5) and
# systemd.resource-control(5), as systemd's own units have them.
ORDER = [
    "Description", "Documentation", "DefaultDependencies", "Requires", "Requisite", "BindsTo",
    "PartOf", "Conflicts", "After", "Before", "Wants", "StopPropagatedFrom", "IgnoreOnIsolate",
    "RefuseManualStop",
    "ConditionPathExists", "StartLimitIntervalSec", "Type", "ExecStart", "ExecReload", "ExecStop",
    "ExecStopPost", "RemainAfterExit", "SuccessExitStatus", "Restart", "RestartPreventExitStatus",
    "RestartSec", "TimeoutStartSec", "TimeoutSec", "WatchdogSec", "KillMode", "OOMPolicy", "Slice",
    "Delegate", "LimitNOFILE", "LimitMEMLOCK", "OOMScoreAdjust", "User", "Environment",
    "LogLevelMax", "RuntimeDirectory", "RuntimeDirectoryPreserve", "StateDirectory", "ListenStream",
    "SocketMode", "FlushPending", "RemoveOnStop", "OnActiveSec",
    "OnBootSec", "OnUnitActiveSec", "OnUnitInactiveSec", "AccuracySec", "WantedBy",
]  # fmt: skip
HARDENING = {
    "CapabilityBoundingSet", "DevicePolicy", "LockPersonality", "MemoryDenyWriteExecute",
    "NoNewPrivileges", "PrivateNetwork", "PrivateTmp", "ProtectClock", "ProtectControlGroups",
    "ProtectHome", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules",
    "ProtectKernelTunables", "ProtectProc", "ProtectSystem", "RestrictAddressFamilies",
    "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures",
    "SystemCallFilter", "UMask",
}  # fmt: skip
# systemd-analyze security, in tenths: what each is now; lower it when it falls.
EXPOSURE = {"byway.service": 47, "byway-gate.service": 45}


def sections(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    section = ""
    for line in (UNITS / name).read_text().splitlines():
        if line.startswith("["):
            section = line
            assert section not in found, "a section stands once"
            found[section] = []
        elif line and not line.startswith("#"):
            found[section].append(line.partition("=")[0])
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("root")
    lay_out_units(path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_sections_are_in_order(name: str) -> None:
    order = ["[Unit]", "[Service]", "[Slice]", "[Socket]", "[Timer]", "[Install]"]
    assert list(sections(name)) == [section for section in order if section in sections(name)]


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_in_systemds_order_then_hardening_by_alphabet(name: str) -> None:
    for section, keys in sections(name).items():
        plain = [key for key in keys if key not in HARDENING]
        hardening = [key for key in keys if key in HARDENING]
        assert keys == plain + hardening, f"{section}: hardening comes last"
        assert hardening == sorted(hardening), section
        assert plain == sorted(plain, key=ORDER.index), section


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_is(name: str) -> None:
    assert sections(name)["[Unit]"][:2] == ["Description", "Documentation"]


@pytest.mark.parametrize("name", SYSTEM_NAMES)
def test_systemd_has_nothing_to_say(name: str, root: Path) -> None:
    assert verify(root, name) == ""


@pytest.mark.parametrize("name", USER_NAMES)
def test_users_systemd_has_nothing_to_say(name: str, tmp_path: Path) -> None:
    units = lay_out_user_units(tmp_path)
    unit = units / name.removeprefix("user/")
    assert verify_user(tmp_path, unit.name) == ""
    unit.write_text(unit.read_text().replace("RefuseManualStop", "RefusesManualStop"))
    assert "RefusesManualStop" in verify_user(tmp_path, unit.name)


def test_a_holder_comes_with_every_manager() -> None:
    assert [path.name for path in UNITS.glob("user/*.wants/*")] == ["byway-apps.service"]
    assert (UNITS / "user/basic.target.wants/byway-apps.service").resolve() == (
        UNITS / "user/byway-apps.service"
    )


def test_no_signal_to_everybody_ends_the_holder(tmp_path: Path) -> None:
    """What ends it ends the programs in it, so a killall must not."""
    start = next(
        line.partition("=")[2]
        for line in (UNITS / "user/byway-apps.service").read_text().splitlines()
        if line.startswith("ExecStart=")
    )
    with subprocess.Popen(shlex.split(start)) as holder:
        try:
            _wait_until(lambda: _program_of(holder.pid) == "sleep")
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                holder.send_signal(number)
            with pytest.raises(subprocess.TimeoutExpired):
                holder.wait(0.2)
        finally:
            holder.kill()


def _program_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_systemd_would_say_so(root: Path) -> None:
    for number, line in enumerate(("[Service]\nType=x", "[Unit]\nDescriptio=x", "[Sectio]\na=b")):
        name = f"byway-odd{number}.service"
        (root / SYSTEM_UNITS / name).write_text(f"{line}\n[Service]\nExecStart=/usr/bin/byway\n")
        assert verify(root, name) != ""
    (root / SYSTEM_UNITS / "byway-odd.service").write_text("[Service]\nExecStart=/usr/bin/none\n")
    assert "not executable" in verify(root, "byway-odd.service")


@pytest.mark.parametrize("name", EXPOSURE)
def test_exposure_does_not_grow(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    bound = EXPOSURE[name]
    done = subprocess.run(
        [*command, f"--threshold={bound}", str(UNITS / name)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.splitlines()[-1]
    lower = subprocess.run(
        [*command, "--threshold=20", str(UNITS / name)], capture_output=True, check=False
    )
    assert lower.returncode != 0, "the bound can fail"


def test_every_service_runs_what_is_installed() -> None:
    for name in SYSTEM_NAMES:
        for line in (UNITS / name).read_text().splitlines():
            if line.startswith("ExecStart="):
                program = line.partition("=")[2].split()[0]
                assert program in ("/usr/bin/byway", "/usr/lib/byway/bin/byway-poke", "systemctl")


def test_socket_is_stopped_with_the_service_and_not_restarted_with_it() -> None:
    """Else a connection would start what was stopped, or find nobody while it is restarted."""
    text = (UNITS / "byway.socket").read_text()
    assert "\nStopPropagatedFrom=byway.service\n" in text
    assert "\nPartOf=" not in text
    assert "[Install]" not in text
    (wants,) = re.findall(r"^Wants=(.*)$", (UNITS / "byway.service").read_text(), re.MULTILINE)
    assert "byway.socket" in wants.split()


def test_polkit_action_asks_for_an_administrator() -> None:
    root = ET.parse(UNITS / "io.byway.policy").getroot()  # noqa: S314 - our own
    (action,) = root.findall("action")
    assert action.get("id") == ACTION
    defaults = action.find("defaults")
    assert defaults is not None
    assert {element.text for element in defaults} == {"auth_admin_keep"}


@pytest.mark.parametrize("status", ["0", "1", "2", "4", "70", "KILL"])
def test_only_a_refused_start_stops_the_gate(status: str, tmp_path: Path) -> None:
    text = (UNITS / "byway.service").read_text()
    (script,) = re.findall(r"^ExecStopPost=-/bin/sh -c '(case .*)'$", text, re.MULTILINE)
    (refusing,) = re.findall(r"^RestartPreventExitStatus=(.*)$", text, re.MULTILINE)
    called = tmp_path / "called"
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" >{called}\n')
    (tmp_path / "systemctl").chmod(0o755)
    environment = {"PATH": str(tmp_path), "EXIT_STATUS": status}
    subprocess.run(["/bin/sh", "-c", script], env=environment, check=True)
    said = called.read_text() if called.exists() else ""
    wanted = (
        "--no-block stop byway-gate.service byway.socket\n" if status in refusing.split() else ""
    )
    assert said == wanted
