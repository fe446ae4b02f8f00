"""Desktop entries and icons as they are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from byway_systemd.system.desktop_entries import LARGEST_ICON, observe_installed, read_icon

if TYPE_CHECKING:
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n"
SHARE = "usr/share/applications"
LOCAL = "usr/local/share/applications"
FLATPAK = "var/lib/flatpak"


def write(root: Path, path: str, content: bytes | str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content.encode() if isinstance(content, str) else content)


def entry(name: str, *lines: str) -> str:
    return "\n".join(["[Desktop Entry]", "Type=Application", f"Name={name}", *lines, ""])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, f"{SHARE}/a.desktop", entry("A", "Icon=a"))
    write(tmp_path, f"{SHARE}/b.desktop", entry("B"))
    write(tmp_path, f"{SHARE}/kde/c.desktop", entry("C", "Icon=/opt/c/c.png"))
    write(tmp_path, f"{SHARE}/mimeinfo.cache", entry("no"))
    write(tmp_path, f"{LOCAL}/a.desktop", entry("Own A", "Icon=a"))
    write(tmp_path, f"{LOCAL}/b.desktop", entry("B", "Hidden=true"))
    write(tmp_path, "var/lib/snapd/desktop/applications/s_s.desktop",
          entry("S", "X-SnapInstanceName=s"))  # fmt: skip
    real = f"{FLATPAK}/app/x.y.Z/current/export/share"
    write(
        tmp_path, f"{real}/applications/x.y.Z.desktop", entry("Z", "X-Flatpak=x.y.Z", "Icon=x.y.Z")
    )
    write(tmp_path, f"{real}/icons/hicolor/scalable/apps/x.y.Z.svg", "<svg/>")
    for place in ("applications/x.y.Z.desktop", "icons/hicolor/scalable/apps/x.y.Z.svg"):
        link = tmp_path / f"{FLATPAK}/exports/share/{place}"
        link.parent.mkdir(parents=True)
        up = "../" * (place.count("/") + 2)
        link.symlink_to(f"{up}app/x.y.Z/current/export/share/{place}")
    write(tmp_path, "opt/c/c.png", PNG + b"c")
    for size in (16, 48, 256):
        write(tmp_path, f"usr/share/icons/hicolor/{size}x{size}/apps/a.png", PNG + b"%d" % size)
    return tmp_path


def test_what_is_installed(root: Path) -> None:
    installed = observe_installed(str(root))
    assert {(e.identifier, e.name, str(e.app), e.icon) for e in installed.entries} == {
        ("a", "Own A", "desktop:a", "a"),
        ("kde-c", "C", "desktop:kde-c", "/opt/c/c.png"),
        ("s_s", "S", "snap:s", ""),
        ("x.y.Z", "Z", "flatpak:x.y.Z", "x.y.Z"),
    }
    icons = {name: read_icon(files, str(root)) for name, files in installed.icons.items()}
    assert icons == {
        "a": ("image/png", PNG + b"48"),
        "/opt/c/c.png": ("image/png", PNG + b"c"),
        "x.y.Z": ("image/svg+xml", b"<svg/>"),
    }


def test_an_icon_that_cannot_be_served_gives_way_to_the_next(root: Path) -> None:
    files = observe_installed(str(root)).icons["a"]
    write(root, files[0], PNG + bytes(LARGEST_ICON))
    assert read_icon(files, str(root)) == ("image/png", PNG + b"256")
    (root / files[1]).unlink()
    (root / "secret").write_text("root:x:0:")
    (root / files[1]).symlink_to("/secret")
    assert read_icon(files, str(root)) == ("image/png", PNG + b"16")
    (root / files[2]).unlink()
    assert read_icon(files, str(root)) is None


def test_nothing_is_installed(tmp_path: Path) -> None:
    installed = observe_installed(str(tmp_path))
    assert (installed.entries, installed.icons) == ((), {})
