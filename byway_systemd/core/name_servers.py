"""DNS of what leaves by a direct link: its questions are led to that link's own servers.

What a socket in a slice sends to port 53 gets another destination, by UDP and TCP. A stub resolver
on the loopback (127.0.0.53) is no exception: the packet gets the link's own source when it leaves,
and its answer comes back to 127.0.0.1, which the kernel takes from a link only where its
``route_localnet`` is set (Documentation/networking/ip-sysctl.rst). With that, what the wire brings
from or for 127.0.0.0/8 has to be dropped here, as the kernel does without.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from byway_systemd.core.config import LINKS_OWN_DNS
from byway_systemd.core.network import LOOPBACK_INDEX, Family
from byway_systemd.core.nftables import (
    Chain,
    ChainType,
    Counter,
    Direction,
    Hook,
    MatchAddress,
    MatchCgroup,
    MatchFlowMark,
    MatchLink,
    MatchMark,
    MatchPort,
    MatchState,
    NftRule,
    NftSet,
    RedirectTo,
    SetFlowMark,
    SetKind,
    SetMark,
    Side,
    Statement,
    Verdict,
)

if TYPE_CHECKING:
    from byway_systemd.core.links import Uplink
    from byway_systemd.core.observed import Observed

_RAW, _DESTINATION_NAT = -300, -100  # NF_IP_PRI_RAW, NF_IP_PRI_NAT_DST
_PORT = 53
_PROTOCOLS = {"TCP": 6, "UDP": 17}  # IPPROTO_*
_NEW = MatchState(("new", "untracked"))
_LOOPBACK_SET = NftSet("loopback4", SetKind.IPV4, ("127.0.0.0/8",))
_TO_LOOPBACK = MatchAddress(SetKind.IPV4, Side.DESTINATION, _LOOPBACK_SET.name)
_FROM_LOOPBACK = MatchAddress(SetKind.IPV4, Side.SOURCE, _LOOPBACK_SET.name)


@dataclass(frozen=True, slots=True)
class NameServers:
    """The servers that a profile's questions are led to; at most one of each family."""

    profile: str
    mark: int
    link: int
    link_name: str
    servers: tuple[tuple[Family, str], ...]

    @property
    def takes_loopback(self) -> bool:
        """Whether questions to the loopback are led away, too: IPv6 knows no way back for these."""
        return any(family is Family.IPV4 for family, _ in self.servers)


@dataclass(frozen=True, slots=True)
class Members:
    """Where the sockets of a profile are, or of what is let go by ``profile`` None."""

    level: int
    set_name: str
    profile: str | None


def list_servers(uplink: Uplink, observed: Observed) -> tuple[str, ...]:
    """Return the addresses that are configured, or that the link itself has."""
    configured = uplink.exit.profile.dns
    if configured != (LINKS_OWN_DNS,):
        return configured
    index = uplink.link.index if uplink.link else 0
    return tuple(address for link, address in observed.link_dns if link == index)


def find_name_servers(uplinks: tuple[Uplink, ...], observed: Observed) -> tuple[NameServers, ...]:
    """Return where questions are led, for each direct link that can be used."""
    found = []
    for uplink in uplinks:
        if uplink.link is None or not uplink.usable:
            continue
        first: dict[Family, str] = {}
        for address in list_servers(uplink, observed):
            first.setdefault(Family.IPV6 if ":" in address else Family.IPV4, address)
        if first:
            profile, mark = uplink.exit.profile.name, uplink.exit.mark
            servers = tuple(sorted(first.items()))
            found.append(NameServers(profile, mark, uplink.link.index, uplink.link.name, servers))
    return tuple(found)


def sysctls_for(ways: tuple[NameServers, ...]) -> dict[str, str]:
    """Return the settings that answers to the loopback need."""
    return {
        f"net/ipv4/conf/{way.link_name}/route_localnet": "1" for way in ways if way.takes_loopback
    }


def sets_for(ways: tuple[NameServers, ...]) -> tuple[NftSet, ...]:
    """Return the sets the rules look things up in."""
    return (_LOOPBACK_SET,) if any(way.takes_loopback for way in ways) else ()


