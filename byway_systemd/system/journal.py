"""Logging: lines for people on standard error, entries with fields in the journal.

The native protocol is documented at https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.
"""

from __future__ import annotations

import logging
import os
import socket
import sys

JOURNAL = "/run/systemd/journal/socket"
_LONGEST_FIELD = 8192
# The priorities of sd-daemon(3).
_LEVELS = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class _Formatter(logging.Formatter):
    """Lines without control characters; in a service, with their priority."""

    def format(self, record: logging.LogRecord) -> str:
        text = _printable(super().format(record))
        if "JOURNAL_STREAM" in os.environ:
            return f"<{_LEVELS.get(record.levelno, 6)}>{text}"
        return text


class JournalHandler(logging.StreamHandler):  # type: ignore[type-arg] # generic for checkers only
    """Sends a record that has a MESSAGE_ID to the journal itself, anything else to ``stream``.

    What the journal does not take at once goes to the stream too: nobody waits for the journal.
    """

    def __init__(self, path: str = JOURNAL) -> None:
        """Log to standard error, or in a service to the journal's socket at ``path``."""
        super().__init__(sys.stderr)
        self.setFormatter(_Formatter("%(message)s"))
        self._path = path if "JOURNAL_STREAM" in os.environ else ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        message_id = getattr(record, "message_id", "")
        if not (message_id and self._path and self._send(record, str(message_id))):
            super().emit(record)

    def _send(self, record: logging.LogRecord, message_id: str) -> bool:
        fields = {
            "MESSAGE": record.getMessage(),
            "MESSAGE_ID": message_id,
            "PRIORITY": str(_LEVELS.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": "byway",
            **getattr(record, "fields", {}),
        }
        # Without line breaks a field is one line; what others have named is made so.
        lines = (f"{name}={_printable(text)[:_LONGEST_FIELD]}\n" for name, text in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                data = "".join(lines).encode(errors="replace")
                sender.sendto(data, socket.MSG_DONTWAIT, self._path)
        except OSError:
            return False
        return True


def log_to_stderr() -> None:
    """Log byway's own records, from INFO on."""
    log = logging.getLogger("byway")
    log.addHandler(JournalHandler())
    log.setLevel(logging.INFO)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
