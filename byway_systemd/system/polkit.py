"""Asking polkit whether somebody may change what byway does (org.freedesktop.PolicyKit1)."""

from __future__ import annotations

import asyncio
import logging
import select
from typing import TYPE_CHECKING, Any

from byway_systemd.system.processes import start_time

if TYPE_CHECKING:
    from byway_systemd.api.peer import Peer

log = logging.getLogger("byway")

ACTION = "io.byway.manage"
_PATIENCE = 2.0  # seconds; libraries wait 25 for a polkit that hangs
_PATIENCE_WITH_USER = 60.0
_ALLOW_USER_INTERACTION = 1


async def ask(
    peer: Peer, patience: float = _PATIENCE, with_user: float = _PATIENCE_WITH_USER
) -> bool:
    """Return whether polkit lets ``peer`` manage byway; False where there is no polkit.

    An agent of the peer's session, where there is one, may ask for a password. The two times are
    seconds, without and with a user to wait for.
    """
    try:
        subject = _subject(peer)
        async with asyncio.timeout(patience):
            allowed, challenge = await _check(subject, 0)
        if challenge and not allowed:
            async with asyncio.timeout(with_user):
                allowed, _ = await _check(subject, _ALLOW_USER_INTERACTION)
    except TimeoutError:
        log.warning("polkit does not answer: %s is refused", peer)
        return False
    except Exception as error:  # no bus, no polkit, or not one that can be understood
        log.debug("polkit cannot be asked: %s", error)
        return False
    return allowed


def _subject(peer: Peer) -> tuple[str, dict[str, tuple[str, int]]]:
    """Return the peer as polkit names it; raise OSError when it is gone.

    The start time tells a process from a later one of the same pid; the pidfd says that it is the
    peer's.
    """
    start = start_time(peer.pid)
    if peer.pidfd >= 0 and select.select((peer.pidfd,), (), (), 0)[0]:
        raise ProcessLookupError(peer.pid)
    details = {"pid": ("u", peer.pid), "start-time": ("t", start), "uid": ("i", peer.uid)}
    return ("unix-process", details)


async def _check(subject: Any, flags: int) -> tuple[bool, bool]:
    """Return whether it is allowed, and whether it would be once the user has proved who he is.

    Each question has a connection of its own: closed, polkit stops asking the user.
    """
    from jeepney import DBusAddress, DBusErrorResponse, new_method_call  # noqa: PLC0415
    from jeepney.io.asyncio import open_dbus_router  # noqa: PLC0415

    authority = DBusAddress(
        "/org/freedesktop/PolicyKit1/Authority",
        "org.freedesktop.PolicyKit1",
        "org.freedesktop.PolicyKit1.Authority",
    )
    call = new_method_call(
        authority, "CheckAuthorization", "(sa{sv})sa{ss}us", (subject, ACTION, {}, flags, "")
    )
    async with open_dbus_router("SYSTEM") as router:
        reply = await router.send_and_get_reply(call)
    if reply.header.fields.get(4):  # a D-Bus error's name
        raise ValueError(str(DBusErrorResponse(reply)))
    ((allowed, challenge, _details),) = reply.body
    return bool(allowed), bool(challenge)