def mark_loopback(
    ways: tuple[NameServers, ...], members: tuple[Members, ...], mask: int
) -> list[NftRule]:
    """Return the rules that mark questions to a stub resolver, as nothing else of the loopback is.

    ``members`` are ordered: the first that fits decides.
    """
    taken = {way.profile: way for way in ways if way.takes_loopback}
    unmarked = MatchMark(~mask & 0xFFFFFFFF, 0)  # by others
    rules = []
    for name, protocol in _PROTOCOLS.items() if taken else ():
        question = (
            MatchLink(Direction.OUT, LOOPBACK_INDEX),
            _TO_LOOPBACK,
            MatchPort(protocol, _PORT),
            unmarked,
        )
        for way in taken.values():
            known = MatchFlowMark(mask, way.mark)
            rules.append(
                _ask(f"{way.profile}, {name}, open", (*question, known, SetMark(mask, way.mark)))
            )
            marked = MatchMark(mask, way.mark)
            flow = SetFlowMark(mask, way.mark)
            rules.append(_ask(f"{way.profile}, {name}, marked", (*question, _NEW, marked, flow)))
        for place in members:
            match = (*question, _NEW, MatchCgroup(place.level, place.set_name))
            found = taken.get(place.profile or "")
            marks = (SetFlowMark(mask, found.mark), SetMark(mask, found.mark)) if found else ()
            rules.append(_ask(f"{place.profile or 'released'}, {name}", (*match, *marks)))
    return rules


def _ask(who: str, statements: tuple[Statement, ...]) -> NftRule:
    return NftRule(f"{who}: question to the loopback", (*statements, Verdict.ACCEPT))


def redirect_questions(
    ways: tuple[NameServers, ...], members: tuple[Members, ...], mask: int
) -> tuple[Chain, ...]:
    """Return the chain that gives questions their new destination; none when nothing is led."""
    by_profile = {way.profile: way for way in ways}
    rules = []
    for place in members if ways else ():
        match = MatchCgroup(place.level, place.set_name)
        way = by_profile.get(place.profile or "")
        if way is None:
            who = place.profile or "released"
            rules.append(NftRule(f"{who}: asks as before", (match, Verdict.ACCEPT)))
            continue
        rules += [
            NftRule(
                f"{way.profile}: {name} question over {family.name}",
                (
                    match,
                    MatchFlowMark(mask, way.mark),
                    MatchPort(protocol, _PORT),
                    Counter(),
                    RedirectTo(address),
                ),
            )
            for name, protocol in _PROTOCOLS.items()
            for family, address in way.servers
        ]
    chain = Chain("questions", ChainType.NAT, Hook.OUTPUT, _DESTINATION_NAT, tuple(rules))
    return (chain,) if rules else ()


def guard_loopback(ways: tuple[NameServers, ...]) -> tuple[Chain, ...]:
    """Return the chain that drops what nobody but the loopback may send or get."""
    rules = tuple(
        NftRule(
            f"{way.profile}: loopback address on the wire",
            (MatchLink(Direction.IN, way.link), match, Counter(), Verdict.DROP),
        )
        for way in ways
        if way.takes_loopback
        for match in (_FROM_LOOPBACK, _TO_LOOPBACK)
    )
    chain = Chain("wire", ChainType.FILTER, Hook.PREROUTING, _RAW, rules)
    return (chain,) if rules else ()


def never_from_loopback(ways: tuple[NameServers, ...]) -> list[NftRule]:
    """Return the rules that drop what would leave with the loopback's source."""
    return [
        NftRule(
            f"{way.profile}: never from the loopback",
            (MatchLink(Direction.OUT, way.link), _FROM_LOOPBACK, Counter(), Verdict.DROP),
        )
        for way in ways
        if way.takes_loopback
    ]


def read_server(text: str) -> str:
    """Return the address of a DNS server as systemd writes it, empty when it is of no use here.

    ``ADDRESS[:PORT][%LINK][#NAME]`` (in_addr_full_to_string() in systemd's
    src/shared/socket-netlink.c): one at another port, or of a link alone, is left out.
    """
    address = text.partition("#")[0]
    if address.startswith("["):
        inside, _, rest = address[1:].partition("]")
        address = inside if rest in ("", ":53") else ""
    elif address.count(":") == 1:
        host, _, port = address.partition(":")
        address = host if port == "53" else ""
    try:
        found = ip_address(address)
    except ValueError:
        return ""
    unusable = found.is_loopback or found.is_link_local or found.is_unspecified
    return "" if unusable or found.is_multicast else str(found)
