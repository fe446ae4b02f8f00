"""What the systemd generator writes (systemd.generator(7)), also behind ``byway generate``."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from byway_systemd.core.parse import parse_config
from byway_systemd.core.units import render_unit_files
from byway_systemd.system.files import find_templates, read_config, write_atomically

if TYPE_CHECKING:
    from pathlib import Path


def generate(directory: Path, root: Path, main: Path | None = None) -> tuple[str, ...]:
    """Write the unit files of the configuration below ``root`` into ``directory``.

    Returns the paths written. Raises ConfigError, and then nothing was written.
    """
    files = render_unit_files(parse_config(read_config(root, main)), find_templates())
    write_files(directory, files)
    return tuple(path for path, _ in files)


def write_files(directory: Path, files: tuple[tuple[str, str], ...]) -> None:
    """Write (path, text) pairs below ``directory``."""
    for path, text in files:
        write_atomically(directory / path, text)


def generate_and_remember(directory: Path, root: Path, key: str, cache: Path) -> None:
    """Write the unit files and remember them under ``key`` for the next time."""
    files = render_unit_files(parse_config(read_config(root)), find_templates())
    write_files(directory, files)
    with suppress(OSError):  # /run may be read-only in a container: then it is rendered each time
        write_atomically(cache, json.dumps({"key": key, "files": files}))
