"""The page's files: what is in its folder when the server starts, and nothing else."""

from __future__ import annotations

from pathlib import Path

from byway_systemd.ui.message import Answer

PAGE = Path(__file__).with_name("page")
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Sent with every answer. Nothing of the page is a script or a style in the document itself.
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def read_page(folder: Path = PAGE) -> dict[str, Answer]:
    """Return the answer for each path; raise OSError. ``/`` is index.html."""
    answers = {}
    for file in sorted(folder.iterdir()):
        if kind := _KINDS.get(file.suffix):
            path = "/" if file.name == "index.html" else f"/{file.name}"
            answers[path] = Answer(200, file.read_bytes(), {"Content-Type": kind})
    return answers
