"""The socket markers that systemd attaches itself: pinned as long as the slices are marked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from worlds import laptop

from byway_systemd.core.config import Config, Profile, Switch, WhenDown
from byway_systemd.core.desired import MARKER_DROP_IN, Desired, desire
from byway_systemd.core.operations import Operation, PinMarker, UnpinMarker
from byway_systemd.core.plan import plan

if TYPE_CHECKING:
    from byway_systemd.core.observed import Observed

DIRECT, LTE = 0x01000000, 0x03000000
PROFILES = (Profile(interface="wwan0"), Profile(name="lte", interface="wlan0"))
CONFIG = Config(profiles=PROFILES)
DESIRED = desire(CONFIG, has_generator=True)


def pinning(desired: Desired, observed: Observed) -> list[Operation]:
    return [o for o in plan(desired, observed) if isinstance(o, PinMarker | UnpinMarker)]


def pinned(*pins: tuple[str, int]) -> Observed:
    return replace(laptop(), pins=pins)


def test_each_profiles_marker_is_pinned() -> None:
    operations = pinning(DESIRED, pinned(("lte", DIRECT)))
    assert [(o.name, o.mark) for o in operations if isinstance(o, PinMarker)] == [
        ("default", DIRECT),
        ("lte", LTE),
    ]
    assert len(operations) == 2
    assert pinning(DESIRED, pinned(("default", DIRECT), ("lte", LTE))) == []


@pytest.mark.parametrize(
    "desired",
    [
        Desired.empty(),
        desire(CONFIG),  # no generator names them
        desire(replace(CONFIG, socket_marker=Switch.OFF), has_generator=True),
        desire(
            Config(profiles=(Profile(interface="gone0", when_down=WhenDown.VPN),)),
            has_generator=True,
        ),
    ],
    ids=["stopped", "no generator", "off", "link away"],
)
def test_what_nobody_asks_for_is_removed(desired: Desired) -> None:
    operations = pinning(desired, pinned(("default", DIRECT), ("of-nobody", 0)))
    assert [(type(o), getattr(o, "name", "")) for o in operations] == [
        (UnpinMarker, "default"),
        (UnpinMarker, "of-nobody"),
    ]


def test_without_a_bpf_file_system_there_is_nothing_to_do() -> None:
    assert pinning(DESIRED, laptop()) == []


def test_a_pin_is_no_reason_to_reload() -> None:
    """The generator adds its line when systemd next reloads for any other reason."""
    files = (("byway.slice.d/50-byway.conf", "a"), (f"byway.slice.d/{MARKER_DROP_IN}", "b"))
    assert desire(CONFIG, files).unit_files == files[:1]
