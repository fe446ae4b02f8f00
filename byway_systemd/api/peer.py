"""Who is at the other end of a connection, and what they may do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from byway_systemd.api.problem import ProblemError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that opened a connection, as the kernel knew it then (SO_PEERCRED of unix(7)).

    ``groups`` are all of its groups; ``pidfd`` holds on to the process itself where the kernel can
    give one (SO_PEERPIDFD, Linux 6.5), else it is -1.
    """

    pid: int
    uid: int
    groups: frozenset[int] = frozenset()
    pidfd: int = -1

    def close(self) -> None:
        """Let go of the process."""
        if self.pidfd >= 0:
            os.close(self.pidfd)

    def __str__(self) -> str:
        return f"uid {self.uid}, pid {self.pid}"


@dataclass(frozen=True, slots=True)
class Authority:
    """Who may change things: root, the members of a group, and whom polkit lets.

    ``group`` returns the group's id, None when there is none; ``ask`` asks polkit, which may take
    its user's time, and returns False where there is no polkit.
    """

    group: Callable[[], int | None]
    ask: Callable[[Peer], Awaitable[bool]]

    async def require(self, peer: Peer) -> None:
        """Return when ``peer`` may change things; raise ProblemError otherwise."""
        if peer.uid == 0:
            return
        group = self.group()
        if group is not None and group in peer.groups:
            return
        if await self.ask(peer):
            return
        raise ProblemError(
            403,
            f"uid {peer.uid} may not change what byway does",
            "use sudo, or become a member of the group byway and log in again",
        )
