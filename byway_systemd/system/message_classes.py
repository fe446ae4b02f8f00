"""The classes of pyroute2 that byway encodes messages with, without the rest of pyroute2.

``pyroute2/__init__.py`` imports every part of the library (NDB, IPDB, 9p: 180 modules and 10 MB
more), which takes four times as long as what is used. Only the parts named here are loaded;
whoever imports pyroute2 itself later gets the whole of it.
https://github.com/svinota/pyroute2/blob/0.9.7/pyroute2/__init__.py
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "FR_ACT_TO_TBL",
    "RTNH_F_ONLINK",
    "fibmsg",
    "nft_chain_msg",
    "nft_regs",
    "nft_rule_msg",
    "nft_set_msg",
    "rtmsg",
]


@contextmanager
def _without_running(package: str) -> Iterator[None]:
    """Let modules of ``package`` be imported, whose own ``__init__`` is not executed."""
    spec = find_spec(package)
    if package in sys.modules or spec is None:
        yield
        return
    sys.modules[package] = module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[package]


with _without_running("pyroute2"):
    from pyroute2.netlink.nfnetlink.nftsocket import (
        nft_chain_msg,
        nft_regs,
        nft_rule_msg,
        nft_set_msg,
    )
    from pyroute2.netlink.rtnl.fibmsg import FR_ACT_TO_TBL, fibmsg
    from pyroute2.netlink.rtnl.rtmsg import RTNH_F_ONLINK, rtmsg
