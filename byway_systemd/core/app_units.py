r"""The units that desktops, flatpak and snapd make of an app, and which drop-ins reach them.

What stands here is read off those who name the units. systemd has a drop-in for every prefix of a
name that ends in a dash, and for a template's every instance, and no wildcards (systemd.unit(5)):

- The convention, of systemd's DESKTOP_ENVIRONMENTS.md: ``app[-LAUNCHER]-ID[-RANDOM].scope`` and
  ``app[-LAUNCHER]-ID[@RANDOM].service``, ID escaped.
- KDE (kio, src/gui): ``app-ID@UUID.service``, or ``app-ID-UUID.scope`` where that is switched off.
- systemd-xdg-autostart-generator(8): ``app-ID@autostart.service``.
- GNOME (gnome-desktop, gnome-systemd.c): ``app-gnome-ID-PID.scope``; ``gio launch`` (GLib) makes
  ``app-glib-ID-PID.scope``.
- COSMIC and niri: ``app-cosmic-ID-PID.scope``, ``app-niri-ID-PID.scope``; niri takes the program's
  name for the ID.
- uwsm: ``app-DESKTOP-ID-HEX.scope`` or ``app-DESKTOP-ID@HEX.service``, DESKTOP being the first of
  XDG_CURRENT_DESKTOP.
- flatpak (common/flatpak-run.c): ``app-flatpak-ID-NUMBER.scope``, whoever runs it.
- snapd (sandbox/cgroup/tracking.go): ``snap.NAME.APP-UUID.scope``, not escaped but for a plus; its
  services are ``snap.NAME.APP.service``.

D-Bus names what it activates ``dbus-:1.N-ID@M.service`` with an N that varies: no drop-in fits, but
the name tells whose it is when it runs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, assert_never

from byway_systemd.core.apps import AppKind, escape_unit_part
from byway_systemd.core.observed import Group

if TYPE_CHECKING:
    from collections.abc import Iterable

    from byway_systemd.core.apps import App
    from byway_systemd.core.config import Profile

# What names a unit counts more than what names a kind of packages, and that than desktop entries.
PRECEDENCE = (
    AppKind.PATH, AppKind.GLOB, AppKind.DESKTOP, AppKind.FLATPAK, AppKind.SNAP, AppKind.UNIT,
    AppKind.USER_UNIT,
)  # fmt: skip
_BY_D_BUS = re.compile(r"dbus-:1\.[0-9]+-(.+)@[0-9]+\.service", re.ASCII)

_SCOPE, _INSTANCE, _SERVICE, _PLAIN = "-.scope", "@.service", "-.service", ".service"
_EVERY_FORM = (_SCOPE, _INSTANCE, _SERVICE)
# By launcher, what comes after the ID: a prefix of what it makes, or a template.
_LAUNCHERS = {
    "": (*_EVERY_FORM, _PLAIN),
    "KDE-": (_SCOPE, _INSTANCE),
    "cosmic-": (_SCOPE,),
    "flatpak-": _EVERY_FORM,
    "glib-": (_SCOPE,),
    "gnome-": _EVERY_FORM,
    "Hyprland-": (_SCOPE, _INSTANCE),
    "niri-": (_SCOPE, _INSTANCE),
    "sway-": (_SCOPE, _INSTANCE),
}


def is_unit_of(unit: str, app: App) -> bool:
    """Whether a unit of a user's manager is ``app``."""
    if app.kind is AppKind.DESKTOP and (match := _BY_D_BUS.fullmatch(unit)):
        return match[1] == escape_unit_part(app.value)
    return not drop_in_names(unit).isdisjoint(user_units(app))


def drop_in_names(unit: str) -> set[str]:
    """Return the names whose drop-ins are those of ``unit``, too (systemd.unit(5))."""
    stem, _, suffix = unit.rpartition(".")
    template = stem.partition("@")[0] + "@" if "@" in stem else ""
    stems = [stem, *([template] if template else [])]
    prefix = stem.partition("@")[0].removesuffix("-")
    while "-" in prefix:
        prefix = prefix.rpartition("-")[0]
        stems.append(prefix + "-" + ("@" if template else ""))
    return {f"{stem}.{suffix}" for stem in stems}


def find_unit_groups(cgroups: Iterable[str], profiles: tuple[Profile, ...]) -> tuple[Group, ...]:
    """Return those of ``cgroups`` of users' managers that are a listed app's own by their name."""
    placed = [(app, p.name) for p in profiles for app in p.apps if user_units(app)]
    placed.sort(key=lambda one: PRECEDENCE.index(one[0].kind), reverse=True)
    groups = []
    for cgroup in sorted(cgroups):
        unit = cgroup.rpartition("/")[2]
        if found := next((one for one in placed if is_unit_of(unit, one[0])), None):
            groups.append(Group(cgroup, found[1], str(found[0])))
    return tuple(groups)


def user_units(app: App) -> tuple[str, ...]:
    """Return the units of a user's manager that are ``app``: names, prefixes and templates."""
    match app.kind:
        case AppKind.PATH | AppKind.GLOB | AppKind.UNIT:
            return ()
        case AppKind.USER_UNIT:
            return (app.value,)
        case AppKind.DESKTOP:
            return _desktop_units(app.value, tuple(_LAUNCHERS))
        case AppKind.FLATPAK:
            return _desktop_units(app.value, ("flatpak-",))
        case AppKind.SNAP:
            return _snap_units(app.value)
    assert_never(app.kind)


def system_units(app: App) -> tuple[str, ...]:
    """Return the units of the system's manager that are ``app``."""
    if app.kind is AppKind.UNIT:
        return (app.value,)
    # snapd runs services of the system's, and asks this manager for root's scopes.
    return _snap_units(app.value) if app.kind is AppKind.SNAP else ()


def _desktop_units(identifier: str, launchers: tuple[str, ...]) -> tuple[str, ...]:
    escaped = escape_unit_part(identifier)
    return tuple(
        f"app-{launcher}{escaped}{form}" for launcher in launchers for form in _LAUNCHERS[launcher]
    )


def _snap_units(value: str) -> tuple[str, ...]:
    name, _, app = value.partition(".")
    tag = f"snap.{name}.{app or name.partition('_')[0]}"
    return (f"{tag}-.scope", f"{tag}.service")
