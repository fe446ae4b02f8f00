"""The configuration's files as the API shows and changes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.parse import ConfigFile


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files at one moment: the main one (empty when there is none) and the drop-ins.

    ``public`` says that everybody may read the files themselves.
    """

    main: ConfigFile
    drop_ins: tuple[ConfigFile, ...] = ()
    public: bool = True

    @property
    def tag(self) -> str:
        """The strong entity tag (RFC 9110, 8.8.3): another text of any file is another tag."""
        digest = hashlib.sha256()
        for file in (self.main, *self.drop_ins):
            for part in (file.name, file.text):
                content = part.encode(errors="surrogateescape")
                digest.update(len(content).to_bytes(8, "big") + content)
        return f'"{digest.hexdigest()[:32]}"'


class Configuration(Protocol):
    """Where the configuration is kept."""

    def read(self) -> Snapshot:
        """Return the files as they are; raise ConfigError if one cannot be read."""

    def preview(self, text: str) -> Desired:
        """Return what there would be with ``text`` in the main file; raise ConfigError."""

    def write(self, text: str) -> None:
        """Replace the main file."""

    def remember(self, text: str | None) -> None:
        """Keep what comes back if byway ends before a change is confirmed; None for nothing."""
