"""What byway doctor does: one table of checks, each of which looks at the same case.

A check is a function of a Case that yields what it finds; what it needs to see beside Observed
belongs into Surroundings, which an adapter fills. Nothing is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from byway_systemd.core.doctor_network import (
    check_direct_links,
    check_reverse_filters,
    check_rules,
    check_tables,
    check_vpn_link,
)
from byway_systemd.core.doctor_others import (
    check_endpoints,
    check_entries,
    check_kill_switches,
    check_names,
    check_placement,
    check_service,
    check_sync,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from byway_systemd.core.describe import JsonObject
    from byway_systemd.core.findings import Case, Finding


@dataclass(frozen=True, slots=True)
class Check:
    """A check: its name, what is well when it finds nothing, and whether it can do without root."""

    name: str
    well: str
    find: Callable[[Case], Iterator[Finding]]
    needs_root: bool = False


CHECKS = (
    Check("service", "byway runs", check_service),
    Check("direct-links", "every direct link is up and leads out", check_direct_links),
    Check("vpn", "the VPN is up, where anything is led to it", check_vpn_link),
    Check("tables", "the routing tables have their default routes", check_tables),
    Check("rules", "no foreign routing rule comes first", check_rules),
    Check("reverse-filters", "answers pass the reverse path filter", check_reverse_filters),
    Check("entries", "every entry selects something", check_entries),
    Check("names", "names are looked up as dns says", check_names),
    Check("sync", "all is as the configuration says", check_sync, needs_root=True),
    Check(
        "placement", "the exec gate and the socket marker work", check_placement, needs_root=True
    ),
    Check("kill-switches", "no firewall is in the way", check_kill_switches, needs_root=True),
    Check(
        "endpoints", "the VPN's server is reached outside of it", check_endpoints, needs_root=True
    ),
)


def examine(case: Case, *, is_root: bool) -> JsonObject:
    """Return what every check found, as a JSON value; ``findings`` is null where root is needed."""
    checks = [
        {
            "check": check.name,
            "well": check.well,
            "findings": None
            if check.needs_root and not is_root
            else [_present(finding) for finding in check.find(case)],
        }
        for check in CHECKS
    ]
    return {"fine": not any(_is_wrong(check["findings"]) for check in checks), "checks": checks}


def _present(finding: Finding) -> JsonObject:
    return {
        "severity": str(finding.severity),
        "wrong": finding.severity.is_wrong,
        "what": finding.what,
        "evidence": finding.evidence,
        "remedy": finding.remedy,
    }


def _is_wrong(findings: object) -> bool:
    return isinstance(findings, list) and any(finding["wrong"] for finding in findings)
