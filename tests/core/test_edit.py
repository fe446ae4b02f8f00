"""Editing in place: only the one entry changes."""

from __future__ import annotations

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from byway_systemd.core.apps import App, parse_app
from byway_systemd.core.edit import add_app, remove_app, set_value
from byway_systemd.core.errors import NotFoundError, UsageError

NEW = parse_app("/usr/bin/new")
HEAD = '# mine\ninterface = "wwan0" # the modem\n\n'
TAIL = '\n\n[direct]  # how\ngateway = "auto"\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("apps = []", 'apps = ["/usr/bin/new"]'),
        ('apps = ["/a"]', 'apps = ["/a", "/usr/bin/new"]'),
        ('apps = ["/a"]  # why', 'apps = ["/a", "/usr/bin/new"]  # why'),
        ("apps = ['/a']", "apps = ['/a', \"/usr/bin/new\"]"),
        (
            'apps = [\n  "/a",  # one\n  "/b",\n]',
            'apps = [\n  "/a",  # one\n  "/b",\n  "/usr/bin/new",\n]',
        ),
        ('apps = [\n\t"/a",\n]', 'apps = [\n\t"/a",\n\t"/usr/bin/new",\n]'),
        ('apps = [\n    "/a"\n]', 'apps = [\n    "/a",\n    "/usr/bin/new",\n]'),
    ],
)
def test_add_keeps_the_rest(before: str, after: str) -> None:
    assert add_app(HEAD + before + TAIL, NEW) == HEAD + after + TAIL


def test_add_where_there_is_no_list() -> None:
    added = add_app(HEAD + TAIL, NEW)
    assert tomli.loads(added)["apps"] == ["/usr/bin/new"]
    assert "# mine" in added
    assert "[direct]  # how" in added
    assert add_app("", NEW) == 'apps = ["/usr/bin/new"]\n'


def test_add_to_a_profile() -> None:
    text = 'apps = ["/a"]\n[profile.lte]\ninterface = "x"\napps = ["/b"]\n'
    assert add_app(text, NEW, "lte") == text.replace('"/b"', '"/b", "/usr/bin/new"')
    assert tomli.loads(add_app('[profile.lte]\ninterface = "x"\n', NEW, "lte")) == {
        "profile": {"lte": {"interface": "x", "apps": ["/usr/bin/new"]}}
    }
    with pytest.raises(UsageError, match="no profile 'x'"):
        add_app(text, NEW, "x")


def test_add_twice() -> None:
    with pytest.raises(UsageError, match="already listed"):
        add_app(add_app("", NEW), NEW)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('apps = ["/usr/bin/new"]', "apps = []"),
        ('apps = ["/a", "/usr/bin/new"]', 'apps = ["/a"]'),
        ('apps = ["/usr/bin/new", "/a"]', 'apps = ["/a"]'),
        ('apps = [\n  "/usr/bin/new",\n  "/b",  # two\n]', 'apps = [\n  "/b",  # two\n]'),
        ('apps = [\n  "/b",\n  "/usr/bin/new",\n]', 'apps = [\n  "/b",\n]'),
    ],
)
def test_remove_keeps_the_rest(before: str, after: str) -> None:
    assert remove_app(HEAD + before + TAIL, NEW) == HEAD + after + TAIL


def test_remove_from_whichever_profile() -> None:
    text = 'apps = ["/a"]\n[profile.lte]\napps = ["/usr/bin/new"]\n'
    assert remove_app(text, NEW) == text.replace('["/usr/bin/new"]', "[]")


@pytest.mark.parametrize("text", ["", "apps = []", 'apps = ["/usr/bin/new2"]', "[profile]"])
def test_remove_what_is_not_there(text: str) -> None:
    with pytest.raises(NotFoundError, match="/usr/bin/new"):
        remove_app(text, NEW)


def test_line_ends_stay() -> None:
    text = '# mine\r\napps = [\r\n  "/a",\r\n]\r\n'
    added = add_app(text, NEW)
    assert added == text.replace('"/a",\r\n', '"/a",\r\n  "/usr/bin/new",\r\n')
    assert remove_app(added, NEW) == text


_apps = st.lists(
    st.sampled_from(["/a", "/b", "unit:c.service", "/opt/*/d", "/e f"]), unique=True, max_size=4
)


@given(_apps, st.sampled_from([", ", ",", ",\n  ", ", # x\n "]), st.sampled_from(["", "\n"]))
def test_add_then_remove(apps: list[str], separator: str, end: str) -> None:
    text = f"# head\napps = [{end}{separator.join(map(repr, apps))}{end}]\n[direct]\n"
    added = add_app(text, NEW)
    assert tomli.loads(added)["apps"] == [*apps, "/usr/bin/new"]
    assert tomli.loads(remove_app(added, NEW)) == tomli.loads(text)


def test_unit_is_written_in_full() -> None:
    app: App = parse_app("unit:a")
    assert add_app("", app) == 'apps = ["unit:a.service"]\n'


def test_an_app_with_a_table_of_its_own() -> None:
    text = '# mine\n[[app]]\npath = "/usr/bin/new"\nchildren = "listed"\n\n[[app]]\npath = "/b"\n'
    with pytest.raises(UsageError, match="already listed"):
        add_app(text, NEW)
    removed = remove_app(text, NEW)
    assert tomli.loads(removed) == {"app": [{"path": "/b"}]}
    assert "# mine" in removed


PLACES = [
    "", "# only a comment\n", "[direct]\ngateway = 'auto'\n\n# last\n", "interface = 'a' # why\n",
    "[traffic] # t\n\n# last\n", "[traffic]\nwhen_vpn_down = 'block' # why\n",
    "traffic = {mode = 'direct', when_vpn_down = 'block'}\n", "traffic.mode = 'direct'\n",
    "traffic.when_vpn_down = 'block'\ntraffic.force_vpn.uids = [1]\n[direct]\n",
    "[traffic.force_direct]\nuids = [3]\n[direct]\ngateway = 'auto'\n[traffic]\nmode = 'direct'\n",
    "[profile.lte]\ninterface = 'a'\n[traffic]\r\nwhen_vpn_down = 'block'\r\n",
]  # fmt: skip


@pytest.mark.parametrize("path", [("interface",), ("traffic", "when_vpn_down")])
@pytest.mark.parametrize("text", PLACES)
def test_a_value_is_set_and_taken_out(text: str, path: tuple[str, ...]) -> None:
    """Wherever it stands or stands not; comments and all else stay."""
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    wanted = tomli.loads(text)
    table = wanted if len(path) == 1 else wanted.setdefault("traffic", {})
    table[path[-1]] = "direct"
    changed = set_value(text, path, "direct")
    assert tomli.loads(changed) == wanted
    assert [line.partition("#")[2] for line in changed.splitlines() if "#" in line] == comments
    del table[path[-1]]
    assert tomli.loads(set_value(changed, path, None)) == wanted


def test_a_value_that_is_not_there_is_taken_out_of_a_text_as_it_is() -> None:
    for text in ("", HEAD + TAIL, "[traffic]\nmode = 'direct' # why"):
        assert set_value(text, ("traffic", "when_vpn_down"), None) == text


@pytest.mark.parametrize("text", ["traffic = 1\n", "traffic = [", "[[traffic]]\n"])
def test_where_no_value_can_be_set(text: str) -> None:
    with pytest.raises(UsageError, match=r"not a table|not valid TOML"):
        set_value(text, ("traffic", "mode"), "direct")
