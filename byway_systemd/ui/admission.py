"""Who is let in: a browser that was given the page's one-time token, and no other site in it."""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from byway_systemd.ui.message import READS, WRITES, Answer, RefusedError, Request

ADDRESS = "127.0.0.1"
_AGAIN = "open the page by byway ui"
_TOKEN = "token"  # noqa: S105 - the parameter's name


class Admission:
    """The token, the cookie that it is exchanged for, and the checks of every request.

    A page of another site may have the browser send requests here: it cannot read the answers, and
    SameSite, Host (a foreign name that resolves to this address) and Origin keep it from more.
    """

    def __init__(self, port: int) -> None:
        """Nobody has the token yet."""
        self.host = f"{ADDRESS}:{port}"
        self._origin = f"http://{self.host}"
        self._token = secrets.token_urlsafe(32)
        self._cookie = secrets.token_urlsafe(32)
        # Cookies are an address's, whatever the port: two of these do not replace each other's.
        self._name = f"byway-{port}"

    @property
    def url(self) -> str:
        """Where the page is opened, once."""
        return f"{self._origin}/?{_TOKEN}={self._token}"

    def admit(self, request: Request) -> Answer | None:
        """Return None for a request that may pass, the answer to one that brings the token.

        Raises RefusedError for every other one.
        """
        if request.headers.get("host") != self.host:
            raise RefusedError(421, "this is not the server you look for", f"ask {self._origin}/")
        if request.method not in READS | WRITES:
            raise RefusedError(405, f"no method {request.method}", "use GET")
        if request.method in READS and (given := _token_of(request)):
            return self._exchange(given)
        if not self._has_cookie(request.headers.get("cookie", "")):
            raise RefusedError(401, "who you are is not known", _AGAIN)
        if request.method in WRITES and request.headers.get("origin") != self._origin:
            raise RefusedError(403, "the change comes from another page", "make it on byway's own")
        return None

    def _exchange(self, given: str) -> Answer:
        if not (self._token and secrets.compare_digest(given.encode(), self._token.encode())):
            raise RefusedError(401, "the token is not valid, or was used before", _AGAIN)
        self._token = ""
        cookie = f"{self._name}={self._cookie}; HttpOnly; SameSite=Strict; Path=/"
        return Answer(303, headers={"Location": "/", "Set-Cookie": cookie})

    def _has_cookie(self, header: str) -> bool:
        try:
            found = SimpleCookie(header).get(self._name)
        except CookieError:
            return False
        given = found.value if found else ""
        return secrets.compare_digest(given.encode(), self._cookie.encode())


def _token_of(request: Request) -> str:
    path, _, query = request.target.partition("?")
    if path != "/":
        return ""
    try:
        return parse_qs(query, max_num_fields=8).get(_TOKEN, [""])[0]
    except ValueError:
        return ""
