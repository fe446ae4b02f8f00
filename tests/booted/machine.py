"""A booted Debian with systemd as PID 1, in QEMU, driven from the host."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from booted.channel import AgentError, Channel, MachineDied
from booted.image import Image, image_for
from booted.payload import write_payload

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["AgentError", "CommandFailed", "Machine", "MachineDied", "Process", "Result"]

KERNEL_OPTIONS = (
    "root=/dev/vda rw console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr audit=0 "
    "cryptomgr.notests random.trust_cpu=on apparmor=0 selinux=0 net.ifnames=0 "
    "systemd.show_status=0 no_timer_check tsc=reliable rcupdate.rcu_expedited=1"
)
# How much longer than a command's own timeout the host waits for word of it.
GRACE = 20.0
BOOT_TIMEOUT = 120.0


class CommandFailed(AssertionError):  # noqa: N818
    """A command in the machine ended other than expected."""


@dataclass(frozen=True)
class Result:
    """How a command in the machine ended."""

    argv: list[str]
    rc: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        """Everything, for a person."""
        return f"{' '.join(self.argv)}: exit {self.rc}\n{self.stdout}{self.stderr}"


class Machine:
    """One machine; a context manager that boots it and takes it away."""

    def __init__(
        self,
        release: str = "13",
        *,
        byway: bool = True,
        on_terminal: bool = False,
        kernel_options: str = "",
    ) -> None:
        """RELEASE is Debian's number; byway=False boots one byway was never installed in."""
        self.release = release
        self.on_terminal = on_terminal
        self.left: Literal["clean", "running", "unknown"] = "unknown"  # by the last test
        self._byway = byway
        self._kernel_options = f"{KERNEL_OPTIONS} {kernel_options}".strip()
        self._folder: Path | None = None
        self._qemu: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None

    def __enter__(self) -> Self:
        """Boot."""
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        """Pull the plug."""
        self.power_off()

    def boot(self) -> None:
        """Boot, a second time when the machine died on the way, and wait until systemd is done."""
        image = image_for(self.release)
        try:
            self._boot(image)
        except MachineDied:
            self.power_off()
            self._boot(image)

    def _boot(self, image: Image) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="booted."))
        write_payload(image, self._folder / "payload.tar", byway=self._byway)
        with (self._folder / "qemu.log").open("wb") as log:
            self._qemu = subprocess.Popen(
                qemu_command(
                    image, self._folder, self._kernel_options, on_terminal=self.on_terminal
                ),
                stdin=None if self.on_terminal else subprocess.DEVNULL,
                stdout=None if self.on_terminal else log,
                stderr=log,
            )
        try:
            self._channel = Channel(self._folder / "agent.sock")
            self._channel.wait_for_hello(BOOT_TIMEOUT)
            self.run("systemctl is-system-running --wait", timeout=BOOT_TIMEOUT, check=False)
        except MachineDied as error:
            raise MachineDied(f"{error}\n{self.console()}") from error
        except BaseException:
            self.power_off()
            raise

    def reboot(self) -> None:
        """Reboot as `systemctl reboot` does, and wait until systemd is done."""
        self.channel.expect_reboot()
        self.channel.call("spawn", GRACE, argv=["systemctl", "reboot"])
        self.channel.wait_for_hello(BOOT_TIMEOUT)
        self.run("systemctl is-system-running --wait", timeout=BOOT_TIMEOUT, check=False)

    def power_off(self) -> None:
        """End the machine at once; nothing of it is kept."""
        if self._channel:
            self._channel.close()
            self._channel = None
        if self._qemu:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def channel(self) -> Channel:
        """The line to the agent."""
        if not self._channel:
            raise MachineDied("the machine is not booted")
        return self._channel

    def run(  # noqa: PLR0913
        self,
        command: list[str] | str,
        *,
        timeout: float = 60,
        check: bool = True,
        stdin: str = "",
        user: str | None = None,
        env: dict[str, str] | None = None,
    ) -> Result:
        """Run a program, or a shell's line, to its end; CommandFailed if it fails, with CHECK.

        The timeout is in seconds, and always fails. It all runs in the agent's cgroup.
        """
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        done = self.channel.call(
            "run", timeout + GRACE, argv=argv, stdin=stdin, timeout=timeout, user=user, env=env
        )
        result = Result(argv, done["rc"], done["stdout"], done["stderr"])
        if done["late"]:
            raise CommandFailed(f"still running after {timeout:.0f} s: {result}")
        if check and result.rc:
            raise CommandFailed(str(result))
        return result

    def run_all(self, commands: Iterable[list[str]], *, at_once: int = 4) -> list[Result]:
        """Run programs, a few at a time; how each ended, in the order given."""
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(lambda argv: self.run(argv, check=False), commands))

    def spawn(
        self,
        command: list[str] | str,
        *,
        user: str | None = None,
        env: dict[str, str] | None = None,
    ) -> Process:
        """Start a program and leave it running."""
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        return Process(self, self.channel.call("spawn", GRACE, argv=argv, user=user, env=env))

    def python(self, source: str, *, timeout: float = 60, **args: object) -> Any:
        """Execute SOURCE inside the agent, no process is started.

        It reads `args`, and assigns `result`.
        """
        return self.channel.call("python", timeout, source=source, args=args)

    def put(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file, with its folders."""
        self.channel.call("put", GRACE, path=path, content=content, mode=mode)

    def get(self, path: str) -> str:
        """A file's content."""
        return str(self.channel.call("get", GRACE, path=path))

    def journal(self, *units: str, lines: int = 200) -> str:
        """The end of the journal, of UNITS (globs may be) or of everything."""
        chosen = [word for unit in units for word in ("-u", unit)]
        options = ["-b", "--no-pager", "-o", "short-precise", "-n", str(lines)]
        # with a glob that fits no unit it fails, and says so
        shown = self.run(["journalctl", *options, *chosen], check=False)
        return shown.stdout + shown.stderr

    def console(self) -> str:
        """What the kernel, and QEMU itself, printed."""
        logs = [self._folder / name for name in ("console.log", "qemu.log")] if self._folder else []
        return "".join(log.read_text(errors="replace")[-4000:] for log in logs if log.exists())

    def wait_until(
        self, condition: str, *, timeout: float = 15, interval: float = 0.1, **args: object
    ) -> None:
        """Wait inside the machine until the Python expression CONDITION holds."""
        source = (
            "import time\n"
            f"end = time.monotonic() + {timeout}\n"
            "def holds():\n"
            f"    return {condition}\n"
            "while not (result := bool(holds())) and time.monotonic() < end:\n"
            f"    time.sleep({interval})\n"
        )
        if not self.python(source, timeout=timeout + GRACE, **args):
            raise CommandFailed(f"did not come true in {timeout:.0f} s: {condition}")

    def shell(self) -> None:
        """Give the terminal a root shell in the machine, until it is left."""
        self.run(["systemctl", "start", "booted-shell.service"])
        while self.run(["systemctl", "is-active", "--quiet", "booted-shell"], check=False).rc == 0:
            time.sleep(0.3)

    def pause(self) -> None:
        """Stop the machine's clock and processors, as suspend looks from outside."""
        if self._qemu:
            self._qemu.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        if self._qemu:
            self._qemu.send_signal(signal.SIGCONT)


@dataclass(frozen=True)
class Process:
    """A program left running in the machine."""

    machine: Machine
    pid: int

    def output(self) -> str:
        """All it has printed so far, both streams."""
        return str(self.machine.channel.call("output", GRACE, pid=self.pid)["text"])

    def ended(self) -> int | None:
        """Its exit status, None while it runs."""
        status: int | None = self.machine.channel.call("output", GRACE, pid=self.pid)["rc"]
        return status

    def write(self, text: str) -> None:
        """Write to its standard input."""
        self.machine.channel.call("write", GRACE, pid=self.pid, text=text)

    def wait(self, timeout: float = 60) -> int:
        """Wait for its end; its exit status."""
        status = self.machine.channel.call("wait", timeout + GRACE, pid=self.pid, timeout=timeout)
        if status is None:
            raise CommandFailed(
                f"{self.pid} is still running after {timeout:.0f} s: {self.output()}"
            )
        return int(status)

    def wait_for(self, text: str, timeout: float = 15) -> str:
        """Wait until it has printed TEXT; all it has printed."""
        end = time.monotonic() + timeout
        while text not in (printed := self.output()):
            if time.monotonic() > end:
                raise CommandFailed(f"no {text!r} in {timeout:.0f} s, but: {printed}")
            time.sleep(0.05)
        return printed

    def stop(self, number: int = signal.SIGTERM) -> str:
        """End it with its children; all it printed."""
        return str(self.machine.channel.call("stop", GRACE, pid=self.pid, number=number)["text"])


def qemu_command(image: Image, folder: Path, options: str, *, on_terminal: bool) -> list[str]:
    """QEMU's arguments; the disk's changes go to a file that QEMU has removed already.

    BYWAY_MEMORY says how much memory the machine has, in MiB.
    """
    serial = (
        "stdio,id=serial,signal=off" if on_terminal else f"file,id=serial,path={folder}/console.log"
    )
    return [
        # it never outlives the tests, however they end
        *("setpriv", "--pdeathsig", "KILL"),
        "qemu-system-x86_64",
        *(
            "-M",
            "q35",
            "-cpu",
            "Nehalem-v1",
            "-smp",
            "2",
            "-m",
            os.environ.get("BYWAY_MEMORY", "1024"),
        ),
        *("-accel", "tcg,thread=multi,tb-size=512"),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", options),
        *("-drive", f"file={image.disk},format=raw,if=none,id=disk,snapshot=on,cache=unsafe"),
        *("-device", "virtio-blk-pci,drive=disk"),
        *("-drive", f"file={folder}/payload.tar,format=raw,if=none,id=payload,readonly=on"),
        *("-device", "virtio-blk-pci,drive=payload"),
        *(
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtserialport,chardev=agent,name=booted.agent",
        ),
        *("-chardev", f"socket,id=agent,path={folder}/agent.sock,server=on,wait=off"),
        *("-chardev", serial, "-serial", "chardev:serial"),
    ]
