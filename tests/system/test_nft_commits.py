"""Which commits touched the table, by what the kernel tells, and what it fails to tell."""

from __future__ import annotations

import errno
import struct

import pytest

from byway_systemd.system import nft_commits
from byway_systemd.system.netlink import HEADER, render_attribute

NEW_RULE, DELETE_TABLE, NEW_GENERATION = (10 << 8 | number for number in (6, 2, 15))


def message(kind: int, *attributes: bytes) -> bytes:
    payload = bytes([1, 0, 0, 0]) + b"".join(attributes)
    return HEADER.pack(HEADER.size + len(payload), kind, 0, 0, 0) + payload


def commit(number: int) -> bytes:
    process = render_attribute(2, struct.pack(">I", 4711)) + render_attribute(3, b"nft\0")
    return message(NEW_GENERATION, render_attribute(1, struct.pack(">I", number)), process)


def about(table: str, kind: int = NEW_RULE) -> bytes:
    return message(kind, render_attribute(1, table.encode() + b"\0"), render_attribute(2, b"x\0"))


LOST = OSError(errno.ENOBUFS, "No buffer space available")


class Kernel:
    """An event socket that holds what a test has the kernel send."""

    def __init__(self) -> None:
        self.queue: list[bytes | OSError] = []

    def recv(self, _size: int) -> bytes:
        if not self.queue:
            raise BlockingIOError
        first = self.queue.pop(0)
        if isinstance(first, OSError):
            raise first
        return first


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(nft_commits, "open_event_socket", lambda _: made)
    return made


@pytest.fixture
def commits(kernel: Kernel) -> nft_commits.Commits:
    """Who has been told of a commit, number 10."""
    found = nft_commits.Commits("byway")
    kernel.queue = [commit(10)]
    assert not found.spared(9, 10), "it may have begun before"
    return found


def spared(commits: nft_commits.Commits, kernel: Kernel, *said: bytes | OSError) -> bool:
    """Whether number 11 spared the table, when the kernel says so much of it."""
    kernel.queue += said
    return commits.spared(10, 11)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ((commit(11),), True),
        ((about("other"), commit(11)), True),
        ((about("byway-too"), commit(11)), True),
        ((about("other") + about("x", DELETE_TABLE), commit(11)), True),
        ((about("byway"), commit(11)), False),
        ((about("byway", DELETE_TABLE), commit(11)), False),
        ((about("other") + about("byway") + about("other"), commit(11)), False),
        ((message(NEW_RULE), commit(11)), False),  # of no table that is known of
        ((), False),  # not told of yet
        ((about("other"),), False),
        ((commit(12),), False),  # one between the two was not told of
        ((commit(11), commit(12)), False),  # it is not the last
        ((LOST, commit(11)), False),
        ((LOST, about("other"), commit(11)), False),
    ],
)
def test_a_commit(
    commits: nft_commits.Commits, kernel: Kernel, said: tuple[bytes, ...], *, expected: bool
) -> None:
    assert spared(commits, kernel, *said) == expected


def test_some_messages_of_the_next_may_be_lost_too(
    commits: nft_commits.Commits, kernel: Kernel
) -> None:
    """They are dropped until the queue has been read, which is told of once, and beforehand."""
    kernel.queue = [LOST, commit(11)]
    assert not commits.spared(11, 11)
    kernel.queue = [commit(12)]  # without what it did
    assert not commits.spared(11, 12)
    kernel.queue = [commit(13)]
    assert commits.spared(12, 13)


def test_what_touched_it_counts_from_then_on(commits: nft_commits.Commits, kernel: Kernel) -> None:
    kernel.queue = [commit(11), about("byway"), commit(12), commit(13)]
    assert [commits.spared(since, 13) for since in (10, 11, 12, 13)] == [False, False, True, True]


def test_an_event_that_comes_in_parts(commits: nft_commits.Commits, kernel: Kernel) -> None:
    for part in (about("byway"), about("other")):
        kernel.queue = [part]
        assert not commits.spared(10, 11)
    assert not spared(commits, kernel, commit(11))
    assert commits.spared(11, 11)
