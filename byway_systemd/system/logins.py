"""Logins by ssh from other machines: this program's own, and the connections that are open."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from byway_systemd.core.observed import Login
from byway_systemd.system.proc_sockets import ESTABLISHED, list_sockets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_TCP, _SSH = 6, 22
_MOST = 100
_LARGEST = 1 << 16


def observe_logins(
    root: Path, environment: Mapping[str, str] = os.environ, proc: str = "/proc"
) -> tuple[Login, ...]:
    """Return the logins, at most 100, each pair of addresses once.

    That is SSH_CONNECTION (ssh(1)), which sudo takes away, and what is connected to the ports that
    sshd_config(5) names; where they cannot be read, to 22.
    """
    found = {*_own_login(environment)}
    ports = {_SSH, *_ports(root)}
    for seen in list_sockets((_TCP,), proc):
        client, server = seen.remote[0], seen.local[0]
        is_login = seen.state == ESTABLISHED and seen.local[1] in ports
        if is_login and not ip_address(client).is_loopback:
            found.add(Login(client, server))
    return tuple(sorted(found)[:_MOST])


def _own_login(environment: Mapping[str, str]) -> Iterator[Login]:
    """Yield the login in `CLIENT PORT SERVER PORT`."""
    words = environment.get("SSH_CONNECTION", "").split()
    with suppress(ValueError, IndexError):
        client, server = (ip_address(words[place].partition("%")[0]) for place in (0, 2))
        if not client.is_loopback:
            yield Login(str(client), str(server))


def _ports(root: Path) -> Iterator[int]:
    directory = root / "etc/ssh"
    drop_ins = sorted(directory.glob("sshd_config.d/*.conf"))[:_MOST]
    for path in (directory / "sshd_config", *drop_ins):
        with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LARGEST)
            for port in re.findall(
                r"^\s*Port[\s=]+([0-9]{1,5})\b", text, re.MULTILINE | re.IGNORECASE
            ):
                yield int(port)
