"""What the systemd generator writes (systemd.generator(7)), also behind ``byway generate``."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from byway_systemd.core.apps import RefusedError
from byway_systemd.core.errors import UsageError
from byway_systemd.core.parse import parse_config
from byway_systemd.core.units import SOURCE, Scope, render_unit_files
from byway_systemd.system.files import find_templates, read_config, write_atomically
from byway_systemd.system.remembered import (
    CACHE,
    Files,
    fingerprint,
    recall,
    render_memory,
    write_files,
)

if TYPE_CHECKING:
    from pathlib import Path


def unit_files(root: Path, main: Path | None = None, scope: Scope = Scope.SYSTEM) -> Files:
    """Return the unit files of the configuration, rendered only when they must be.

    Those of both scopes are remembered together: users' generators cannot remember anything that
    others would believe.

    ``main`` replaces /etc/byway, and is never remembered. Raises ConfigError, and UsageError for a
    name that could not stand in a unit file.
    """
    if main is not None:
        config = parse_config(read_config(root, main))
        try:
            return render_unit_files(config, find_templates(), str(main.absolute()), scope)
        except RefusedError as error:
            raise UsageError(f"{error} (rename the file)") from None
    remembered = recall(str(root), scope)
    if remembered is not None:
        return remembered
    key = fingerprint(str(root))
    config, templates = parse_config(read_config(root)), find_templates()
    files = {str(one): render_unit_files(config, templates, SOURCE, one) for one in Scope}
    with suppress(OSError):  # not root, or /run is read-only: then it is rendered each time
        write_atomically(root / CACHE, render_memory(key, files))
    return files[scope]


def generate(
    directory: Path, root: Path, main: Path | None = None, scope: Scope = Scope.SYSTEM
) -> tuple[str, ...]:
    """Write the unit files into ``directory``; return their paths.

    Raises ConfigError, and then nothing was written.
    """
    return write_files(str(directory), unit_files(root, main, scope))
