"""Changes of the configuration: in turn, whole or not at all, and taken back if not confirmed."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from byway_systemd.api.problem import ProblemError
from byway_systemd.api.reads import tag_matches
from byway_systemd.core.conflicts import find_conflicts
from byway_systemd.core.describe import present_operation
from byway_systemd.core.messages import Message
from byway_systemd.core.plan import plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from byway_systemd.api.configuration import Configuration, Snapshot, Texts
    from byway_systemd.api.message import Request
    from byway_systemd.api.peer import Peer
    from byway_systemd.api.service import Engine
    from byway_systemd.core.desired import Desired

log = logging.getLogger("byway")

MOST_SECONDS = 24 * 3600  # to confirm in
_LONGEST_REST = 0.5
_LONGEST_NAME = 256  # LOGIN_NAME_MAX of limits.h


@dataclass(frozen=True, slots=True)
class Terms:
    """How a change is asked for, by its request's parameters and headers.

    ``user`` is for whom, where that is not the peer itself.
    """

    dry_run: bool
    confirm: int | None
    if_match: str
    request: str
    peer: Peer
    user: str = ""

    @classmethod
    def of(cls, request: Request) -> Terms:
        """Return the terms of ``request``; raise ProblemError."""
        return cls(
            dry_run=request.switch("dry_run"),
            confirm=request.seconds("confirm", MOST_SECONDS),
            if_match=request.headers.get("if-match", ""),
            request=f"{request.method} {request.path}",
            peer=request.peer,
            user=_read_user(request),
        )

    @property
    def by(self) -> str:
        """What was asked for, and by whom."""
        return f"{self.request} by {self.peer}" + (f", for {self.user}" if self.user else "")

    def tell(self) -> None:
        """Tell the journal that it was done."""
        fields = {
            "BYWAY_REQUEST": self.request,
            "BYWAY_PEER_UID": str(self.peer.uid),
            "BYWAY_PEER_PID": str(self.peer.pid),
        }
        if self.user:
            fields["BYWAY_ON_BEHALF_OF"] = self.user
        extra = {"message_id": Message.CHANGED_BY_CLIENT, "fields": fields}
        log.info("%s: done", self.by, extra=extra)


def _read_user(request: Request) -> str:
    """Return whom a client that is root asks for; anybody else's word on that counts nothing.

    The name is percent-encoded, as headers have no other characters than ASCII's.
    """
    if request.peer.uid != 0:
        return ""
    name = unquote(request.headers.get("x-byway-user", ""), errors="replace")
    if len(name) > _LONGEST_NAME or not name.isprintable():
        remedy = f"percent-encode it, {_LONGEST_NAME} characters at most"
        raise ProblemError(400, "not a user's name", remedy, key="x-byway-user")
    return name


TERMS = ("dry_run", "confirm")  # the parameters that every change may have


class Changes:
    """Makes changes in turn. ``before`` are the texts that a rollback brings back, None for none.

    A change rests for as long as it took before the next one begins: however many clients write,
    the daemon has half of its time for what it is there for.
    """

    def __init__(
        self, engine: Engine, configuration: Configuration, tell: Callable[[], None]
    ) -> None:
        """Nothing can be taken back yet; ``tell`` is called when ``present`` says otherwise."""
        self._engine = engine
        self._tell = tell
        self._configuration = configuration
        self._lock = asyncio.Lock()
        self._loaded = configuration.read().texts
        self._before: dict[str, str] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rollbacks: set[asyncio.Task[None]] = set()
        self._free_at = 0.0

    async def change(self, terms: Terms, edit: Callable[[Snapshot], Texts]) -> dict[str, Any]:
        """Edit files' texts and put them in force; return what was, or would be, changed.

        ``edit`` returns the new texts and may take its time: it runs in a thread. Raises
        ProblemError, ConfigError, UsageError and NotFoundError, and then nothing has changed.
        """
        async with self._turn():
            snapshot = await asyncio.to_thread(self._configuration.read)
            if terms.if_match and not tag_matches(terms.if_match, snapshot.tag):
                raise ProblemError(
                    412, "the configuration has changed since", "read it again", key="if-match"
                )
            texts = await asyncio.to_thread(edit, snapshot)
            desired = await asyncio.to_thread(self._configuration.preview, texts)
            if terms.dry_run:
                return await self._preview(desired)
            # What this works out of a long list is remembered, and does not keep the loop then.
            await asyncio.to_thread(plan, desired, self._engine.view.observed)
            self._apply(self._write(snapshot, texts))
            return await self._finish(terms)

    async def apply(self, terms: Terms) -> dict[str, Any]:
        """Read the configuration again and put everything right; return what was changed."""
        async with self._turn():
            if terms.dry_run:
                return await self._preview(self._engine.view.desired)
            self._engine.apply()
            return await self._finish(terms)

    async def confirm(self, terms: Terms) -> dict[str, Any]:
        """Keep what was changed for good."""
        async with self._turn():
            if self._timer is None:
                raise ProblemError(409, "nothing waits to be confirmed", "nothing needs it")
            self._settle()
            terms.tell()
            return {"code": 200, "description": "OK", **self.present()}

    async def roll_back(self, by: str) -> dict[str, Any]:
        """Bring back the configuration that was in force before the last change."""
        async with self._turn():
            if self._before is None:
                raise ProblemError(409, "nothing was changed since byway started", "nothing to do")
            snapshot, texts = self._configuration.read(), self._before
            await asyncio.to_thread(self._configuration.preview, texts)
            self._apply(self._write(snapshot, texts))
            self._settle()
            log.warning(
                "%s: the configuration is as it was before",
                by,
                extra={"message_id": Message.ROLLED_BACK, "fields": {"BYWAY_BY": by}},
            )
            return {**await self._present_outcome(), **self.present()}

    def note_loaded(self) -> None:
        """Note that the configuration was loaded: what it was before can be brought back."""
        texts = self._configuration.read().texts
        if texts != self._loaded:
            if self._timer is None:
                self._before = self._loaded
            self._loaded = texts

    def present(self) -> dict[str, Any]:
        """Return what waits to be confirmed: ``unconfirmed`` are the seconds left, or null."""
        loop = asyncio.get_running_loop()
        left = None if self._timer is None else max(0, round(self._timer.when() - loop.time()))
        return {"unconfirmed": left, "can_roll_back": self._before is not None}

    def abandon(self) -> None:
        """Byway stops: what was not confirmed by now is taken back."""
        if self._timer and self._before is not None:
            log.warning(
                "not confirmed before the stop: the configuration is as it was before",
                extra={"message_id": Message.ROLLED_BACK},
            )
            try:
                self._configuration.write(self._before)
                self._settle()
            except OSError as error:  # the way down goes on
                log.error("what was not confirmed cannot be taken back: %s", error)

    async def _preview(self, desired: Desired) -> dict[str, Any]:
        observed = self._engine.look(desired)
        operations = await asyncio.to_thread(plan, desired, observed)
        warnings = await asyncio.to_thread(find_conflicts, desired, observed)
        return {"plan": [present_operation(o) for o in operations], "warnings": warnings}

    async def _finish(self, terms: Terms) -> dict[str, Any]:
        """Tell of a change, and return it once it is in force."""
        terms.tell()
        self._await_confirmation(terms.confirm)
        return {**await self._present_outcome(), **self.present()}

    async def _present_outcome(self) -> dict[str, Any]:
        """Return what was done; the daemon tries again when it could not look at the system."""
        outcome = await self._engine.settle()
        result: dict[str, Any] = {"code": 200, "description": "OK", "applied": [], "failures": []}
        result["warnings"] = []
        if outcome is None:
            return {**result, "code": 202, "description": "Accepted", "in_sync": False}
        failures = [
            {**present_operation(failure.operation), "reason": failure.reason}
            for failure in outcome.failures
        ]
        applied = [present_operation(operation) for operation in outcome.applied]
        warnings = find_conflicts(self._engine.view.desired, outcome.observed)
        shown = {"applied": applied, "failures": failures, "warnings": warnings}
        return {**result, **shown, "in_sync": not failures and not outcome.waiting}

    def _write(self, snapshot: Snapshot, texts: Texts) -> dict[str, str]:
        """Write what is new of ``texts``, all or nothing; return what was there before.

        What somebody has written meanwhile is not overwritten.
        """
        if self._engine.phase == "deactivating":
            raise ProblemError(503, "byway is being stopped", "start it again")
        if self._configuration.read() != snapshot:
            raise ProblemError(409, "the configuration has just been changed", "try again")
        before = {
            name: text for name, text in snapshot.texts.items() if texts.get(name, text) != text
        }
        try:
            self._configuration.write({name: texts[name] for name in before})
        except OSError:
            with suppress(OSError):
                self._configuration.write(before)
            raise
        return before

    def _apply(self, before: Texts) -> None:
        """Put the files in force, or back as they were ``before`` if the daemon refuses them."""
        self._engine.apply()
        if problems := self._engine.status.get("config_problems"):
            self._configuration.write(before)
            self._engine.apply()
            raise ProblemError(409, problems[0], "correct that first, and try again")

    def _await_confirmation(self, seconds: int | None) -> None:
        """Take back in ``seconds`` what is not confirmed by then; for good without any."""
        if seconds is None:
            return
        if self._timer:
            self._timer.cancel()
        if self._before is not None:
            try:
                self._configuration.remember(self._before)
            except OSError as error:
                log.warning("a restart would keep what is not confirmed: %s", error)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)
        self._tell()

    def _expire(self) -> None:
        self._timer = None
        if self._before is not None:
            task = asyncio.get_running_loop().create_task(self._roll_back_unconfirmed())
            self._rollbacks.add(task)
            task.add_done_callback(self._rollbacks.discard)

    async def _roll_back_unconfirmed(self) -> None:
        try:
            await self.roll_back("not confirmed in time")
        except Exception as error:
            log.error("what was not confirmed could not be taken back: %s", error)

    def _settle(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._before = None
        self._configuration.remember(None)
        self._tell()

    @asynccontextmanager
    async def keep_still(self) -> AsyncIterator[None]:
        """Let nobody change anything until the end of the block."""
        async with self._turn():
            yield

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        async with self._lock:
            await asyncio.sleep(max(0.0, self._free_at - loop.time()))
            started = loop.time()
            try:
                yield
            finally:
                ended = loop.time()
                self._free_at = ended + min(ended - started, _LONGEST_REST)
