"""The configuration's files: what they say now, what another text would mean, and writing it."""

from __future__ import annotations

import json
import os
import pwd
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from byway_systemd.api.configuration import Snapshot
from byway_systemd.core.apps import App, AppKind, RefusedError
from byway_systemd.core.desired import Desired, desire
from byway_systemd.core.errors import ConfigError
from byway_systemd.core.parse import (
    ConfigFile,
    parse_config,
    problem_at,
    read_entries,
)
from byway_systemd.core.traffic import SPARE_TABLES, Table, Users, own_table, resolve_users
from byway_systemd.core.units import SOURCE, Scope, render_unit_files
from byway_systemd.system import files
from byway_systemd.system.table_names import find_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from byway_systemd.core.config import Config
    from byway_systemd.core.errors import Problem


class Configuration:
    """The configuration below ``root``; ``main`` replaces /etc/byway, and has no drop-ins."""

    def __init__(self, root: Path, main: Path | None = None) -> None:
        """Nothing is read before it is asked for."""
        self._root = root
        self._main = main

    @property
    def path(self) -> Path:
        """The main file, which changes are written to."""
        return self._main or self._root / files.CONFIG

    @property
    def name(self) -> str:
        """The main file's name as people know it."""
        return str(self._main or f"/{files.CONFIG}")

    def read(self) -> Snapshot:
        """Return the files as they are, valid or not; raise ConfigError if one cannot be read."""
        main = ConfigFile(self.name, "")
        drop_ins: tuple[ConfigFile, ...] = ()
        if self._main or files.has_config(self._root):
            found = files.read_config(self._root, self._main)
            main = next((file for file in found if file.name == self.name), main)
            drop_ins = tuple(file for file in found if file.name != self.name)
        if self._main:
            return Snapshot(main, public=self._is_public())
        return Snapshot(
            main,
            drop_ins,
            files.read_lists(self._root),
            self._is_public(),
            "" if files.masks_runtime_mode(self._root) else f"/{files.RUNTIME_MODE}",
            f"/{files.BYPASS_LIST}",
            f"/{files.ROUTE_CACHE}",
            *self._read_route_cache(),
        )

    def preview(self, texts: Mapping[str, str]) -> Desired:
        """Return what there would be with ``texts``, by name; raise ConfigError."""
        snapshot = self.read()
        config = check_config(snapshot.files_with(texts))
        templates, source = files.find_templates(), self.name if self._main else SOURCE
        of_system, of_users = (
            render_unit_files(config, templates, source, scope)
            for scope in (Scope.SYSTEM, Scope.USER)
        )
        installed = self._main is None and (self._root / files.GENERATOR).exists()
        desired = desire(config, of_system, of_users, has_generator=installed, runs_units=installed)
        cleared = (snapshot.texts | dict(texts)).get(snapshot.cache_name)
        return replace(desired, cleared=bool(cleared))

    def write(self, texts: Mapping[str, str]) -> None:
        """Replace files, in their order; raise OSError.

        Links to the main file and its mode are kept; another file without a text is removed.
        """
        for name, text in texts.items():
            if name == self.name:
                path = Path(os.path.realpath(self.path))
                mode = _mode(path, 0o644)
                files.write_atomically(path, text, mode)
            elif text:
                files.write_atomically(self._root / name[1:], text)
            else:
                (self._root / name[1:]).unlink(missing_ok=True)

    def remember(self, texts: Mapping[str, str] | None) -> None:
        """Keep what comes back if byway ends before a change is confirmed; None for nothing."""
        path = self._root / files.UNCONFIRMED
        if texts is None:
            path.unlink(missing_ok=True)
        else:
            value = {"boot": _boot_id(), "texts": dict(texts)}
            files.write_atomically(path, json.dumps(value), 0o600)

    def recover(self) -> bool:
        """Bring back what an earlier daemon has remembered; return whether there was something.

        A mode for one boot does not come back in another one. Raises OSError when something cannot
        be brought back.
        """
        try:
            remembered = json.loads((self._root / files.UNCONFIRMED).read_text())
            texts, boot = dict(remembered["texts"]), remembered["boot"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False
        if self.name not in texts or not all(isinstance(text, str) for text in texts.values()):
            return False
        of_one_boot = [f"/{files.RUNTIME_MODE}", f"/{files.ROUTE_CACHE}"]
        ours = [self.name, f"/{files.BYPASS_LIST}", *(of_one_boot if boot == _boot_id() else [])]
        self.write({name: texts[name] for name in ours if name in texts})
        self.remember(None)
        return True

    def _read_route_cache(self) -> tuple[str, Problem | None]:
        try:
            return files.read_route_cache(self._root).text, None
        except ConfigError as error:
            return "", error.problems[0]

    def _is_public(self) -> bool:
        """Whether everybody may read the files anyway."""
        paths = [self.path] if self._main else [self.path, *files.find_drop_ins(self._root)]
        return all(_mode(path, stat.S_IROTH) & stat.S_IROTH for path in paths)


def check_config(texts: tuple[ConfigFile, ...]) -> Config:
    """Return the configuration; raise ConfigError with all that is wrong, in the files' order.

    A directory where a program should be is an error, and so are the names of users and of routing
    tables that there are not; the others become their ids and numbers.
    """
    problems = tuple(_find_problems_here(texts))
    config = None
    try:
        config = parse_config(texts)
    except ConfigError as error:
        problems = (*error.problems, *problems)
    if config is None or problems:
        order = {file.name: number for number, file in enumerate(texts)}
        raise ConfigError(tuple(sorted(problems, key=lambda p: (order.get(p.file, 0), p.line))))
    traffic, _ = resolve_users(config.traffic, _find_uid)
    return replace(config, traffic=replace(traffic, vpn_table=_find_table(traffic.vpn_table)))


def _find_problems_here(texts: tuple[ConfigFile, ...]) -> Iterator[Problem]:
    """Yield what is wrong only on this machine."""
    for entry in read_entries(texts):
        try:
            _check_here(entry.value)
        except RefusedError as error:
            yield problem_at(entry, str(error), error.remedy)


def _check_here(value: object) -> None:
    """Raise RefusedError for a value that this machine has nothing for."""
    if isinstance(value, App):
        if value.kind is AppKind.PATH and os.path.isdir(str(value)):  # noqa: PTH112
            raise RefusedError(f"a directory: {str(value)!r}", "name a program, or use DIR/*")
    elif isinstance(value, Users):
        if value.name and _find_uid(value.name) is None:
            raise RefusedError(f"no such user: {value.name!r}", "correct it, or write its id")
    elif isinstance(value, Table):
        _find_table(value)


def _find_table(table: Table) -> Table:
    """Return byway's own table that is meant; raise RefusedError."""
    name = table.name
    if not name:
        return table
    number = find_table(name)
    if number is None:
        line = f"{SPARE_TABLES[0]} {name}"
        remedy = f"register it: echo {line} > /etc/iproute2/rt_tables.d/{name}.conf"
        raise RefusedError(f"no such routing table: {name!r}", remedy)
    return own_table(number, f"{name!r}, which is {number}")


def _mode(path: Path, of_none: int) -> int:
    """Return a file's permissions, ``of_none`` where there is no file."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        return of_none


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _find_uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
