"""Logins from afar that the traffic section would cut.

What comes in by the direct link or by the VPN is answered by the same link while byway leads
anything to the VPN: its flow is marked. What is left is a login by another link, one by the VPN
that was open before or that byway leads nothing to, and any while the VPN that would have to answer
is down: the first look-up of a route, before the mark counts, then finds none.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING

from byway_systemd.core.config import DEFAULT_PROFILE
from byway_systemd.core.links import near_prefixes, steering_uplinks
from byway_systemd.core.network import MAIN_TABLE, Family, Link, RouteKind
from byway_systemd.core.rules import (
    DIRECT_SOURCES,
    DIRECT_USERS,
    LONGEST_DEFAULT,
    VPN_SOURCES,
    VPN_USERS,
    rules_of_sources,
    rules_of_users,
)
from byway_systemd.core.traffic import Mode
from byway_systemd.core.vpn import Vpn, find_vpn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.links import Uplink
    from byway_systemd.core.observed import Login, Observed
    from byway_systemd.core.rules import Band
    from byway_systemd.core.traffic import Overrides

_MARKS_WHAT_COMES_IN = "vpn: new flow that comes in by it"  # a rule of byway's table


def warn_of_logins(desired: Desired, observed: Observed) -> Iterator[str]:
    """Yield a warning for each login that is, or would be, answered by another link."""
    if not desired.exits or not observed.logins:
        return
    uplinks = steering_uplinks(desired, observed)
    default = next((u for u in uplinks if u.exit.profile.name == DEFAULT_PROFILE), None)
    ways = _Ways(desired, observed, default, find_vpn(desired, observed))
    for login in observed.logins:
        if why := ways.find_cut(login):
            yield (
                f"the login from {login.client} by {why} "
                "(log in by the link that answers, or try it with byway apply --confirm 60)"
            )


@dataclass(frozen=True, slots=True)
class _Ways:
    desired: Desired
    observed: Observed
    default: Uplink | None
    vpn: Vpn | None

    def find_cut(self, login: Login) -> str:
        """Return by which link a login came and what would cut it; empty when it stays."""
        came = next((link for link in self.observed.links if _has(link, login.server)), None)
        if came is None or came.loopback:
            return ""
        to_vpn, why = self._first_way(login)
        if not why or (self._is_near(login.client) and self._keeps_near(to_vpn=to_vpn)):
            return ""
        link = self._vpn_link if to_vpn else self._direct_link
        if self._is_marked(came):
            stays = not to_vpn or self.vpn is None or self.vpn.usable
        else:
            stays = link is not None and link.index == came.index
        if stays:
            return ""
        answered = f"answered by {link.name}" if link else "answered by nothing"
        if to_vpn and self.vpn and not self.vpn.usable:
            answered = "not answered while the VPN is down"
        return f"{came.name} is cut: {why}, so that it is {answered}"

    @property
    def _direct_link(self) -> Link | None:
        return self.default.link if self.default else None

    @property
    def _vpn_link(self) -> Link | None:
        return self.vpn.link if self.vpn else None

    @property
    def _leads_to_vpn(self) -> bool:
        """Whether what is for the VPN takes it, or nothing: else the rules behind decide."""
        return self.vpn is not None and self.vpn.is_only_way

    def _first_way(self, login: Login) -> tuple[bool, str]:
        """Return whether the answers' first route is the VPN's, and why; no reason: main decides.

        The answers are packets of root's from the address that was logged in to.
        """
        traffic = self.desired.traffic
        sides: tuple[tuple[bool, str, Overrides, tuple[Band, Band], bool], ...] = (
            (False, "force_direct", traffic.force_direct, (DIRECT_SOURCES, DIRECT_USERS),
             self.default is not None),
            (True, "force_vpn", traffic.force_vpn, (VPN_SOURCES, VPN_USERS), self._leads_to_vpn),
        )  # fmt: skip
        family = Family.IPV6 if ":" in login.server else Family.IPV4
        for to_vpn, side, overrides, (of_sources, of_users), counts in sides:
            sources = rules_of_sources(overrides, of_sources, family) if counts else ()
            if holder := _find_holder(login.server, sources):
                return to_vpn, f"{side}.subnets has {holder}"
            users = rules_of_users(overrides, of_users) if counts else ()
            if any(first == 0 for first, _ in users):
                return to_vpn, f"{side}.uids has root, as whom sshd answers"
        if self._leads_to_vpn and traffic.mode is Mode.FULL_TUNNEL:
            return True, f"the mode is {traffic.mode}"
        narrower = (
            route.destination
            for route in self.observed.routes
            if route.table == MAIN_TABLE
            and route.kind is RouteKind.UNICAST
            and ip_network(route.destination).prefixlen > LONGEST_DEFAULT
        )
        leads_direct = self.default is not None and traffic.mode.leads_direct
        if leads_direct and not _find_holder(login.client, narrower):
            return False, f"the mode is {traffic.mode}"
        return False, ""

    def _is_near(self, client: str) -> bool:
        return any(_find_holder(client, near) for near in near_prefixes(self.observed))

    def _keeps_near(self, *, to_vpn: bool) -> bool:
        return not to_vpn or self.desired.traffic.auto_local_bypass

    def _is_marked(self, came: Link) -> bool:
        """Whether the flow carries the mark of the link that it came in by."""
        if self.vpn is None:
            return False
        if self._direct_link is not None and came.index == self._direct_link.index:
            return True
        table = self.observed.table
        rules = [rule for chain in table.chains for rule in chain.rules] if table else []
        marks = any(rule.startswith(_MARKS_WHAT_COMES_IN) for rule in rules)
        return marks and self._vpn_link is not None and came.index == self._vpn_link.index


def _has(link: Link, address: str) -> bool:
    return any(ip_interface(own).ip == ip_address(address) for own in link.addresses)


def _find_holder(address: str, prefixes: Iterable[str]) -> str:
    """Return the first of ``prefixes`` that holds ``address``."""
    own = ip_address(address)
    return next(
        (p for p in prefixes if (":" in p) == (":" in address) and own in ip_network(p)), ""
    )
