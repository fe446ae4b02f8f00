"""The files that are made, and their text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rendering.bash import render_bash
from rendering.fish import render_fish
from rendering.manual import render_manual
from rendering.zsh import render_zsh

if TYPE_CHECKING:
    from pathlib import Path


def render_outputs(root: Path) -> dict[str, str]:
    """Return the text of every file by its name below the checkout ``root``."""
    template = (root / "man/byway.1.in").read_text(encoding="utf-8")
    return {
        "man/byway.1": render_manual(template),
        "completions/byway.bash": render_bash(),
        "completions/_byway": render_zsh(),
        "completions/byway.fish": render_fish(),
    }
