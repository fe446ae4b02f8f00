"""Configuration files: what they say, and every way in which they can be wrong."""

from __future__ import annotations

import pytest

from byway_systemd.core.apps import Children
from byway_systemd.core.config import SETTINGS, Config, Profile, Switch, WhenDown
from byway_systemd.core.errors import ConfigError, Problem
from byway_systemd.core.parse import ConfigFile, parse_config, read_entries


def read(*texts: str) -> Config:
    return parse_config(tuple(ConfigFile(f"{n}.toml", text) for n, text in enumerate(texts)))


def refused(*texts: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        read(*texts)
    return caught.value.problems


def apps(profile: Profile) -> list[str]:
    return [str(app) for app in profile.apps]


def test_three_lines_are_enough() -> None:
    config = read('interface = "wwan0"\nreconcile = "5s"\napps = ["/usr/bin/firefox"]\n')
    assert config.reconcile == 5_000_000
    assert config.profiles[0].interface == "wwan0"
    assert apps(config.profiles[0]) == ["/usr/bin/firefox"]


def test_nothing_is_enough() -> None:
    assert read() == read("") == Config()


def test_reads_every_setting() -> None:
    config = read("""
        interface = "wwan0"
        reconcile = "0"
        [direct]
        gateway = "10.0.0.1"
        gateway6 = "FE80::1"
        when_down = "vpn"
        [placement]
        gate = "off"
        [kernel]
        mark_mask = "0xff0000"
        priority = 500
        [profile.lte]
        interface = "wwan1"
        gateway = "auto"
        when_down = "block"
        apps = ["unit:a", "/opt/*/b"]
    """)
    default, lte = config.profiles
    assert (default.gateway, default.gateway6) == ("10.0.0.1", "fe80::1")
    assert (default.when_down, lte.when_down) == (WhenDown.VPN, WhenDown.BLOCK)
    assert (config.gate, config.mark_mask, config.priority) == (Switch.OFF, 0xFF0000, 500)
    assert (config.reconcile, lte.name, lte.interface) == (0, "lte", "wwan1")
    assert apps(lte) == ["unit:a.service", "/opt/*/b"]
    assert (lte.slice, default.slice) == ("byway-lte.slice", "byway.slice")


def test_later_files_replace_values_and_append_to_lists() -> None:
    config = read(
        'interface = "a"\napps = ["/a"]\n[direct]\ngateway = "10.0.0.1"\n'
        '[profile.x]\napps = ["/x"]',
        'interface = "b"\napps = ["/b"]\n[direct]\nwhen_down = "vpn"\n[profile.x]\napps = ["/y"]',
        'interface = "c"',
    )
    default, named = config.profiles
    assert (default.interface, default.gateway, default.when_down) == ("c", "10.0.0.1", "vpn")
    assert (apps(default), apps(named)) == (["/a", "/b"], ["/x", "/y"])


def test_default_profile_is_the_first() -> None:
    config = read('[profile.a]\ninterface = "x"', 'interface = "y"')
    assert [profile.name for profile in config.profiles] == ["default", "a"]


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("interface = 3", 1, "interface", "not an interface name: 3"),
        ('interface = ""', 1, "interface", "not an interface name"),
        ('interface = "a b"', 1, "interface", "not an interface name"),
        ('interface = "a/b"', 1, "interface", "not an interface name"),
        ('interface = ".."', 1, "interface", "not an interface name"),
        (f'interface = "{"a" * 128}"', 1, "interface", "not an interface name"),
        ('interface = "a\\nb"', 1, "interface", "control character"),
        ("interface = 1979-05-27", 1, "interface", "not an interface name"),
        ("reconcile = 5", 1, "reconcile", "not a duration: 5"),
        ('reconcile = "5"', 1, "reconcile", "without a unit"),
        (f'reconcile = "{"9" * 400}s"', 1, "reconcile", "longer than a year"),
        ('apps = "/a"', 1, "apps", "not a list"),
        ("apps = [1]", 1, "apps[0]", "not an app: 1"),
        ('apps = [\n  "/a",\n  "b",\n]', 3, "apps[1]", "not absolute: 'b'"),
        ("direct = 1", 1, "direct", "not a table"),
        ('\n[direct]\ngateway = "x"', 3, "direct.gateway", "not an IPv4 address"),
        ('[direct]\ngateway = "fe80::1"', 2, "direct.gateway", "not an IPv4 address"),
        ('[direct]\ngateway6 = "10.0.0.1"', 2, "direct.gateway6", "not an IPv6 address"),
        ('[direct]\ngateway = "0.0.0.0"', 2, "direct.gateway", "cannot be a gateway"),
        ('[direct]\ngateway = "127.0.0.1"', 2, "direct.gateway", "cannot be a gateway"),
        ('[direct]\ngateway6 = "ff02::1"', 2, "direct.gateway6", "cannot be a gateway"),
        ('[direct]\nwhen_down = "Block"', 2, "direct.when_down", "unknown value"),
        ("[direct]\nwhen_down = true", 2, "direct.when_down", "unknown value: True"),
        ("[kernel]\npriority = 99", 2, "kernel.priority", "not a rule preference"),
        ("[kernel]\npriority = true", 2, "kernel.priority", "not a rule preference"),
        ('[kernel]\npriority = "11600"', 2, "kernel.priority", "not a rule preference"),
        ("[kernel]\nmark_mask = 0x3f", 2, "kernel.mark_mask", "not a mask"),
        ('[kernel]\nmark_mask = "0x0"', 2, "kernel.mark_mask", "not two or more bits"),
        ('[kernel]\nmark_mask = "0x1"', 2, "kernel.mark_mask", "not two or more bits"),
        ('[kernel]\nmark_mask = "0x5"', 2, "kernel.mark_mask", "not two or more bits"),
        ('[kernel]\nmark_mask = "0x100000000"', 2, "kernel.mark_mask", "not a mask"),
        ('[placement]\ngate = "on"', 2, "placement.gate", "unknown value"),
        ('[profile.A]\ninterface = "x"', 1, "profile.A", "not a profile name"),
        ('[profile.default]\ninterface = "x"', 1, "profile.default", "not a profile name"),
        ("profile = 1", 1, "profile", "not a table"),
        ("[profile]\nlte = 1", 2, "profile.lte", "not a table"),
        ("[profile.lte]\napps = 1", 2, "profile.lte.apps", "not a list"),
        ('apps = ["/a", "/a"]', 1, "apps[1]", "listed twice: /a"),
        ('# one\n\n"odd key" = 1', 3, "'odd key'", "unknown key"),
        ("[[direct]]\na = 1", 1, "direct", "not a table"),
    ],
)
def test_says_where_and_what_and_what_to_do(text: str, line: int, key: str, message: str) -> None:
    (problem,) = refused(text)
    assert (problem.file, problem.line, problem.key) == ("0.toml", line, key)
    assert message in problem.message
    assert problem.remedy
    assert str(problem) == f"0.toml:{line}: {key}: {problem.message} ({problem.remedy})"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("interfce = 1", "did you mean interface?"),
        ("appps = 1", "did you mean apps?"),
        ("[direct]\ngatewy = 1", "did you mean direct.gateway?"),
        ("[direkt]\ngateway = 1", "did you mean direct?"),
        ("[profile.lte]\niterface = 1", "did you mean profile.lte.interface?"),
        ("zzzzzz = 1", "remove it; byway.toml(5) lists the known keys"),
    ],
)
def test_unknown_key_names_the_nearest(text: str, remedy: str) -> None:
    (problem,) = refused(text)
    assert (problem.message, problem.remedy) == ("unknown key", remedy)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = ", 1),
        ("a = 1\na = 2", 2),
        ("\n\nx y", 3),
        ("apps = [\n'/a'", 2),
        ("[a]\n[a]", 2),
        ("a\0b = 1", 1),
        ('a = "\x01"', 1),
    ],
)
def test_broken_toml_has_its_line(text: str, line: int) -> None:
    (problem,) = refused(text)
    assert "not valid TOML" in problem.message
    assert problem.line in (line, line - 1)  # an unexpected end is seen on the last line with text


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 17 + " = 1",
        "[a" + ".a" * 20000 + "]",
        '"a"' + ".a" * 20000 + " = 1",
        "x = {a" + ".a" * 20000 + " = 1}",
        "x = " + "[" * 30000,
        "x = " + "[" * 10000 + "]" * 10000,
        "x = " + "{a=" * 10000 + "1" + "}" * 10000,
        "x = " + "9" * 5000,
        "a = 1 #" + " " * 70000,
        "\n".join(f"k{n} = 1" for n in range(5000)),
        "apps = [" + "'a'," * 15000 + "]",
        "apps = [" + "'/a'," * 10000 + "]",
    ],
    ids=lambda text: f"{text[:8]}..{len(text)}",
)
def test_traps_are_refused_at_once(text: str) -> None:
    assert refused(text)


