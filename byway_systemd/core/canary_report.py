"""What became of canaries: the table that counts them, and the judgement on what it has counted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from byway_systemd.core.canaries import CHECKS, DISCARD, Canary, Skipped, find_canaries
from byway_systemd.core.describe import JsonObject, link_name
from byway_systemd.core.network import Family
from byway_systemd.core.nftables import (
    Chain,
    ChainType,
    Counter,
    Direction,
    Hook,
    MatchAddress,
    MatchLink,
    MatchMark,
    MatchPort,
    NftRule,
    NftSet,
    NftTable,
    SetKind,
    Side,
    Verdict,
)
from byway_systemd.core.plan import plan

if TYPE_CHECKING:
    from byway_systemd.core.desired import Desired
    from byway_systemd.core.observed import Observed

TABLE = "byway-test"
MARKED = "marked"
ELSEWHERE = "elsewhere"
# Behind every other chain, and before conntrack confirms the flow (NF_IP_PRI_CONNTRACK_CONFIRM,
# the largest there is): what is dropped here leaves nothing behind.
_LAST = 2**31 - 2
_KINDS = {Family.IPV4: SetKind.IPV4, Family.IPV6: SetKind.IPV6}


class Protocol(IntEnum):
    """What a canary is sent by, by the kernel's number (IPPROTO_TCP, IPPROTO_UDP)."""

    TCP = 6
    UDP = 17


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was counted of a canary: the links it was to leave by (0: one that is new), its mark.

    ``error`` is why it could not be sent, as the system call had it; empty when it was.
    """

    canary: Canary
    protocol: Protocol
    links: frozenset[int] = frozenset()
    marked: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """Canaries to send and the table that counts and drops them."""

    canaries: tuple[Canary, ...]
    skipped: tuple[Skipped, ...]
    table: NftTable


def plan_trial(desired: Desired, observed: Observed) -> Trial:
    """Return what is to be sent for ``desired`` on the machine as it is."""
    canaries, skipped = find_canaries(desired, observed)
    return Trial(canaries, skipped, build_counting_table(canaries, desired, observed))


def purpose_of(link: int) -> str:
    """Return the purpose of the rules that count at a link."""
    return f"link {link}"


def build_counting_table(
    canaries: tuple[Canary, ...], desired: Desired, observed: Observed
) -> NftTable:
    """Return the table: what goes to a canary's address and port is counted by link, and dropped.

    Only the discard port is looked at, of addresses that a canary is sent to.
    """
    sets, rules = [], []
    for family, kind in _KINDS.items():
        addresses = {c.destination for c in canaries if c.family is family}
        if not addresses:
            continue
        length = 32 if family is Family.IPV4 else 128
        elements = tuple(sorted(f"{address}/{length}" for address in addresses))
        name = f"canaries{family.version}"
        sets.append(NftSet(name, kind, elements))
        for protocol in Protocol:
            match = (MatchAddress(kind, Side.DESTINATION, name), MatchPort(protocol, DISCARD))
            marked = MatchMark(desired.mark_mask, 0, equal=False)
            rules.append(NftRule(MARKED, (*match, marked, Counter())))
            rules += [
                NftRule(
                    purpose_of(link.index),
                    (MatchLink(Direction.OUT, link.index), *match, Counter(), Verdict.DROP),
                )
                for link in observed.links
            ]
            rules.append(NftRule(ELSEWHERE, (*match, Counter(), Verdict.DROP)))
    chain = Chain("count", ChainType.FILTER, Hook.POSTROUTING, _LAST, tuple(rules))
    return NftTable(TABLE, (chain,), tuple(sets))


def judge(sighting: Sighting) -> str:
    """Return what is wrong with where a canary went; empty when all is right."""
    way, links = sighting.canary.way, sighting.links
    if not links:
        if way.blocked:
            return ""
        return f"it did not leave{f': {sighting.error}' if sighting.error else ''}"
    if way.links is not None and not links <= way.links:
        return "it left by another link" if way.links else "it left, and should not"
    if way.marked is not None and way.marked is not sighting.marked:
        return "it has no mark of byway's" if way.marked else "it has a mark of byway's"
    return ""


def present_trial(
    trial: Trial, sightings: tuple[Sighting, ...], desired: Desired, observed: Observed
) -> JsonObject:
    """Return the whole as a JSON value, with the criteria."""
    results = [_present(sighting, observed) for sighting in sightings]
    return {
        "passed": bool(results) and all(result["passed"] for result in results),
        "mode": str(desired.traffic.mode),
        "routes_cleared": desired.cleared,
        "in_sync": not plan(desired, observed),
        "criteria": {check.name: check.criterion for check in CHECKS},
        "results": results,
        "skipped": [
            {"check": one.check, "selects": one.selects, "because": one.because}
            for one in trial.skipped
        ],
    }


def _present(sighting: Sighting, observed: Observed) -> JsonObject:
    canary, way = sighting.canary, sighting.canary.way
    wrong = judge(sighting)
    expected = None
    if way.links is not None:
        expected = sorted(link_name(index, observed) for index in way.links)
    return {
        "check": canary.check,
        "selects": canary.selects,
        "family": f"ipv{canary.family.version}",
        "protocol": sighting.protocol.name.lower(),
        "side": way.side,
        "expected": expected,
        "may_be_blocked": way.blocked,
        "because": way.because,
        "left_by": sorted(link_name(index, observed) for index in sighting.links),
        "marked": sighting.marked,
        "passed": not wrong,
        "problem": wrong,
    }
