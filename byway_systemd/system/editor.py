"""The user's editor."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from byway_systemd.core.errors import BywayError


def edit_text(text: str, path: Path) -> str:
    """Run the user's editor (VISUAL, EDITOR, else editor or vi) on a copy; return what was saved.

    ``path`` is what the text is of. Raises BywayError when there is no editor, or it fails.
    """
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    candidates = [chosen] if chosen.strip() else ["editor", "vi", "nano"]
    commands = (shlex.split(candidate) for candidate in candidates)
    command = next((words for words in commands if shutil.which(words[0])), None)
    if command is None:
        raise BywayError(f"no editor: {' or '.join(candidates)} (set EDITOR, or edit {path})")
    with tempfile.TemporaryDirectory(prefix="byway-") as directory:
        copy = Path(directory, "byway.toml")
        copy.write_text(text)
        done = subprocess.run([*command, str(copy)], check=False)  # noqa: S603
        if done.returncode:
            raise BywayError(f"{command[0]} failed ({done.returncode}): nothing was saved")
        return copy.read_text()