def test_whole_size_counts_in_bytes_of_any_file() -> None:
    (problem,) = refused("", "#" * (64 * 1024 + 1))
    assert (problem.file, problem.message) == ("1.toml", "larger than 64 KiB")
    assert read("#" * 64 * 1024) == Config()


def test_all_problems_of_all_files_at_once() -> None:
    problems = refused(
        'interface = 1\nreconcile = "x"\nfoo = 1\napps = ["b", "/a", 3]\n',
        "not toml",
        'apps = ["/a"]\n[profile.Q]\n[profile.ok]\napps = ["/b"]\n',
        '[profile.ok]\napps = ["/b"]\n',
    )
    assert [(p.file, p.line, p.key) for p in problems] == [
        ("0.toml", 1, "interface"),
        ("0.toml", 2, "reconcile"),
        ("0.toml", 3, "foo"),
        ("0.toml", 4, "apps[0]"),
        ("0.toml", 4, "apps[2]"),
        ("1.toml", 1, ""),
        ("2.toml", 2, "profile.Q"),
        ("2.toml", 1, "apps[0]"),
        ("3.toml", 2, "profile.ok.apps[0]"),
    ]
    assert problems[-1].remedy == "it is in 2.toml, profile.ok.apps[0]"


def test_lines_are_right_below_values_of_many_lines() -> None:
    problems = refused(
        'apps = [\n"a",\n\n[\n1],\n"c"\n]\ninterface = """\n\n"""\nx = [\n\n]\ny = 1\n'
    )
    assert [(p.key, p.line) for p in problems] == [
        ("apps[0]", 2), ("apps[1]", 4), ("apps[2]", 6), ("interface", 8), ("x", 11), ("y", 14),
    ]  # fmt: skip


