"""Bytes that are almost requests, and bytes that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

REQUESTS = (
    b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /api/v1/explain?pid=1 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
    b"HEAD /api/v1/config HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /api/v1/apps?dry_run=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
    b'"/usr/bi/a"',
    b"PUT /api/v1/config?dry_run=1 HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
    b"4\r\na=1\n\r\n3;x=y\r\n#\r\n\r\n0\r\nTrailer: x\r\n\r\n",
    b"DELETE /api/v1/apps?app=/usr/bin/curl&dry_run=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
)
_PIECES = (
    b"\r\n", b"\n", b"\r", b" ", b"\0", b":", b"%", b"%00", b"%ff", b"/../", b"//", b"?", b"&",
    b"HTTP/1.0", b"HTTP/9.9", b"\r\n folded", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"\xff\xfe", b"a" * 5000, b"0\r\n\r\n",
    b"ffffffffffffffff\r\n", b"CONNECT", b"\xe2\x80\xa8", b"Host: two\r\n",
)  # fmt: skip


def make_raw(random: Random) -> bytes:
    """Return the next input."""
    kind = random.randrange(10)
    if kind == 0:
        return random.randbytes(random.randrange(1, 300))
    data = bytearray(b"".join(random.choices(REQUESTS, k=random.choice((1, 1, 1, 2, 3)))))
    for _ in range(random.randrange(1, 5)):
        place = random.randrange(len(data) + 1)
        match random.randrange(4):
            case 0:
                data[place:place] = random.choice(_PIECES)
            case 1:
                del data[place : place + random.randrange(1, 8)]
            case 2:
                data[place : place + 1] = random.randbytes(1)
            case _:
                end = place + random.randrange(1, 40)
                data[place:place] = data[place:end]
    return bytes(data[: random.randrange(1, len(data) + 1)]) if kind == 1 else bytes(data)
