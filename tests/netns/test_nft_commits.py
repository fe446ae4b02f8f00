"""What others commit to nftables: byway's table is read again when it was touched, not else."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.nftables import NftSet, NftTable, SetKind
from byway_systemd.system.nftables import Nftables
from netns.test_nftables import look, nft
from netns.test_packets import Steering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netns.world import World

# What does not touch the table, and what does.
ELSEWHERE = (
    "add table inet other",
    "add table ip byway-too",
    "add set inet other s { type ipv4_addr; }",
    "add element inet other s { 192.0.2.1 }",
    "delete table inet other",
)
BYWAYS = (
    "add element inet byway near4 { 198.51.100.0/24 }",
    "add chain inet byway more",
    "add rule inet byway output accept",
    "flush chain inet byway output",
    "delete table inet byway",
    "flush ruleset",
)


@contextmanager
def following(world: World) -> Iterator[tuple[Nftables, NftTable]]:
    """Byway's table, and who follows what becomes of it; for `world.client.run`."""
    table = Steering(world, (1, 4), world.ids()).table()
    table = NftTable(table.name, table.chains, (*table.sets, NftSet("near4", SetKind.IPV4, ())))
    with Nftables() as nftables:
        nftables.follow("byway")
        nftables.replace_table(table)
        try:
            yield nftables, table
        finally:
            nft("flush ruleset")


def test_what_is_elsewhere_is_no_reason_to_read_it(world: World) -> None:
    def story() -> None:
        with following(world) as (nftables, table):
            first = nftables.observe_table("byway")
            assert first == table.outline()
            for command in ELSEWHERE:
                nft(command)
                assert nftables.observe_table("byway") is first, command
            for command in (*ELSEWHERE, *ELSEWHERE):
                nft(command)
            assert nftables.observe_table("byway") is first

    world.client.run(story)


@pytest.mark.parametrize("command", BYWAYS)
def test_what_touches_it_is_seen(world: World, command: str) -> None:
    def story() -> None:
        with following(world) as (nftables, _):
            first = nftables.observe_table("byway")
            nft(ELSEWHERE[0])
            assert nftables.observe_table("byway") is first
            nft(command)
            nft(ELSEWHERE[1])
            assert nftables.observe_table("byway") == look() != first

    world.client.run(story)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_done_it_is_as_it_is_seen(world: World, seed: int) -> None:
    chosen = random.Random(seed)  # noqa: S311 - the same at every run

    def story() -> None:
        with following(world) as (nftables, table):
            for _ in range(40):
                match chosen.randrange(6):
                    case 0:
                        nftables.replace_table(table)
                    case 1 if look():
                        add = (f"10.{chosen.randrange(200)}.0.0/16",)
                        nftables.update_set("byway", "near4", SetKind.IPV4, add, ())
                    case 2:
                        nft(chosen.choice(BYWAYS), check=False)
                    case _:
                        nft(chosen.choice(ELSEWHERE), check=False)
                if chosen.random() < 0.7:
                    assert nftables.observe_table("byway") == look()

    world.client.run(story)


def test_what_was_written_is_known_after_others_have_committed(world: World) -> None:
    """100,000 elements are not read back because somebody else has changed something of his."""
    elements = tuple(sorted(f"10.{n // 128}.{n % 128 * 2}.0/24" for n in range(2000)))

    def story() -> None:
        with following(world) as (nftables, _):
            nftables.observe_table("byway")
            nft(ELSEWHERE[0])
            nft(ELSEWHERE[1])
            first = nftables.observe_table("byway")
            nftables.update_set("byway", "near4", SetKind.IPV4, elements[:500], ())
            nft("delete table ip byway-too")
            second = nftables.observe_table("byway")
            assert second == look() != first
            assert second
            (near,) = (one for one in second.sets if one.name == "near4")
            assert near.elements == elements[:500]
            # Nobody was told of that many: what comes next may have been anything.
            for command in ("delete table inet other", BYWAYS[0]):
                nftables.update_set("byway", "near4", SetKind.IPV4, elements[500:], ())
                nft(command)
                assert nftables.observe_table("byway") == look()
                nftables.update_set("byway", "near4", SetKind.IPV4, (), elements[500:])

    world.client.run(story)


def test_lost_messages_may_have_been_about_it(world: World) -> None:
    many = ", ".join(f"10.{n >> 8}.{n & 255}.1" for n in range(4000))
    flood = f"add element inet other s {{ {many} }}"

    def story() -> None:
        with following(world) as (nftables, _):
            for command in ELSEWHERE[:3]:
                nft(command)
            for touches in (False, True, False):
                before = nftables.observe_table("byway")
                nft(f"flush set inet other s; {flood}")
                if touches:
                    nft(BYWAYS[0])
                assert nftables.observe_table("byway") == look()
                assert (look() != before) == touches
                nft(f"flush set inet other s; {flood}")
                nft("flush set inet byway near4")
                nft("delete table ip byway-too", check=False)
                assert nftables.observe_table("byway") == look()

    world.client.run(story)
