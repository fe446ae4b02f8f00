"""What byway tells the journal, each kind with the id that its catalog explains it by.

The ids are random (``systemd-id128 new``), as systemd.journal-fields(7) asks for MESSAGE_ID.
"""

from __future__ import annotations

from enum import StrEnum


class Message(StrEnum):
    """A kind of entry; the value is its MESSAGE_ID."""

    READY = "5eb9c77c5ce948518c33a0ab4b470fb9"
    STOPPED = "23c5982798c14edcaf4f8006d5d066d7"
    PLACED = "c18770d3462e4d24b48f885096a0759d"
    REPAIRED = "aa412b9c5399424f8df52c02ea0e1716"
    FAILED = "f69e707014a54526a0a1a48b3b5739b2"
    WARNED = "07452e4843b14221b4badb3d0e695eb5"
    CONFIG_LOADED = "6a50887cf81f4ea9868fa9e2363d11b9"
    CONFIG_REFUSED = "6017580cca48440b95555cf85e21a1c1"
    CHANGED_BY_CLIENT = "d4559f2d138046388d9769d470d07f09"
    ROLLED_BACK = "5956726c13b4413cb7746a1605cb995d"
