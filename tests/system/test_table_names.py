"""The files that name routing tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from byway_systemd.system.table_names import find_table

if TYPE_CHECKING:
    from pathlib import Path


def test_names_where_ip_looks_for_them(tmp_path: Path) -> None:
    usr, etc = tmp_path / "usr", tmp_path / "etc"
    for folder in (usr, etc / "rt_tables.d"):
        folder.mkdir(parents=True)
    (usr / "rt_tables").write_text("# all\n255\tlocal\n0xfe main\n7 old # of others\n")
    (etc / "rt_tables.d/a.conf").write_bytes(b"11640 work\n8 old\n9\nx y\n\xff\xff z\n")
    (etc / "rt_tables.d/b.txt").write_text("10 unread\n")
    folders = (usr, tmp_path / "none", etc)
    names = ("local", "main", "work", "old", "unread", "y", "z")
    assert [find_table(name, folders) for name in names] == [255, 254, 11640, 8, None, None, None]


def test_this_machine_knows_main() -> None:
    assert find_table("main") == 254
