"""Which commits of the nftables ruleset have touched a table, as the kernel tells of each.

A commit's messages come in one go and end with NFT_MSG_NEWGEN and its number (nf_tables_commit()
in net/netfilter/nf_tables_api.c); each of the others names its table in its attribute 1.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from byway_systemd.system.netlink import parse_attributes, parse_text, split_datagram
from byway_systemd.system.netlink_events import (
    NFTABLES_EVENTS,
    left,
    open_event_socket,
    receive_all,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_NEW_GENERATION = 10 << 8 | 15  # NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN
_TABLE = _GENERATION = 1  # NFTA_*_TABLE, NFTA_GEN_ID
_AFTER_HEADER = 4  # struct nfgenmsg
_NUMBER = struct.Struct(">I")


class Commits:
    """Follows the commits from now on, in the network namespace of the calling thread."""

    def __init__(self, table: str) -> None:
        """Subscribe; raise OSError."""
        self._table = table
        self._events = open_event_socket(NFTABLES_EVENTS)
        self._last: int | None = None  # the number of the last one that was told of
        self._touching = 0  # and of the last that touched the table, or may have
        self._touches = False  # the one whose messages are being read does

    def close(self) -> None:
        """Be told nothing any more."""
        self._events.close()

    def paused(self) -> AbstractContextManager[None]:
        """Be told nothing until the end of the block: these commits may have touched it."""
        return left(self._events, NFTABLES_EVENTS)

    def spared(self, since: int, until: int) -> bool:
        """Whether no commit after number ``since`` has touched the table, up to ``until``."""
        self._read()
        return self._last == until and self._touching <= since

    def _read(self) -> None:
        lost = False
        for datagram in receive_all(self._events):
            if datagram is None:
                lost = True
                continue
            for reply in split_datagram(datagram):
                found = parse_attributes(reply.payload, _AFTER_HEADER)
                if reply.type == _NEW_GENERATION:
                    (number,) = _NUMBER.unpack(found[_GENERATION])
                    self._note(number)
                elif parse_text(found.get(_TABLE, b"")) in (self._table, ""):
                    self._touches = True
        if lost:
            # The kernel drops messages until all that are queued have been read, and says so once
            # (netlink_overrun() in net/netlink/af_netlink.c): the next commit may be without some.
            self._last = None

    def _note(self, number: int) -> None:
        is_next = self._last is not None and number == self._last + 1
        if self._touches or not is_next:
            self._touching = number
        self._last, self._touches = number, False
