"""The configuration's files as the API shows and changes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from byway_systemd.core.parse import ConfigFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.errors import Problem

    Texts = Mapping[str, str]  # of files, by name; a file without a text is not there

_REFUSED = "refused\n"  # what comes back of a cache that could not be trusted: another one


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files at one moment: the main one (empty when there is none), drop-ins and lists.

    ``public`` says that everybody may read the files themselves. ``runtime_name`` is the drop-in
    that sets the mode until the next boot, ``list_name`` the list of bypassed destinations, whether
    they are there or not; empty where they would not count. ``cache_name`` is what is saved of
    cleared routes, ``cache_text`` its text, and ``cache_fault`` why that cannot be trusted.
    """

    main: ConfigFile
    drop_ins: tuple[ConfigFile, ...] = ()
    lists: tuple[ConfigFile, ...] = ()
    public: bool = True
    runtime_name: str = ""
    list_name: str = ""
    cache_name: str = ""
    cache_text: str = ""
    cache_fault: Problem | None = None

    @property
    def is_cleared(self) -> bool:
        """Whether the routes are cleared."""
        return bool(self.cache_text or self.cache_fault)

    @property
    def tag(self) -> str:
        """The strong entity tag (RFC 9110, 8.8.3): another text of any file is another tag."""
        digest = hashlib.sha256()
        for file in (self.main, *self.drop_ins, *self.lists):
            for part in (file.name, file.text):
                content = part.encode(errors="surrogateescape")
                digest.update(len(content).to_bytes(8, "big") + content)
        return f'"{digest.hexdigest()[:32]}"'

    @property
    def texts(self) -> dict[str, str]:
        """The texts of the files that byway changes; empty ones of those that are not there."""
        there = {file.name: file.text for file in (*self.drop_ins, *self.lists)}
        if self.is_cleared:
            there[self.cache_name] = self.cache_text or _REFUSED
        names = [name for name in (self.runtime_name, self.list_name, self.cache_name) if name]
        return {self.main.name: self.main.text, **{name: there.get(name, "") for name in names}}

    def files_with(self, texts: Texts) -> tuple[ConfigFile, ...]:
        """Return all files in the order they apply, as they would be with ``texts``."""
        texts = self.texts | dict(texts)
        drop_ins = {file.name.rpartition("/")[2]: file for file in self.drop_ins}
        if self.runtime_name:
            short = self.runtime_name.rpartition("/")[2]
            # Without a text it may uncover one of the same name further down.
            if texts[self.runtime_name]:
                drop_ins[short] = ConfigFile(self.runtime_name, texts[self.runtime_name])
            elif short in drop_ins and drop_ins[short].name == self.runtime_name:
                del drop_ins[short]
        listed = texts.get(self.list_name, "")
        lists = (ConfigFile(self.list_name, listed, is_list=True),) if listed else ()
        main = replace(self.main, text=texts[self.main.name])
        return (main, *(drop_ins[name] for name in sorted(drop_ins)), *lists)


class Configuration(Protocol):
    """Where the configuration is kept."""

    def read(self) -> Snapshot:
        """Return the files as they are; raise ConfigError if one cannot be read."""

    def preview(self, texts: Texts) -> Desired:
        """Return what there would be with ``texts``; raise ConfigError."""

    def write(self, texts: Texts) -> None:
        """Replace files, in their order; those that get no text are removed, the main one is not.

        Raises OSError, and then those before the one that failed are written.
        """

    def remember(self, texts: Texts | None) -> None:
        """Keep what comes back if byway ends before a change is confirmed; None for nothing."""
