"""The unit files byway generates: drop-ins for apps and the timer, and the slices' settings.

Files are (path below a unit directory, text). Only here is jinja2 imported, and only when
something must be rendered.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from byway_systemd.core.app_units import PRECEDENCE, system_units, user_units
from byway_systemd.core.apps import refuse_control_characters
from byway_systemd.core.config import AUTO, DEFAULT_PROFILE, GATE_SERVICE, Switch
from byway_systemd.core.desired import DROP_IN, MARKER_DROP_IN, PINS, RECONCILE_TIMER
from byway_systemd.core.durations import render_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from byway_systemd.core.config import Config, Profile

SOURCE = "/etc/byway/byway.toml"


class Scope(StrEnum):
    """Whose manager the files are for (SYSTEMD_SCOPE in systemd.generator(7))."""

    SYSTEM = "system"
    USER = "user"


def unit_value(value: object) -> str:
    """Return ``value`` as it may stand after ``Key=``: specifiers inert, one line.

    Raises RefusedError on control characters, which could add a directive (systemd.syntax(7)). A
    backslash is doubled, as the last one in a line would join it with the next.
    """
    text = str(value)
    refuse_control_characters(text)
    return text.replace("\\", "\\\\").replace("%", "%%")


def render_unit_files(
    config: Config,
    templates: Mapping[str, str],
    source: str = SOURCE,
    scope: Scope = Scope.SYSTEM,
) -> tuple[tuple[str, str], ...]:
    """Return every file generated for ``scope``, sorted by path.

    ``templates`` are (file name, text).
    """
    import jinja2  # noqa: PLC0415 - 45 ms, needed only when something is rendered

    environment = jinja2.Environment(
        loader=jinja2.DictLoader(templates),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - unit files, not HTML: unit_value escapes
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["unit_value"] = unit_value
    refuse_control_characters(source)
    return tuple(
        sorted(
            (path, environment.get_template(template).render(source=source, scope=scope, **values))
            for path, (template, values) in _files(config, scope).items()
        )
    )


_File = tuple[str, dict[str, str]]  # a template and what it is filled with


def _files(config: Config, scope: Scope) -> dict[str, _File]:
    files: dict[str, _File] = {}
    if config.reconcile and scope is Scope.SYSTEM:
        interval = {"interval": render_duration(config.reconcile)}
        files[f"{RECONCILE_TIMER}.d/{DROP_IN}"] = ("timer.conf.j2", interval)
    if config.gate is Switch.OFF and scope is Scope.SYSTEM:
        files[f"{GATE_SERVICE}.d/{DROP_IN}"] = ("gate.conf.j2", {})
    for profile in config.profiles:
        link = {"link": describe_link(profile)}
        if profile.name == DEFAULT_PROFILE:
            files[f"{profile.slice}.d/{DROP_IN}"] = ("slice.conf.j2", link)
        else:
            files[profile.slice] = ("profile.slice.j2", link)
        if config.socket_marker is not Switch.OFF and scope is Scope.SYSTEM:
            pin = {"program": f"{PINS}/{profile.name}"}
            files[f"{profile.slice}.d/{MARKER_DROP_IN}"] = ("marker.conf.j2", pin)
    return files | dict(_placements(config, scope))


def _placements(config: Config, scope: Scope) -> Iterator[tuple[str, _File]]:
    """Yield the drop-ins that put apps into slices; of two for one unit the last one counts.

    What names a unit comes after what names a kind of packages, and that after desktop entries.
    """
    units_of = user_units if scope is Scope.USER else system_units
    placed = [(app, profile.slice) for profile in config.profiles for app in profile.apps]
    for app, slice_ in sorted(placed, key=lambda one: PRECEDENCE.index(one[0].kind)):
        for unit in units_of(app):
            template = "scope.conf.j2" if unit.endswith(".scope") else "service.conf.j2"
            yield f"{unit}.d/{DROP_IN}", (template, {"slice": slice_})


def describe_link(profile: Profile) -> str:
    """Return the profile's link, for people."""
    return "the best link that is not a VPN" if profile.interface == AUTO else profile.interface
