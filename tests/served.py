"""The fake daemon as a process, and clients of it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TESTS = Path(__file__).parent
GROUP = 4711  # of byway, in the served tree
NOBODY = 65534
CONFIG = """# kept
interface = "wwan0"
apps = ["/usr/bin/curl"]  # kept too
"""
PATIENCE = 10.0


class UnixConnection(http.client.HTTPConnection):
    """http.client over a unix socket."""

    def __init__(self, path: Path, timeout: float = PATIENCE) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: Any,
    headers: dict[str, str] | None,
) -> Answer:
    """Send one request, bytes as they are and anything else as JSON, and close the connection."""
    try:
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, target, sent, headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


@dataclass
class Served:
    """A daemon that serves: its tree and its process."""

    root: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.root / "run/byway/byway.sock"

    @property
    def config(self) -> Path:
        return self.root / "etc/byway/byway.toml"

    def ask(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send one request by http.client: bytes as they are, anything else as JSON."""
        return exchange(UnixConnection(self.socket), method, target, body, headers)

    def get(self, target: str) -> Any:
        """Return what is there; it must be there."""
        answer = self.ask("GET", target)
        assert answer.status == 200, answer.body
        return answer.json

    def put(self, target: str, text: str, headers: dict[str, str] | None = None) -> Answer:
        """Send a text as it is."""
        return self.ask("PUT", target, text.encode(), headers)

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE)
        sock.connect(str(self.socket))
        return sock

    def send(self, data: bytes) -> bytes:
        """Send bytes as they are; return all that comes back until the end."""
        with self.connect() as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return read_all(sock)

    def stop(self) -> None:
        """Stop it as systemd does; it must end well."""
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0

    def tell(self, line: str) -> None:
        """Let something happen: a pid is executed, or the network is changed."""
        with (self.root / "events").open("w") as fifo:
            fifo.write(line + "\n")

    def curl(self, *arguments: str, uid: int = 0, groups: str = "") -> Answer:
        """Send a request by curl, as somebody; return the status and the body."""
        command = ["curl", "-sS", "--max-time", "10", "-w", r"\n%{http_code}"]
        command += ["--unix-socket", str(self.socket), *arguments]
        if uid:
            who = [f"--reuid={uid}", f"--regid={uid}"]
            who += [f"--groups={groups}" if groups else "--clear-groups"]
            command = ["setpriv", *who, *command]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode in (0, 28), done.stderr  # 28: its own time-out, of a stream
        body, _, status = done.stdout.rpartition(b"\n")
        return Answer(int(status), http.client.HTTPMessage(), body)

    def descriptors(self) -> int:
        """Return how many are open, without those that are so for a moment."""
        counts = []
        for _ in range(8):
            counts.append(len(list(Path(f"/proc/{self.process.pid}/fd").iterdir())))
            time.sleep(0.003)
        return min(counts)

    def memory(self) -> int:
        """Return the resident memory in kilobytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])


def read_all(sock: socket.socket) -> bytes:
    found = b""
    try:
        while data := sock.recv(65536):
            found += data
    except ConnectionError:  # it was closed with something unread
        pass
    return found


def until(holds: Callable[[], object], patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


@contextmanager
def serve(config: str = CONFIG, long: str = "", **limits: float) -> Iterator[Served]:
    """Run a fake daemon until the end of the block; it must end well."""
    # A unix socket's path has 107 bytes at most, so that pytest's own directories may be too deep.
    root = Path(tempfile.mkdtemp(prefix="byway-api-"))
    root.chmod(0o755)
    (root / "etc/byway").mkdir(parents=True)
    (root / "etc/byway/byway.toml").write_text(config)
    (root / "etc/group").write_text(f"root:x:0:\nbyway:x:{GROUP}:alice\n")
    process = _start(root, {"long": long, **limits})
    try:
        until(lambda: (root / "told").exists() or process.poll() is not None)
        served = Served(root, process)
        yield served
        if process.returncode is None:
            served.stop()
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(root)


def _start(root: Path, options: dict[str, Any]) -> subprocess.Popen[bytes]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    (root / "run/byway").mkdir(parents=True)
    listener.bind(str(root / "run/byway/byway.sock"))
    (root / "run/byway/byway.sock").chmod(0o666)
    listener.listen(128)
    # The manager sets LISTEN_PID between fork and exec; a shell's own pid is that of what it execs.
    script = 'exec 3<&"$0" && LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
    command = [sys.executable, str(TESTS / "fake_daemon.py"), str(root), json.dumps(options)]
    if options["long"] == "kernel":
        command = ["unshare", "--net", *command]
    with listener:
        return subprocess.Popen(
            ["bash", "-c", script, str(listener.fileno()), *command],
            pass_fds=(listener.fileno(),),
            env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        )
