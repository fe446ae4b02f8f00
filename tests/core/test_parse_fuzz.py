"""Whatever stands in a file: a configuration, or what is wrong with it, and soon."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byway_systemd.core.config import SETTINGS, Config
from byway_systemd.core.errors import ConfigError
from byway_systemd.core.parse import ConfigFile, parse_config

VALID = """# byway
interface = "wwan0"
reconcile = "5s"
apps = ["/usr/bin/firefox", "unit:a.service", "/opt/*/x"]

[direct]
gateway = "10.0.0.1"
when_down = "vpn"
[kernel]
mark_mask = "0x3f000000"
priority = 11600
[profile.lte]
interface = "wwan1"
apps = [
  "/usr/bin/transmission", # a comment
]
"""
_LONGEST = 2.0  # seconds, with room for a busy machine; usual is a millisecond
_SCRAPS = [
    "[", "]", "{", "}", '"', "'", '"""', "=", ".", ",", "\n", "#", "\\", "\0", "[[", "]]", "0x",
    "-", "inf", "nan", "1979-05-27", "\\u0000", "\\ud800", "profile", "apps", "a.a.a.", "\r",
    "9" * 30,
]  # fmt: skip


def check(*texts: str) -> None:
    began = time.monotonic()
    try:
        outcome: object = parse_config(tuple(ConfigFile("f", text) for text in texts))
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - either outcome is right
        for problem in error.problems:
            assert problem.message
            assert problem.remedy
            assert 0 <= problem.line <= max(text.count("\n") for text in texts) + 1
    else:
        assert isinstance(outcome, Config)
    assert time.monotonic() - began < _LONGEST


@settings(max_examples=3000)
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    check(content.decode(errors="replace"))


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files(seed: int) -> None:
    random = Random(seed)  # noqa: S311
    for _ in range(2500):
        text = VALID
        for _ in range(random.randint(1, 4)):
            at = random.randint(0, len(text))
            scrap = random.choice(_SCRAPS) * random.choice([1, 1, 1, 2, 50])
            text = text[:at] + scrap + text[at + random.randint(0, 12) :]
        check(text)


_values = st.recursive(
    st.sampled_from(['"x"', '"/a"', "1", "1.5", "true", "inf", "1979-05-27", '"unit:a"', '"auto"']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: "[" + ", ".join(v) + "]")
        | st.lists(inner, max_size=2).map(
            lambda v: "{" + ", ".join(f"k{n} = {x}" for n, x in enumerate(v)) + "}"
        )
    ),
    max_leaves=4,
)
_keys = st.sampled_from([s.key.replace("*", "lte") for s in SETTINGS]) | st.sampled_from(
    ["profile", "profile.lte", "profile.X.apps", "direct", "kernel.x", "'a.b'", "profile.'a b'.x"]
)


@settings(max_examples=700)
@given(
    st.lists(
        st.lists(st.tuples(_keys, _values), max_size=5, unique_by=lambda pair: pair[0]),
        min_size=1,
        max_size=3,
    )
)
def test_any_value_of_any_key(files: list[list[tuple[str, str]]]) -> None:
    check(*("\n".join(f"{key} = {value}" for key, value in file) for file in files))
