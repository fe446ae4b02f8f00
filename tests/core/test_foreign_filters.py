"""Other software's chains, judged by the first packet of a direct flow."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway_systemd.core.foreign_filters import (
    STATE_NEW,
    Condition,
    DirectPacket,
    Ending,
    Field,
    FilterChain,
    FilterRule,
    find_dropping,
)
from byway_systemd.core.network import Family

PACKET = DirectPacket(7, "wwan0", 0x01000000, Family.IPV4)
DROP = FilterRule((), Ending.DROP)
OUT = FilterChain("inet", "t", "out", "output")


def word(number: int) -> bytes:
    return struct.pack("=I", number)


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        (Condition(Field.LINK, (word(7),)), True),
        (Condition(Field.LINK, (word(8), word(7))), True),
        (Condition(Field.LINK, (word(7),), equal=False), False),
        (Condition(Field.LINK, ()), False),
        (Condition(Field.LINK, (), equal=False), True),  # not in an empty set
        (Condition(Field.LINK_NAME, (b"wwan",)), True),  # wwan*
        (Condition(Field.LINK_NAME, (b"wwan\0",)), False),
        (Condition(Field.LINK_NAME, (b"wwan0\0",)), True),
        (Condition(Field.MARK, (word(0),), mask=word(0xFF)), True),
        (Condition(Field.MARK, (word(0x01000000),), mask=word(0x3F000000)), True),
        (Condition(Field.FLOW_MARK, (word(0xCA6C),)), False),
        (Condition(Field.STATE, (word(0),), equal=False, mask=word(STATE_NEW)), True),
        (Condition(Field.STATE, (word(0),), equal=False, mask=word(2)), False),  # established
        (Condition(Field.FAMILY, (bytes([Family.IPV4]),)), True),
        (Condition(Field.FAMILY, (bytes([Family.IPV6]),)), False),
        (Condition(Field.ADDRESS_KIND, (word(2),), equal=False), True),  # not local
        (Condition(Field.OTHER), False),
        (Condition(Field.OTHER, equal=False), False),
    ],
)
def test_conditions(condition: Condition, fits: bool) -> None:
    chain = replace(OUT, rules=(FilterRule((condition,), Ending.DROP),))
    assert bool(find_dropping((chain,), PACKET)) is fits


def test_families() -> None:
    chains = tuple(replace(OUT, family=family, rules=(DROP,)) for family in ("inet", "ip", "ip6"))
    for family, other in ((Family.IPV4, "ip"), (Family.IPV6, "ip6")):
        found = find_dropping(chains, replace(PACKET, family=family))
        assert [chain for chain, _ in found] == ["inet t out", f"{other} t out"]


_rules = st.lists(
    st.builds(
        FilterRule,
        st.lists(
            st.builds(
                Condition,
                st.sampled_from(Field),
                st.lists(st.sampled_from([word(7), word(8), b"wwan0\0"])).map(tuple),
                st.booleans(),
                st.sampled_from([b"", word(0xFF), word(0x3F000000)]),
            ),
            max_size=2,
        ).map(tuple),
        st.sampled_from(Ending),
        st.sampled_from(["", "out", "a", "b", "none"]),
    ),
    max_size=4,
).map(tuple)
_chains = st.tuples(
    *(
        st.builds(
            FilterChain,
            st.just("inet"),
            st.just("t"),
            st.just(name),
            st.just("output" if name == "out" else ""),
            st.booleans(),
            _rules,
        )
        for name in ("out", "a", "b")
    )
)


@given(_chains)
def test_it_ends_and_an_accept_in_front_is_the_cure(chains: tuple[FilterChain, ...]) -> None:
    found = find_dropping(chains, PACKET)
    assert [chain for chain, _ in found] in ([], ["inet t out"])
    mark = Condition(Field.MARK, (word(0x01000000),), mask=word(0x3F000000))
    cure = FilterRule((mark,), Ending.ACCEPT)
    cured = tuple(replace(chain, rules=(cure, *chain.rules)) for chain in chains)
    assert find_dropping(cured, PACKET) == []
