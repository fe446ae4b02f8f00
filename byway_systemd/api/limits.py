"""What a client may take of the daemon: sizes in bytes, times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

MOST_BODY = 8 * 1024 * 1024  # of any request
SMALL_BODY = 128 * 1024  # twice the largest configuration file, for what quoting adds to it


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one server.

    ``idle`` is the patience for the next request of a connection, ``head`` for its request line and
    headers, ``body`` for its whole body, ``send`` for an answer to be taken, and ``linger`` for a
    refused client to stop sending. One user but root gets half of the connections and streams, and
    ``reserved`` of the connections are root's, so that nobody can keep the administrator out.
    """

    connections: int = 64
    streams: int = 16
    reserved: int = 4
    header_bytes: int = 16 * 1024
    idle: float = 30.0
    head: float = 5.0
    body: float = 20.0
    send: float = 5.0
    linger: float = 0.5
    keep_alive: float = 15.0  # between two comments on an event stream that is silent
    backlog: int = 256  # events that a stream may be behind
    stop: float = 0.5  # for what is being answered when the daemon stops
