"""What only byway doctor looks at, and what anybody may look at of the rest."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from byway_systemd.core.findings import Case, Surroundings
from byway_systemd.core.observed import Observed
from byway_systemd.core.plan import plan
from byway_systemd.core.steering import find_cgroups
from byway_systemd.system import cgroups
from byway_systemd.system.executables import observe_executables
from byway_systemd.system.foreign_chains import observe_foreign_chains
from byway_systemd.system.logins import observe_logins
from byway_systemd.system.resolver import observe_addresses
from byway_systemd.system.routing import Routing
from byway_systemd.system.sysctls import observe_sysctl
from byway_systemd.system.tunnel_servers import observe_tunnel_servers

if TYPE_CHECKING:
    from pathlib import Path

    from byway_systemd.core.desired import Desired
    from byway_systemd.core.network import Link
    from byway_systemd.reconcile import System


def observe_case(
    root: Path, desired: Desired, machine: System | None, problems: tuple[str, ...], *, runs: bool
) -> Case:
    """Return all that the doctor looks at; ``machine`` is None without root."""
    observed = machine.observe(desired) if machine else observe_without_root(root, desired)
    remaining = plan(desired, observed) if machine else ()
    surroundings = observe_surroundings(root, observed.links, is_root=machine is not None)
    return Case(desired, observed, surroundings, remaining, runs, problems if runs else ())


def observe_without_root(root: Path, desired: Desired) -> Observed:
    """Return what needs no root of the world: the network, files, and which cgroups there are."""
    with Routing() as routing:
        seen = Observed(
            links=routing.observe_links(),
            routes=routing.observe_routes(),
            rules=routing.observe_rules(),
            executables=observe_executables(desired.profiles),
            host_addresses=observe_addresses(root, desired.traffic.host_names),
            logins=observe_logins(root),
            named_cgroups=tuple(cgroups.find_named(desired.traffic.bare_names)),
        )
    ids = ((path, cgroups.cgroup_id(path)) for path in find_cgroups(desired, seen))
    there = tuple((path, number) for path, number in ids if number is not None)
    return replace(seen, cgroup_ids=there)


def observe_surroundings(root: Path, links: tuple[Link, ...], *, is_root: bool) -> Surroundings:
    """Return what the doctor looks at beside Observed; raise KernelError."""
    return Surroundings(
        filters=observe_foreign_chains() if is_root else (),
        servers=observe_tunnel_servers(links) if is_root else (),
        reverse_filters=tuple(
            (link.name, *_reverse_filter(link.name)) for link in links if not link.loopback
        ),
        host_sources=_host_sources(root),
    )


def _reverse_filter(name: str) -> tuple[int, bool]:
    """Return what counts of the link's setting and that of all: the greater, and either.

    Documentation/networking/ip-sysctl.rst; src_valid_mark is an IN_DEV_ORCONF() in
    include/linux/inetdevice.h.
    """
    modes, marks = (
        [observe_sysctl(f"net/ipv4/conf/{which}/{setting}") or "0" for which in ("all", name)]
        for setting in ("rp_filter", "src_valid_mark")
    )
    return max(map(int, modes)), "1" in marks


def _host_sources(root: Path) -> tuple[str, ...]:
    """Return where names of hosts are looked up, in order (nsswitch.conf(5)), without actions."""
    with suppress(OSError):
        text = (root / "etc/nsswitch.conf").read_text(encoding="utf-8", errors="replace")
        if line := re.search(r"^hosts:(.*)$", text, re.MULTILINE):
            words = re.sub(r"\[[^]]*\]", " ", line[1].partition("#")[0])
            return tuple(words.split())
    return ()
