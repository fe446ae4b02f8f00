"""openapi.json says what the routes do: compared, tried with every example, and fuzzed."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from byway_systemd import api
from byway_systemd.api.limits import MOST_BODY, SMALL_BODY
from byway_systemd.api.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from served import Served

TEXT = (Path(api.__file__).with_name("openapi.json")).read_text()
DESCRIPTION: dict[str, Any] = json.loads(TEXT)
PARAMETERS = DESCRIPTION["components"]["parameters"]
# Endless: its own tests read it.
PATHS = [path for path in DESCRIPTION["paths"] if path != "/events"]
# What is right by its schema may still be wrong, here: an ETag of another day, a program that is
# not absolute, two things to explain at once. Each has such a request, which a test sends: query,
# headers, body. Everywhere else what the description allows has to be accepted.
_OLD = {"If-Match": '"old"'}
VALID_AND_REFUSED: dict[tuple[str, str], tuple[str, dict[str, str], Any]] = {
    ("POST", "/bypass"): ("", _OLD, "203.0.113.7"),
    ("PUT", "/bypass"): ("", {}, ["a..b"]),
    ("DELETE", "/bypass"): ("", _OLD, None),
    ("DELETE", "/bypass/{prefix}"): ("", _OLD, None),
    ("PATCH", "/api/v1/settings"): ("", _OLD, {"interface": "wwan0"}),
    ("PUT", "/api/v1/traffic/mode"): ("", _OLD, {"mode": "direct"}),
    ("PUT", "/api/v1/traffic/overrides"): ("", {}, {"force_vpn": {"subnets": ["nowhere"]}}),
    ("PATCH", "/api/v1/traffic/overrides"): ("", _OLD, {"force_vpn": None}),
    ("POST", "/api/v1/traffic/routes/clear"): ("", _OLD, None),
    ("POST", "/api/v1/traffic/routes/restore"): ("", _OLD, None),
    ("POST", "/api/v1/apps"): ("", {}, "firefox"),
    ("DELETE", "/api/v1/apps"): ("?app=firefox", {}, None),
    ("PUT", "/api/v1/config"): ("", {}, {"text": "apps = ["}),
    ("GET", "/api/v1/explain"): ("", {}, None),
}


class _Connection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


class _Pool(HTTPConnectionPool):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def _new_conn(self) -> _Connection:
        return _Connection(self._path)


class _Adapter(requests.adapters.HTTPAdapter):
    """requests over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._pool = _Pool(path)

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> _Pool:
        return self._pool

    def close(self) -> None:
        self._pool.close()


