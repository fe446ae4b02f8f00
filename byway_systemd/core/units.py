"""The unit files byway generates: drop-ins for services and the timer, and the slices' settings.

Files are (path below a unit directory, text). Only here is jinja2 imported, and only when
something must be rendered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from byway_systemd.core.apps import AppKind, refuse_control_characters
from byway_systemd.core.config import AUTO, DEFAULT_PROFILE, GATE_SERVICE, Switch
from byway_systemd.core.desired import DROP_IN, RECONCILE_TIMER
from byway_systemd.core.durations import render_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from byway_systemd.core.config import Config, Profile

SOURCE = "/etc/byway/byway.toml"


def unit_value(value: object) -> str:
    """Return ``value`` as it may stand after ``Key=``: specifiers inert, one line.

    Raises RefusedError on control characters, which could add a directive (systemd.syntax(7)). A
    backslash is doubled, as the last one in a line would join it with the next.
    """
    text = str(value)
    refuse_control_characters(text)
    return text.replace("\\", "\\\\").replace("%", "%%")


def render_unit_files(
    config: Config, templates: Mapping[str, str], source: str = SOURCE
) -> tuple[tuple[str, str], ...]:
    """Return every generated file, sorted by path. ``templates`` are (file name, text)."""
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
            (path, environment.get_template(template).render(source=source, **values))
            for path, template, values in _files(config)
        )
    )


def _files(config: Config) -> Iterator[tuple[str, str, dict[str, str]]]:
    if config.reconcile:
        interval = {"interval": render_duration(config.reconcile)}
        yield f"{RECONCILE_TIMER}.d/{DROP_IN}", "timer.conf.j2", interval
    if config.gate is Switch.OFF:
        yield f"{GATE_SERVICE}.d/{DROP_IN}", "gate.conf.j2", {}
    for profile in config.profiles:
        link = {"link": describe_link(profile)}
        if profile.name == DEFAULT_PROFILE:
            yield f"{profile.slice}.d/{DROP_IN}", "slice.conf.j2", link
        else:
            yield profile.slice, "profile.slice.j2", link
        for app in profile.apps:
            if app.kind is AppKind.UNIT:
                slice_ = {"slice": profile.slice}
                yield f"{app.value}.d/{DROP_IN}", "service.conf.j2", slice_


def describe_link(profile: Profile) -> str:
    """Return the profile's link, for people."""
    return "the best link that is not a VPN" if profile.interface == AUTO else profile.interface
