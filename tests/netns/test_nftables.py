"""The table as a whole: round trip, atomicity, foreign tables, sets, the probe."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager, nullcontext
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from byway_systemd.core.nftables import (
    Chain,
    ChainType,
    Hook,
    MatchCgroup,
    NftRule,
    NftSet,
    NftTable,
    SetKind,
    TableOutline,
)
from byway_systemd.system.events import NetworkSource
from byway_systemd.system.netlink_events import NFTABLES_EVENTS, EventKind, drain, open_event_socket
from byway_systemd.system.nftables import Nftables
from netns.test_packets import SETS, Steering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netns.world import World


def test_the_outline_survives_the_kernel(world: World) -> None:
    table = Steering(world, (1, 4), world.ids()).table()
    table = NftTable(table.name, table.chains, (*table.sets, *SETS))

    def install() -> TableOutline | None:
        with Nftables() as nftables:
            nftables.replace_table(table)
            return look()

    assert world.client.run(install) == table.outline()
    listed = world.client.run(lambda: nft("list", "ruleset"))
    assert table.chains[0].rules[0].comment in listed
    assert "socket cgroupv2 level 4" in listed
    assert "fib saddr . oif type != local" in listed


def test_there_is_no_table_at_first_and_deleting_nothing_is_fine(world: World) -> None:
    def observe() -> TableOutline | None:
        with Nftables() as nftables:
            nftables.delete_table("byway")
            return look()

    assert world.client.run(observe) is None


def test_a_refused_rule_is_named_and_leaves_the_old_table(world: World) -> None:
    good = Steering(world).table()
    rule = NftRule("never", (MatchCgroup(1, "apps"),))
    refused = Chain("late", ChainType.FILTER, Hook.POSTROUTING, 0, (rule,))

    def install() -> tuple[str, TableOutline | None]:
        with Nftables() as nftables:
            nftables.replace_table(good)
            try:
                nftables.replace_table(NftTable("byway", (*good.chains, refused), good.sets))
            except OSError as error:
                return str(error), look()
        return "", None

    message, outline = world.client.run(install)
    assert message == (
        "cannot add rule 'never' (socket cgroupv2 level 1 @apps) to chain late of nft table inet "
        "byway: Operation not supported"
    )
    assert outline == good.outline()


def test_foreign_tables_stay_as_they_are(world: World) -> None:
    def change() -> tuple[str, str]:
        nft("add table inet foreign; add chain inet foreign c; add rule inet foreign c accept")
        before = nft("list", "table", "inet", "foreign")
        with Nftables() as nftables:
            nftables.replace_table(Steering(world).table())
            nftables.delete_table("byway")
        return before, nft("list", "ruleset")

    before, after = world.client.run(change)
    assert before == after


def test_the_probe_finds_socket_cgroupv2_and_leaves_no_trace(world: World) -> None:
    def probe() -> tuple[str, str, bool]:
        with Nftables() as nftables:
            before = nftables.observe_generation()
            reason = nftables.probe_socket_cgroup()
            return reason, nft("list", "ruleset"), before == nftables.observe_generation()

    assert world.client.run(probe) == ("", "", True)


def test_a_set_changes_in_one_transaction(world: World) -> None:
    sets = (NftSet("net", SetKind.IPV4, ("10.0.0.0/8", "192.0.2.0/24")),)

    def change() -> tuple[TableOutline | None, str, TableOutline | None]:
        with Nftables() as nftables:
            nftables.replace_table(NftTable("byway", (), sets))
            nftables.update_set("byway", "net", SetKind.IPV4, ("10.0.0.0/9",), ("10.0.0.0/8",))
            first = look()
            try:
                nftables.update_set("byway", "net", SetKind.IPV4, ("1.0.0.0/8",), ("9.0.0.0/8",))
            except OSError as error:
                return first, str(error), look()
        return first, "", None

    first, message, second = world.client.run(change)
    assert first is not None
    assert first.sets[0].elements == ("10.0.0.0/9", "192.0.2.0/24")
    assert message.startswith("cannot delete elements from set net of nft table inet byway: ")
    assert second == first


def test_an_interval_that_is_no_prefix_comes_back_as_several(world: World) -> None:
    def observe() -> tuple[str, ...]:
        with Nftables() as nftables:
            nftables.replace_table(NftTable("byway", (), (NftSet("net", SetKind.IPV4),)))
            nft("add element inet byway net { 10.0.0.1-10.0.0.4, 255.255.255.254-255.255.255.255 }")
            outline = look()
            assert outline is not None
            return outline.sets[0].elements

    assert world.client.run(observe) == (
        *("10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32", "255.255.255.254/31"),
    )


@pytest.mark.parametrize(
    ("kind", "first", "step", "length"),
    [(SetKind.IPV4, 1 << 28, 1 << 11, 24), (SetKind.IPV6, 0x20010DB8 << 96, 3 << 64, 64)],
)
def test_a_hundred_thousand_prefixes(
    world: World, kind: SetKind, first: int, step: int, length: int
) -> None:
    elements = tuple(str(ip_network((first + i * step, length))) for i in range(100_000))
    table = NftTable("byway", (), (NftSet("many", kind, elements),))

    def install() -> bool:
        with Nftables() as nftables:
            nftables.replace_table(NftTable("byway", (), ()))
            nftables.replace_table(table)
            return look() == table.outline()

    assert world.client.run(install)


def test_a_change_wakes_up_a_listener(world: World) -> None:
    def change() -> tuple[frozenset[EventKind], bool]:
        with Nftables() as nftables, open_event_socket(NFTABLES_EVENTS) as events:
            assert drain(events).kinds == frozenset()
            nftables.replace_table(NftTable("byway", (), ()))
            drained = drain(events)
            return drained.kinds, drained.lost

    assert world.client.run(change) == (frozenset({EventKind.NFT}), False)


def test_nobody_of_this_process_is_told_of_many_elements(world: World) -> None:
    """The kernel would make 8 KiB for each of them first; what others do afterwards is told."""
    few = NftTable("byway", (), (NftSet("many", SetKind.IPV4, ("192.0.2.1/32",)),))
    elements = tuple(f"{10 + n // 32768}.{n // 128 % 256}.{n % 128 * 2}.0/24" for n in range(2000))
    many = NftTable("byway", (), (NftSet("many", SetKind.IPV4, elements),))

    def change() -> list[bool]:
        source = NetworkSource(NFTABLES_EVENTS)
        with Nftables() as nftables:
            nftables.pause = source.paused
            told = []
            for do in (
                lambda: nftables.replace_table(few),
                lambda: nftables.replace_table(many),
                lambda: nftables.update_set("byway", "many", SetKind.IPV4, (), elements[1:]),
                lambda: nftables.update_set("byway", "many", SetKind.IPV4, (), elements[:1]),
            ):
                do()
                told.append(source.drain())
            return told

    assert world.client.run(change) == [True, False, False, True]


@pytest.mark.parametrize("between", ["", "add element inet byway net { 192.0.2.7 }", "add table t"])
def test_what_was_written_alone_is_not_read_again(world: World, between: str) -> None:
    """But nobody else may have committed anything: what they may have done is read."""

    @contextmanager
    def others() -> Iterator[None]:
        yield
        if between:
            nft(between)

    elements = tuple(f"10.{n // 128}.{n % 128 * 2}.0/24" for n in range(2000))
    table = NftTable("byway", (), (NftSet("net", SetKind.IPV4, elements),))

    def change() -> tuple[bool, bool, bool]:
        with Nftables() as nftables:
            nftables.pause = others
            nftables.replace_table(table)
            first = nftables.observe_table("byway") == look()
            nftables.pause = nullcontext
            nftables.update_set("byway", "net", SetKind.IPV4, ("192.0.2.0/30",), elements[:1])
            second = nftables.observe_table("byway") == look()
            nft("add element inet byway net { 198.51.100.0/24 }")
            third = nftables.observe_table("byway") == look()
            return first, second, third

    assert world.client.run(change) == (True, True, True)


def test_what_is_being_written_is_not_looked_at(world: World) -> None:
    """A thread writes many elements: another one that looks sees the table as it was before."""
    elements = tuple(f"10.{n // 128}.{n % 128 * 2}.0/24" for n in range(2000))
    seen: list[TableOutline | None] = []

    def change() -> tuple[TableOutline | None, TableOutline | None, TableOutline | None]:
        with Nftables() as nftables:

            @contextmanager
            def looked_at() -> Iterator[None]:
                seen.append(nftables.observe_table("byway"))
                nft("add table t")
                seen.append(nftables.observe_table("byway"))
                yield
                seen.append(nftables.observe_table("byway"))

            nftables.replace_table(NftTable("byway", (), (NftSet("net", SetKind.IPV4, ()),)))
            before = nftables.observe_table("byway")
            nftables.pause = looked_at
            nftables.update_set("byway", "net", SetKind.IPV4, elements, ())
            assert seen == [before] * 3
            return before, nftables.observe_table("byway"), look()

    before, after, real = world.client.run(change)
    assert before
    assert before.sets[0].elements == ()
    assert after == real
    assert after
    assert set(after.sets[0].elements) == set(elements)


def look() -> TableOutline | None:
    """Return the table as somebody sees it who has not written it."""
    with Nftables() as nftables:
        return nftables.observe_table("byway")


def nft(*words: str, check: bool = True) -> str:
    done = subprocess.run(["nft", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout
