"""What systemd has written down of links' DNS servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worlds import WLAN, WWAN

from byway_systemd.core.config import Profile
from byway_systemd.system.link_dns import observe_link_dns

if TYPE_CHECKING:
    from pathlib import Path

DIRECT = (Profile(dns=("direct",)),)


def write(root: Path, directory: str, index: int, text: str) -> None:
    path = root / "run/systemd" / directory / str(index)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def seen(root: Path, profiles: tuple[Profile, ...] = DIRECT) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for index, address in observe_link_dns(root, profiles, (WLAN, WWAN)):
        found.setdefault(index, []).append(address)
    return found


def test_of_networkd_and_of_resolved(tmp_path: Path) -> None:
    write(tmp_path, "netif/links", WLAN.index, "# private\nADMIN_STATE=configured\nDNS=192.0.2.1\n")
    write(tmp_path, "netif/links", WWAN.index, "DNS=10.0.0.1 2001:db8::1 fe80::1%3\nNTP=10.0.0.9\n")
    write(tmp_path, "resolve/netif", WLAN.index, "SERVERS=192.0.2.7:53 192.0.2.8#name\n")
    assert seen(tmp_path) == {
        WLAN.index: ["192.0.2.7", "192.0.2.8"],
        WWAN.index: ["10.0.0.1", "2001:db8::1"],
    }


def test_nothing_is_read_that_nobody_asks_for(tmp_path: Path) -> None:
    write(tmp_path, "netif/links", WLAN.index, "DNS=192.0.2.1\n")
    assert seen(tmp_path, (Profile(), Profile(name="x", dns=("9.9.9.9",)))) == {}


def test_what_is_missing_or_odd_is_none(tmp_path: Path) -> None:
    assert seen(tmp_path) == {}
    write(tmp_path, "netif/links", WLAN.index, "DNS=\nDNS=localhost 127.0.0.53\n")
    write(tmp_path, "resolve/netif", WWAN.index, "SERVERS=" + "1.1.1.1 " * 100)
    assert seen(tmp_path) == {WWAN.index: ["1.1.1.1"] * 8}
