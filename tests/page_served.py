"""`byway ui` as a process over the fake daemon, and a browser's requests to it.

`page_served.py ROOT ARGUMENT...` is `byway ui` with the tree ROOT; BYWAY_TEST_LIMITS in the
environment are limits of its own, as JSON.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from served import NOBODY, PATIENCE, TESTS, Answer, exchange, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Page:
    """A page that is served: its process, where it is, and the cookie once there is one."""

    process: subprocess.Popen[str]
    url: str
    cookie: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def port(self) -> int:
        return int(self.host.partition(":")[2])

    @property
    def origin(self) -> dict[str, str]:
        return {"Origin": f"http://{self.host}"}

    def ask(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request as it is, with a Host but without a cookie."""
        connection = http.client.HTTPConnection(self.host, timeout=PATIENCE)
        return exchange(connection, method, target, body, headers)

    def enter(self) -> Answer:
        """Exchange the token for the cookie, as the browser does that is given the URL."""
        answer = self.ask("GET", self.url.removeprefix(f"http://{self.host}"))
        if answer.status == 303:
            self.cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
        return answer

    def read(self, target: str) -> Answer:
        """Ask with the cookie."""
        return self.ask("GET", target, headers=self.cookie)

    def change(self, method: str, target: str, body: Any = None) -> Answer:
        """Ask with the cookie, as the page itself does."""
        return self.ask(method, target, body, {**self.cookie, **self.origin})

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def send(self, data: bytes) -> bytes:
        """Send bytes as they are; return all that comes back until the end."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_all(sock)

    def head(self, method: str = "GET", target: str = "/state", *lines: str) -> bytes:
        """Return a request's head with the cookie."""
        cookie = f"Cookie: {self.cookie['Cookie']}"
        head = (f"{method} {target} HTTP/1.1", f"Host: {self.host}", cookie, *lines)
        return "\r\n".join((*head, "", "")).encode()

    def ended(self, patience: float = PATIENCE) -> int:
        """Wait for its end; return its exit code."""
        return self.process.wait(patience)


@contextmanager
def serve_page(
    root: Path,
    *arguments: str,
    uid: int = NOBODY,
    groups: str = "",
    desktop: dict[str, str] | None = None,
    **limits: float,
) -> Iterator[Page]:
    """Run `byway ui` until the end of the block; it must end well and say nothing.

    Without a ``desktop``, which is some environment, it is told to open no browser.
    """
    who = [f"--reuid={uid}", f"--regid={uid}", f"--groups={groups}" if groups else "--clear-groups"]
    command = [sys.executable, __file__, str(root), "ui", *arguments]
    command += [] if desktop else ["--no-browser"]
    process = subprocess.Popen(
        ["setpriv", *who, *command] if os.geteuid() == 0 else command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
            "BYWAY_TEST_LIMITS": json.dumps(limits),
            **(desktop or {}),
        },
    )
    assert process.stdout
    assert process.stderr
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), process.communicate()
        yield Page(process, url)
        if process.poll() is None:
            process.terminate()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def main(arguments: list[str]) -> int:
    from byway_systemd.cli.verbs import build_parser  # noqa: PLC0415 - only in the process itself
    from byway_systemd.system.host import Host  # noqa: PLC0415
    from byway_systemd.ui import server  # noqa: PLC0415

    limits = json.loads(os.environ["BYWAY_TEST_LIMITS"])
    server.Limits = partial(server.Limits, **limits)  # type: ignore[assignment,misc]
    namespace = build_parser(str).parse_args(arguments[1:])
    return int(namespace.verb.load()(Host(root=Path(arguments[0])), namespace))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