@pytest.fixture
def session(served: Served) -> Iterator[requests.Session]:
    with requests.Session() as one:
        one.mount("http://", _Adapter(str(served.socket)))
        yield one


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DESCRIPTION["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def parameters(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for parameter in operation.get("parameters", []):
        name = parameter.get("$ref", "").rpartition("/")[2]
        yield PARAMETERS[name] if name else parameter


def test_every_route_is_described_and_no_other() -> None:
    assert {(route.method, route.path) for route in ROUTES} == {
        (method, path) for method, path, _ in operations()
    }


def test_every_parameter_is_described_and_no_other() -> None:
    described = {
        (method, path): {p["name"] for p in parameters(operation) if p["in"] == "query"}
        for method, path, operation in operations()
    }
    terms_only = {"dry_run", "confirm"}
    for route in ROUTES:
        assert set(route.parameters) == described[route.method, route.path], route.path
        assert route.writes == (route.method != "GET")
        body = DESCRIPTION["paths"][route.path][route.method.lower()].get("requestBody")
        assert not body or route.most_body, route.path
        assert route.writes or not route.most_body, route.path
        assert route.most_body in (0, MOST_BODY if route.path == "/bypass" else SMALL_BODY)
        assert not terms_only & set(route.parameters) or route.writes


def test_every_reference_is_there() -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for part in value.values():
                yield from references(part)
        elif isinstance(value, list):
            for part in value:
                yield from references(part)

    used = set(references(DESCRIPTION))
    there = {
        f"#/components/{kind}/{name}"
        for kind, named in DESCRIPTION["components"].items()
        for name in named
    }
    assert used == there


def test_it_is_served(shared: Served) -> None:
    assert shared.get("/openapi.json") == DESCRIPTION


def test_every_example_works(served: Served) -> None:
    for method, path, operation in operations():
        for content in _contents(operation).items():
            for example in _examples(content[1]):
                body = example if isinstance(example, str) and "toml" in content[0] else None
                sent = body.encode() if body is not None else json.dumps(example).encode()
                answer = served.ask(method, path, sent, {"Content-Type": content[0]})
                assert answer.status == 200, (path, example, answer.body)


def _contents(operation: dict[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {})
    if "$ref" in body:
        body = DESCRIPTION["components"]["requestBodies"][body["$ref"].rpartition("/")[2]]
    found: dict[str, Any] = body.get("content", {})
    return found


def _examples(content: dict[str, Any]) -> list[Any]:
    examples = [example["value"] for example in content.get("examples", {}).values()]
    return [*examples, *([content["example"]] if "example" in content else [])]


@schemathesis.serializer("application/toml")
def _send_toml(_context: Any, value: Any) -> Any:
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


def fuzz(session: requests.Session, description: dict[str, Any], method: str, path: str) -> None:
    """Ask as the description has it, and as it has it not; raise when an answer is another."""
    load_all_checks()
    names = set(CHECKS.get_all_names())
    assert {"positive_data_acceptance", "ignored_auth"} < names
    if (method, path) in VALID_AND_REFUSED:
        names.remove("positive_data_acceptance")
    checks = [CHECKS.get_one(name) for name in sorted(names)]
    operation = schemathesis.openapi.from_dict(description)[path][method]
    modes = [schemathesis.GenerationMode.POSITIVE]
    if operation.query or operation.headers or operation.body:
        modes.append(schemathesis.GenerationMode.NEGATIVE)
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(cases)
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url="http://localhost", session=session, checks=checks)

    ask()


@pytest.mark.parametrize(
    ("method", "path"), [(method, path) for method, path, _ in operations() if path in PATHS]
)
def test_schemathesis_finds_nothing(
    served: Served, session: requests.Session, method: str, path: str
) -> None:
    fuzz(session, DESCRIPTION, method, path)
    assert served.get("/state")


@pytest.mark.parametrize(("method", "path"), VALID_AND_REFUSED)
def test_what_is_valid_may_be_refused(served: Served, method: str, path: str) -> None:
    """Why positive_data_acceptance does not apply: the schema cannot say what is wrong here."""
    query, headers, body = VALID_AND_REFUSED[method, path]
    operation = DESCRIPTION["paths"][path][method.lower()]
    if body is not None:
        schema = _contents(operation)["application/json"]["schema"]
        jsonschema_rs.validate({**schema, "components": DESCRIPTION["components"]}, body)
    assert {*headers} <= {parameter["name"] for parameter in parameters(operation)}
    target = path.replace("{prefix}", "203.0.113.7") + query
    assert served.ask(method, target, body, headers).status in (400, 412)


def test_nobody_is_told_by_what_he_sends() -> None:
    """ignored_auth finds nothing to send in vain: the kernel says who asks (SO_PEERCRED).

    That it counts is shown by test_who_may_write, and on a booted machine.
    """
    assert "securitySchemes" not in DESCRIPTION["components"]
    assert not any("security" in operation for _, _, operation in operations())


@pytest.mark.parametrize(
    ("path", "right", "wrong"),
    [
        ("/state", '"activating", "active", ', '"activating", '),
        ("/api/v1/plan", '["in_sync", "plan", "failures"]', '["in_sync", "plans"]'),
        ("/api/v1/explain", '"default": {"$ref": "#/components/responses/Problem"}', '"404": {}'),
    ],
)
def test_schemathesis_would_find_something(
    session: requests.Session, path: str, right: str, wrong: str
) -> None:
    assert right in TEXT
    description = json.loads(TEXT.replace(right, wrong.replace("{}", '{"description": "x"}')))
    with pytest.raises(BaseException, match=r"Undocumented|schema"):
        fuzz(session, description, "GET", path)
