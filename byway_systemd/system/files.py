"""Files byway reads and writes: the configuration, templates, unit files and its own state.

Every function takes a root directory, so that an image or a test tree can be used in place of the
running system. Root trusts no file others could have written: configuration must belong to root
and be writable by nobody else.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from byway_systemd.core.errors import ConfigError, Problem
from byway_systemd.core.parse import LARGEST_CACHE, LARGEST_FILE, LARGEST_LIST, ConfigFile

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = "etc/byway/byway.toml"
DROP_IN_DIRECTORIES = ("etc/byway/conf.d", "run/byway/conf.d", "usr/lib/byway/conf.d")
# What to watch; a mask is a link of any time, so every change of these names counts.
CONFIG_PATHS = (CONFIG, *(f"{directory}/*.toml" for directory in DROP_IN_DIRECTORIES))
# Sorted last: it counts more than the other drop-ins.
RUNTIME_MODE = "run/byway/conf.d/zz-byway-mode.toml"
# While it is there the routes are cleared; gone with the next boot.
ROUTE_CACHE = "run/byway/routes.json"
BYPASS_LIST = "var/lib/byway/bypass.list"
WATCHED = (*CONFIG_PATHS, BYPASS_LIST, ROUTE_CACHE)  # what the daemon loads again when it changes
# systemd's generators for users' managers run as these users.
_LET_ALL_READ = "users' service managers read it, too: chmod -R a+rX /etc/byway"
RUNTIME_UNITS = "run/systemd/system"
GENERATOR = "usr/lib/systemd/system-generators/byway-generator"
GENERATED_UNITS = "run/systemd/generator"
STATE = "run/byway"
SOCKET = "run/byway/byway.sock"
UNCONFIRMED = "var/lib/byway/unconfirmed.json"  # outlives a reboot


def read_config(root: Path, main: Path | None = None) -> tuple[ConfigFile, ...]:
    """Return the configuration's files in the order they apply.

    ``main`` replaces /etc/byway/byway.toml, and then there are no drop-ins. A missing main file is
    an empty one where drop-ins exist. Raises ConfigError.
    """
    if main is not None:
        return (_read_file(main, str(main)),)
    paths = [root / CONFIG, *find_drop_ins(root)] if has_config(root) else []
    read = (_read_if_there(path, "/" + str(path.relative_to(root))) for path in paths)
    found = tuple(file for file in read if file)
    if not found:
        problem = Problem(
            f"/{CONFIG}", 0, "", "does not exist", "write one; byway.toml(5) shows three lines"
        )
        raise ConfigError((problem,))
    return found


def read_lists(root: Path) -> tuple[ConfigFile, ...]:
    """Return the lists beside the configuration: what ``byway bypass`` keeps. Raises ConfigError.

    The generators do not need them, and do not read them.
    """
    found = _read_if_there(root / BYPASS_LIST, f"/{BYPASS_LIST}", LARGEST_LIST)
    return (replace(found, is_list=True),) if found else ()


def change_list(root: Path, change: Callable[[str], str]) -> None:
    """Replace the list's text by what ``change`` makes of it, alone; an empty one is removed."""
    path = root / BYPASS_LIST
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        text = change("".join(file.text for file in read_lists(root)))
        if text:
            write_atomically(path, text)
        else:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def has_route_cache(root: Path) -> bool:
    """Whether byway's routes are cleared: whatever stands there, it is not put back unseen."""
    return os.path.lexists(root / ROUTE_CACHE)


def read_route_cache(root: Path) -> ConfigFile:
    """Return what was saved when the routes were cleared, empty when they are not.

    Raises ConfigError where the file cannot be trusted: a link, another's, or too large.
    """
    path, name = root / ROUTE_CACHE, f"/{ROUTE_CACHE}"
    if path.is_symlink():
        remedy = "remove it: byway then makes the routes anew, from its configuration"
        raise ConfigError((Problem(name, 0, "", "a symbolic link", remedy),))
    return _read_if_there(path, name, LARGEST_CACHE) or ConfigFile(name, "")


def has_config(root: Path) -> bool:
    """Whether there is a configuration; raise ConfigError where that cannot be seen."""
    try:
        return (root / CONFIG).exists() or bool(find_drop_ins(root))
    except PermissionError as error:
        name = "/" + os.path.relpath(error.filename, root)
        problem = Problem(name, 0, "", f"cannot be read: {error.strerror}", _LET_ALL_READ)
    raise ConfigError((problem,))


