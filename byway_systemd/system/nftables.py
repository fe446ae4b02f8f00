"""One table ``inet NAME`` of the calling thread's network namespace (nf_tables(7) netlink).

Every change is one transaction: all of it happens or nothing. Observed by struct
(``nft_outline``), changed through pyroute2's codecs (``nft_codec``).
"""

from __future__ import annotations

import errno
import struct
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Self

from byway_systemd.core.nftables import (
    MANY_ELEMENTS,
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
from byway_systemd.system.netlink import (
    FLAG_ACK,
    FLAG_APPEND,
    FLAG_CREATE,
    FLAG_EXCLUSIVE,
    NETLINK_NETFILTER,
    KernelError,
    Message,
    NetlinkSocket,
    render_attribute,
)
from byway_systemd.system.nft_commits import Commits
from byway_systemd.system.nft_elements import decode_elements, encode_elements
from byway_systemd.system.nft_outline import (
    parse_chain,
    parse_element_list,
    parse_rule,
    parse_set,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from byway_systemd.system.nft_outline import SeenRule, SeenSet

_NFTABLES = 10  # NFNL_SUBSYS_NFTABLES
_SUBSYSTEM = _NFTABLES << 8
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_BATCH = bytes([0, 0, 0, _NFTABLES])  # struct nfgenmsg, the resource in network byte order
_INET = bytes([1, 0, 0, 0])  # NFPROTO_INET
_NEW_TABLE, _GET_TABLE, _DELETE_TABLE = (_SUBSYSTEM | number for number in (0, 1, 2))
_NEW_CHAIN, _GET_CHAIN = _SUBSYSTEM | 3, _SUBSYSTEM | 4
_NEW_RULE, _GET_RULE = _SUBSYSTEM | 6, _SUBSYSTEM | 7
_NEW_SET, _GET_SET = _SUBSYSTEM | 9, _SUBSYSTEM | 10
_NEW_ELEMENTS, _GET_ELEMENTS, _DELETE_ELEMENTS = (_SUBSYSTEM | number for number in (12, 13, 14))
_GET_GENERATION = _SUBSYSTEM | 16
_NAME = 1  # NFTA_TABLE_NAME, and the table's attribute of chains, rules, sets and elements
_TABLE_FLAGS, _FLAG_OWNER = 2, 2  # NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER
_ELEMENTS_SET, _ELEMENTS = 2, 3 | 0x8000  # NFTA_SET_ELEM_LIST_*, nested
_OBSERVE_ATTEMPTS = 5
_PROBE = NftTable(
    "byway-probe",
    (
        Chain(
            "probe",
            ChainType.ROUTE,
            Hook.OUTPUT,
            0,
            (NftRule("probe", (MatchCgroup(1, "probe"),)),),
        ),
    ),
    (NftSet("probe", SetKind.CGROUP),),
)


class Nftables:
    """Two nfnetlink sockets, to read and to write, so that a thread may write while another reads.

    Every method raises KernelError, which is an OSError. ``pause`` is entered while many elements
    are changed. It should keep this process from being told of it: for each element the kernel
    makes a message of 8 KiB before it sends the first one, when there is anybody to tell
    (nf_tables_setelem_notify() in net/netfilter/nf_tables_api.c). 100,000 prefixes would take
    1.6 GiB, and a machine of 1 GiB down.
    """

    def __init__(self) -> None:
        """Open the sockets in the network namespace of the calling thread."""
        self.pause: Callable[[], AbstractContextManager[object]] = nullcontext
        self._reader = NetlinkSocket(NETLINK_NETFILTER)
        self._writer = NetlinkSocket(NETLINK_NETFILTER)
        self._seen: tuple[bytes, str, TableOutline | None] | None = None
        self._written: tuple[bytes, str, dict[str, tuple[str, ...]]] | None = None
        self._is_writing = False
        self._commits: Commits | None = None

    def follow(self, table: str) -> None:
        """Follow what others commit: what does not touch ``table`` is no reason to read it."""
        self._commits = Commits(table)

    def close(self) -> None:
        """Close the sockets."""
        self._reader.close()
        self._writer.close()
        if self._commits:
            self._commits.close()

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the sockets."""
        self.close()

    def observe_generation(self) -> bytes:
        """Return the ruleset's generation: equal bytes mean that no table changed in between."""
        return _read_generation(self._reader)

    def observe_table(self, name: str) -> TableOutline | None:
        """Return table ``inet NAME`` as the kernel has it, or None when there is none.

        A set byway would not make (another key type or flags) has the element ``foreign``, which
        equals nothing. KernelError EAGAIN when the ruleset never stays still.

        The kernel counts every commit; while the count stays, or only others' tables are touched,
        the last outline is what it has, and a set holds what was written (listing 100,000 prefixes
        takes 0.6 s, asking for the count 10 us). While a thread writes, the table is as it
        was seen last.
        """
        for _ in range(_OBSERVE_ATTEMPTS):
            generation, seen = self.observe_generation(), self._seen
            if seen and seen[1] == name:
                if self._is_writing:
                    return seen[2]
                if self._is_spared(seen[0], generation):
                    self._seen = (generation, *seen[1:])
                    return seen[2]
            try:
                outline = self._observe(name, generation) if self._has_table(name) else None
            except KernelError as error:
                if error.errno != errno.ENOENT:  # deleted between two of the dumps
                    raise
                continue
            if generation == self.observe_generation():
                self._seen = (generation, name, outline)
                return outline
        raise KernelError(errno.EAGAIN, f"read nft table inet {name}", "it kept changing")

    def replace_table(self, table: NftTable) -> None:
        """Make table ``inet NAME`` be ``table``, in one transaction.

        KernelError names the chain, set or rule that was refused; the old table then stays.
        """
        messages = [_BEGIN, *_render_replacement(table), _END]
        elements = {nft_set.name: nft_set.elements for nft_set in table.outline().sets}
        with self._writing(table.name, elements, sum(map(len, elements.values()))):
            self._writer.transact(messages)

    def own_table(self, table: NftTable) -> None:
        """Make a table that goes with this socket, however its process ends, and is nobody else's.

        KernelError EPERM or EEXIST when another process has one of that name. Linux 5.12.
        """
        flags = render_attribute(_TABLE_FLAGS, struct.pack(">I", _FLAG_OWNER))
        named = _INET + _text(_NAME, table.name) + flags
        new = Message(
            _NEW_TABLE, FLAG_CREATE | FLAG_EXCLUSIVE, named, f"add nft table inet {table.name}"
        )
        self._writer.transact([_BEGIN, new, *_render_content(table), _END])

    def check_table(self, table: NftTable) -> None:
        """Have the kernel check ``table`` without installing it. Raise KernelError as above."""
        # A batch without an end is validated and undone, as `nft --check` does.
        self._writer.transact([_BEGIN, *_render_replacement(table)])

    def delete_table(self, name: str) -> None:
        """Delete table ``inet NAME``; one that is not there is fine."""
        attempt = f"delete nft table inet {name}"
        message = Message(_DELETE_TABLE, 0, _INET + _text(_NAME, name), attempt)
        try:
            self._writer.transact([_BEGIN, message, _END])
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise

    def update_set(
        self, table: str, name: str, kind: SetKind, add: Sequence[str], remove: Sequence[str]
    ) -> None:
        """Remove and add elements in one transaction.

        KernelError ENOENT when one to remove is not there.
        """
        messages = [
            _BEGIN,
            *_render_elements(table, NftSet(name, kind, tuple(remove)), _DELETE_ELEMENTS),
            *_render_elements(table, NftSet(name, kind, tuple(add)), _NEW_ELEMENTS),
            _END,
        ]
        elements = self._elements_of(table)
        if name in elements:
            changed = frozenset((*add, *remove))
            left = [element for element in elements[name] if element not in changed]
            elements[name] = tuple(sorted((*left, *frozenset(add))))  # most are in order already
        with self._writing(table, elements, len(add) + len(remove)):
            self._writer.transact(messages)

    def read_counters(self, name: str) -> dict[str, tuple[int, int]]:
        """Return packets and bytes by the rule's purpose, summed over rules of equal purpose."""
        counters: dict[str, tuple[int, int]] = {}
        for rule in self._rules(name):
            if rule.counter is not None:
                purpose = rule.comment.rpartition(" [")[0] or rule.comment
                packets, size = counters.get(purpose, (0, 0))
                counters[purpose] = (packets + rule.counter[0], size + rule.counter[1])
        return counters

    def probe_socket_cgroup(self) -> str:
        """Return why the kernel cannot match a socket's cgroup, or nothing when it can.

        Checked with a table that is never installed, from the caller's cgroup namespace.
        """
        try:
            self.check_table(_PROBE)
        except KernelError as error:
            return str(error)
        return ""

    @contextmanager
    def _writing(
        self, table: str, elements: dict[str, tuple[str, ...]], many: int
    ) -> Iterator[None]:
        """Write ``elements`` of sets, changing so ``many``; nobody else's commit is between."""
        before = _read_generation(self._writer)
        self._is_writing = True
        try:
            with self._unheard() if many > MANY_ELEMENTS else nullcontext():
                yield
            after = _read_generation(self._writer)
            alone = _count(after) == _count(before) + 1
            self._written = (after, table, elements) if alone else None
        finally:
            self._is_writing = False

    @contextmanager
    def _unheard(self) -> Iterator[None]:
        with self.pause(), self._commits.paused() if self._commits else nullcontext():
            yield

    def _elements_of(self, table: str) -> dict[str, tuple[str, ...]]:
        """Return the elements of the sets, where nothing was committed since they were read."""
        generation, seen = _read_generation(self._writer), self._seen
        if seen is None or seen[:2] != (generation, table) or seen[2] is None:
            return {}
        return {nft_set.name: nft_set.elements for nft_set in seen[2].sets}

    def _is_spared(self, before: bytes, now: bytes) -> bool:
        """Whether no commit between two generations touched the table, as far as that is known."""
        if before == now:
            return True
        return bool(self._commits and self._commits.spared(_count(before), _count(now)))

    def _has_table(self, name: str) -> bool:
        attempt = f"read nft table inet {name}"
        try:
            self._reader.get(Message(_GET_TABLE, 0, _INET + _text(_NAME, name), attempt))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def _observe(self, name: str, generation: bytes) -> TableOutline:
        written, known = self._written, {}
        if written and written[1] == name and self._is_spared(written[0], generation):
            known = written[2]
        rules = self._rules(name)
        chains = (
            parse_chain(reply.payload, name, rules)
            for reply in self._reader.dump(_GET_CHAIN, _INET, "list nft chains")
        )
        request = _INET + _text(_NAME, name)
        sets = (
            self._fill(name, parse_set(reply.payload), known)
            for reply in self._reader.dump(_GET_SET, request, f"list the sets of inet {name}")
        )
        return TableOutline(
            tuple(sorted((chain for chain in chains if chain), key=lambda chain: chain.name)),
            tuple(sorted(sets, key=lambda nft_set: nft_set.name)),
        )

    def _fill(self, table: str, seen: SeenSet, known: Mapping[str, tuple[str, ...]]) -> NftSet:
        """Return the set with its elements."""
        if seen.kind is None:
            return NftSet(seen.name, SetKind.CGROUP, ("foreign",))
        if seen.name in known:
            return NftSet(seen.name, seen.kind, known[seen.name])
        request = _INET + _text(_NAME, table) + _text(_ELEMENTS_SET, seen.name)
        replies = self._reader.dump(_GET_ELEMENTS, request, f"list set {seen.name} of {table}")
        lists = (parse_element_list(reply.payload) for reply in replies)
        return NftSet(seen.name, seen.kind, decode_elements(seen.kind, lists))

    def _rules(self, table: str) -> list[SeenRule]:
        request = _INET + _text(_NAME, table)
        replies = self._reader.dump(_GET_RULE, request, f"list the rules of inet {table}")
        return [parse_rule(reply.payload) for reply in replies]


_BEGIN = Message(_BATCH_BEGIN, FLAG_ACK, _BATCH, "change the nftables ruleset")
_END = Message(_BATCH_END, 0, _BATCH, "change the nftables ruleset")


def _render_replacement(table: NftTable) -> Iterator[Message]:
    """Yield what makes the table anew; added first, so that deleting it cannot fail."""
    where = f"nft table inet {table.name}"
    named = _INET + _text(_NAME, table.name)
    yield Message(_NEW_TABLE, FLAG_CREATE, named, f"add {where}")
    yield Message(_DELETE_TABLE, 0, named, f"delete {where}")
    yield Message(_NEW_TABLE, FLAG_CREATE, named, f"add {where}")
    yield from _render_content(table)


def _render_content(table: NftTable) -> Iterator[Message]:
    """Yield what fills a table that has just been added."""
    # Imported here: readers need not pay for pyroute2.
    from byway_systemd.system.nft_codec import (  # noqa: PLC0415
        encode_chain,
        encode_rule,
        encode_set,
    )

    where = f"nft table inet {table.name}"
    for identifier, nft_set in enumerate(table.sets, 1):
        payload = encode_set(table.name, nft_set, identifier)
        yield Message(_NEW_SET, FLAG_CREATE, payload, f"add set {nft_set.name} to {where}")
        yield from _render_elements(table.name, nft_set, _NEW_ELEMENTS)
    for chain in table.chains:
        payload = encode_chain(table.name, chain)
        yield Message(_NEW_CHAIN, FLAG_CREATE, payload, f"add chain {chain.name} to {where}")
        for rule in chain.rules:
            payload = encode_rule(table.name, chain.name, rule)
            attempt = f"add rule '{rule.purpose}' ({rule}) to chain {chain.name} of {where}"
            yield Message(_NEW_RULE, FLAG_CREATE | FLAG_APPEND, payload, attempt)


def _render_elements(table: str, nft_set: NftSet, kind: int) -> Iterator[Message]:
    """Yield the messages that add or delete the set's elements."""
    verb = "add elements to" if kind == _NEW_ELEMENTS else "delete elements from"
    attempt = f"{verb} set {nft_set.name} of nft table inet {table}"
    head = _INET + _text(_NAME, table) + _text(_ELEMENTS_SET, nft_set.name)
    flags = FLAG_CREATE if kind == _NEW_ELEMENTS else 0
    for chunk in encode_elements(nft_set.kind, nft_set.elements):
        yield Message(kind, flags, head + render_attribute(_ELEMENTS, chunk), attempt)


def _read_generation(netlink: NetlinkSocket) -> bytes:
    attempt = "read the generation of the nftables ruleset"
    return netlink.get(Message(_GET_GENERATION, 0, bytes(4), attempt)).payload[:12]


def _count(generation: bytes) -> int:
    return int.from_bytes(generation[-4:], "big")


def _text(kind: int, text: str) -> bytes:
    return render_attribute(kind, text.encode() + b"\0")