def test_an_app_is_in_one_profile_only() -> None:
    (problem,) = refused('apps = ["/a"]\n[profile.x]\napps = ["/a"]')
    assert (problem.key, problem.line) == ("profile.x.apps[0]", 3)


def test_too_many_profiles() -> None:
    assert len(read(*(f'[profile.p{n}]\ninterface = "x"' for n in range(31))).profiles) == 32
    text = "\n".join(f'[profile.p{n}]\ninterface = "x"' for n in range(33))
    assert refused(text)[0].message == "too many profiles"


@pytest.mark.parametrize(("mask", "profiles"), [("0x3", 1), ("0x7", 5), ("0x3f000000", 31)])
def test_marks_have_room(mask: str, profiles: int) -> None:
    head = f'[kernel]\nmark_mask = "{mask}"\n'
    named = [f'[profile.p{n}]\ninterface = "x"\n' for n in range(profiles)]
    assert len(read(head, *named[: profiles - 1]).profiles) == profiles
    if mask != "0x3f000000":
        (problem,) = refused(head, *named)
        assert "too few bits" in problem.message


def test_app_entries_tell_their_place() -> None:
    file = ConfigFile("f", 'apps = ["/a"]\n[profile.x]\napps = ["/b"]')
    assert [(e.path, e.profile) for e in read_entries((file,))] == [
        (("apps", 0), "default"),
        (("profile", "x", "apps", 0), "x"),
    ]


def test_every_default_is_what_an_empty_file_gives() -> None:
    lines = []
    for setting in SETTINGS:
        if "*" not in setting.key:
            quoted = setting.default if setting.default[0] in "[1t" else f'"{setting.default}"'
            lines.append(f"{setting.key} = {quoted}")
    assert read("\n".join(lines)) == Config()


def test_app_tables() -> None:
    config = read("""
        apps = ["/a"]
        [[app]]
        path = "/b"
        children = "listed"
        exclude = ["/c", "/d/*"]
        [[app]]
        path = "/e"
        [profile.lte]
        [[profile.lte.app]]
        path = "/f"
    """)
    default, lte = config.profiles
    assert apps(default) == ["/a", "/b", "/e"]
    assert apps(lte) == ["/f"]
    assert [(app.children, app.exclude, app.lets_go) for app in default.apps] == [
        (Children.INHERIT, (), False),
        (Children.LISTED, ("/c", "/d/*"), True),
        (Children.INHERIT, (), False),
    ]


@pytest.mark.parametrize(
    ("table", "key", "line", "message"),
    [
        ('children = "listed"', "app[1]", 3, "without a path"),
        ('path = "/b"\nchild = "x"', "app[1].child", 5, "unknown key: 'child'"),
        ('path = "/b"\nchildren = "some"', "app[1].children", 5, "unknown value: 'some'"),
        ('path = "unit:a"', "app[1].path", 4, "not a path"),
        ("path = 3", "app[1].path", 4, "not a path"),
        ('path = "b"', "app[1].path", 4, "not absolute"),
        ('path = "/b"\nexclude = "/c"', "app[1].exclude", 5, "not a list"),
        ('path = "/b"\nexclude = [\n"/c",\n"c"]', "app[1].exclude[1]", 7, "not absolute"),
        ('path = "/a"', "app[1]", 3, "listed twice"),
    ],
)
def test_refused_app_tables(table: str, key: str, line: int, message: str) -> None:
    text = f'[[app]]\npath = "/a"\n[[app]]\n{table}\n'
    with pytest.raises(ConfigError) as caught:
        parse_config((ConfigFile("f", text),))
    (problem,) = caught.value.problems
    assert (problem.key, problem.line) == (key, line)
    assert message in problem.message


def test_one_table_is_no_array_of_tables() -> None:
    for text in ('[app]\npath = "/a"\n', "app = 1\n"):
        (problem,) = refused(text)
        assert problem.message.startswith("not a list")
        assert problem.remedy == "write [[app]] above its keys, or apps = [...]"