def find_drop_ins(root: Path) -> list[Path]:
    """Return the drop-ins in effect, sorted by name, as systemd.unit(5) has it for its own.

    A file in an earlier directory masks those of the same name in later ones; a link to /dev/null
    masks all of them.
    """
    found: dict[str, Path] = {}
    for directory in DROP_IN_DIRECTORIES:
        with suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(root / directory):  # noqa: PTH208
                if name.endswith(".toml") and not name.startswith("."):
                    found.setdefault(name, root / directory / name)
    paths = (found[name] for name in sorted(found))
    return [path for path in paths if not _is_mask(path)]


def masks_runtime_mode(root: Path) -> bool:
    """Whether a drop-in of the administrator's hides the one that sets the mode for this boot."""
    return os.path.lexists(root / DROP_IN_DIRECTORIES[0] / Path(RUNTIME_MODE).name)


def _is_mask(path: Path) -> bool:
    try:
        return os.readlink(path) == os.devnull  # noqa: PTH115
    except OSError:  # no link, or gone
        return False


def _read_if_there(path: Path, name: str, largest: int = LARGEST_FILE) -> ConfigFile | None:
    """Return the file, or none: it may be removed while it is looked for."""
    try:
        return _read_file(path, name, largest)
    except ConfigError:
        if _is_gone(path):
            return None
        raise


def _is_gone(path: Path) -> bool:
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _read_file(path: Path, name: str, largest: int = LARGEST_FILE) -> ConfigFile:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if remedy := _distrust(os.fstat(descriptor)):
                raise ConfigError((Problem(name, 0, "", "cannot be trusted", remedy),))
            content = file.read(largest + 1)
        return ConfigFile(name, content.decode())
    except UnicodeDecodeError as error:
        problem = Problem(name, 0, "", f"not UTF-8 at byte {error.start}", "save it as UTF-8")
    except OSError as error:
        remedy = "correct the path, or the file's permissions"
        if isinstance(error, PermissionError) and name.startswith("/etc/byway/"):
            remedy = _LET_ALL_READ
        problem = Problem(name, 0, "", f"cannot be read: {error.strerror}", remedy)
    raise ConfigError((problem,))


def _distrust(status: os.stat_result) -> str:
    """Return what to do about a file root must not believe; empty when all is well."""
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if os.geteuid() == 0 and status.st_uid != 0:
        return "it belongs to another user: chown root it"
    if os.geteuid() == 0 and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write it: chmod go-w it"
    return ""


def find_templates() -> dict[str, str]:
    """Return the templates by file name, from the checkout or the installation."""
    for above in Path(__file__).parents:
        # A checkout has them at its top, an installation in PREFIX/share.
        if (directory := above / "templates").is_dir() or (
            directory := above / "share/byway/templates"
        ).is_dir():
            return {path.name: path.read_text() for path in sorted(directory.glob("*.j2"))}
    raise FileNotFoundError("byway's templates are missing: install it again")


def find_build() -> str:
    """Return the build metadata that the installation recorded; empty in a checkout."""
    for above in Path(__file__).parents:
        with suppress(OSError):
            return (above / "share/byway/build").read_text().strip()
    return ""


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write ``path`` so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileNotFoundError):
        temporary.unlink()
    with os.fdopen(os.open(temporary, flags, mode), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    temporary.replace(path)


def observe_unit_files(
    root: Path, generated: str = GENERATED_UNITS
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return byway's unit files in effect, and the paths of those written at run time.

    A file is byway's when its first line says that byway generated it.
    """
    runtime = dict(_own_files(root / RUNTIME_UNITS))
    effective = {**dict(_own_files(root / generated)), **runtime}
    return tuple(sorted(effective.items())), tuple(sorted(runtime))


def _own_files(directory: Path) -> list[tuple[str, str]]:
    candidates = [*directory.glob("*.d/50-byway.conf"), *directory.glob("byway-*.slice")]
    found = []
    for path in candidates:
        with suppress(OSError, UnicodeDecodeError):
            text = path.read_text()
            if text.startswith("# Automatically generated by byway from "):
                found.append((str(path.relative_to(directory)), text))
    return found


def write_unit_file(root: Path, path: str, text: str) -> None:
    """Write a runtime unit file."""
    write_atomically(root / RUNTIME_UNITS / path, text)


def remove_unit_file(root: Path, path: str) -> None:
    """Remove a runtime unit file, and its directory when that is empty."""
    target = root / RUNTIME_UNITS / path
    target.unlink(missing_ok=True)
    if target.parent != root / RUNTIME_UNITS:
        with suppress(OSError):
            target.parent.rmdir()
