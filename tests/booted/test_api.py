"""The API on its real socket: who may do what, by curl, and what it then does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from booted.laptop import LISTED, RUNNING
from booted.topology import LISTED_PORT, seen_from

if TYPE_CHECKING:
    from booted.laptop import Byway
    from booted.machine import Machine
    from booted.topology import Topology

pytestmark = pytest.mark.one_release

SOCKET = "/run/byway/byway.sock"
REAL = "/opt/app/real"


def ask(
    machine: Machine, path: str, *options: str, user: str | None = None
) -> tuple[int, Any, str]:
    """A request by curl; its status, what it answers (JSON if it is), and its ETag."""
    command = [
        *("curl", "-sS", "-m", "10", "--unix-socket", SOCKET),
        *("-w", "\\n%{http_code} %header{etag}", *options, f"http://localhost{path}"),
    ]
    become = ["runuser", "-u", user, "--"] if user else []  # with all of the user's groups
    shown = machine.run([*become, *command]).stdout
    body, _, last = shown.rpartition("\n")
    status, _, etag = last.partition(" ")
    try:
        return int(status), json.loads(body), etag
    except ValueError:
        return int(status), body, etag


def test_everybody_reads_and_few_write(machine: Machine, running: Byway) -> None:
    """Root and the group byway may; the journal says who did."""
    add = ("-X", "POST", "-H", "Content-Type: application/json", "-d", json.dumps({"app": REAL}))
    status, state, _ = ask(machine, "/state", user="alice")
    assert (status, state["state"]) == (200, "active")
    status, shown, _ = ask(machine, "/api/v1/status", user="alice")
    assert status == 200
    assert shown["in_sync"]
    status, problem, _ = ask(machine, "/api/v1/apps", *add, user="alice")
    assert status == 403, problem
    assert REAL not in machine.get("/etc/byway/byway.toml")
    machine.run("gpasswd -a bob byway")
    try:
        status, told, _ = ask(machine, "/api/v1/apps", *add, user="bob")
        assert status in (200, 201), told
    finally:
        machine.run("gpasswd -d bob byway")
    running.settle("len($['apps']) == 2")
    assert seen_from(machine, [REAL], port=LISTED_PORT) == "wwan0"
    log = machine.run(["journalctl", "-b", "-u", "byway", "-o", "json", "-n", "200"]).stdout
    assert '"BYWAY_PEER_UID":"1001"' in log.replace(" ", ""), log[-3000:]
    status, told, _ = ask(machine, f"/api/v1/apps?app={REAL}", "-X", "DELETE")
    assert status == 200, told
    running.settle("len($['apps']) == 1")
    assert seen_from(machine, [REAL]) == "vpn"


POLKIT_RULE = """
polkit.addRule(function(action, subject) {
    if (action.id == "io.byway.manage" && subject.user == "alice") return polkit.Result.YES;
});
"""


def test_polkit_decides_about_others(machine: Machine, running: Byway) -> None:
    """By an administrator's rule; without one it wants a password, which nobody gives here."""
    change = ("-X", "POST", "-H", "Content-Type: application/json", "-d", '"198.51.100.20"')
    rule = "/etc/polkit-1/rules.d/40-byway-test.rules"
    machine.put(rule, POLKIT_RULE)
    machine.run(["systemctl", "restart", "polkit"])
    assert ask(machine, "/bypass", *change, user="bob")[0] == 403
    status, told, _ = ask(machine, "/bypass", *change, user="alice")
    assert status == 200, told
    assert ask(machine, "/bypass")[1] == ["198.51.100.20/32"]
    machine.run(["rm", rule])
    machine.run(["systemctl", "restart", "polkit"])
    assert ask(machine, "/bypass", "-X", "DELETE", user="alice")[0] == 403
    machine.run(["systemctl", "stop", "polkit"])
    assert ask(machine, "/bypass", "-X", "DELETE")[0] == 200
    running.settle("$['traffic']['overrides']['force_direct']['destinations'] == 0")


HOLDER = """
import socket, time
held = socket.create_connection(("198.51.100.10", %d), timeout=5)
held.send(b"x" * 999 + b"\\n")
time.sleep(120)
"""


def test_what_a_page_shows(machine: Machine, running: Byway) -> None:
    """Hardened as its unit has it, the daemon counts connections and finds what is there."""
    holder = "/opt/app/holder"
    machine.run(f"cp -n $(readlink -f /usr/bin/python3) {holder}")
    machine.put("/opt/app/holder.py", HOLDER % LISTED_PORT)
    entry = "[Desktop Entry]\nType=Application\nName=Holder\nIcon=/opt/app/holder.svg\n"
    machine.put("/usr/share/applications/holder.desktop", entry)
    machine.put("/opt/app/holder.svg", "<svg/>")
    running.run(f"add {holder}")
    running.settle("len($['apps']) == 2")
    machine.run(["systemd-run", "-q", "--unit=holder", holder, "/opt/app/holder.py"])
    try:
        machine.wait_until(
            "any(link['link'] == 'wwan0' and link['sent'] == 1000 and link['received'] > 0"
            " for app in __import__('json').loads(__import__('subprocess').check_output("
            "['curl', '-sS', '--unix-socket', args['socket'], 'http://localhost/api/v1/counters'],"
            " text=True))['apps'] if app['app'] == args['holder'] for link in app['links'])",
            socket=SOCKET,
            holder=holder,
        )
        _, shown, _ = ask(machine, "/api/v1/counters", user="alice")
        roles = {link["link"]: link["role"] for link in shown["links"]}
        assert (roles["wwan0"], roles["wg0"], roles["wlan0"]) == ("direct", "vpn", "other")
        _, shown, _ = ask(machine, "/api/v1/programs", user="alice")
        (found,) = (one for one in shown["programs"] if one["program"] == holder)
        assert found["users"] == ["root"]
        (found,) = (one for one in shown["desktop"] if one["id"] == "holder")
        icon = ask(machine, f"/api/v1/icons/{found['icon'].replace('/', '%2F')}", user="alice")
        assert icon[:2] == (200, "<svg/>")
        assert ask(machine, "/api/v1/explain?unit=holder", user="alice")[0] == 200
        assert ask(machine, "/api/v1/explain?unit=nothing-such", user="alice")[0] == 404
        _, shown, _ = ask(machine, "/api/v1/settings", user="alice")
        assert {"link": "wg0", "kind": "tunnel", "state": "up"} in shown["interfaces"]
    finally:
        machine.run("systemctl stop holder; rm /usr/share/applications/holder.desktop")
        running.run(f"remove {holder}")
        running.settle("len($['apps']) == 1")


def test_the_command_line_uses_it(machine: Machine, running: Byway) -> None:
    """`byway add` and `byway plan`, the second one for everybody."""
    running.run(f"add {REAL}")
    running.settle("len($['apps']) == 2")
    assert seen_from(machine, [REAL], port=LISTED_PORT) == "wwan0"
    assert machine.run(["byway", "plan"], user="alice").stdout.strip()
    running.run(f"remove {REAL}")
    running.settle("len($['apps']) == 1")


def test_a_change_that_is_not_confirmed_is_taken_back(machine: Machine, running: Byway) -> None:
    """On the server: who asked for it may have lost the line meanwhile."""
    text = RUNNING.replace("]", f', "{REAL}"]')
    machine.put("/run/new.toml", text)
    put = ("-T", "/run/new.toml")
    _, _, etag = ask(machine, "/api/v1/config")
    status, told, _ = ask(machine, "/api/v1/config?dry_run=1", *put, "-H", f"If-Match: {etag}")
    assert status == 200, told
    assert machine.get("/etc/byway/byway.toml") == RUNNING
    status, told, _ = ask(machine, "/api/v1/config?confirm=3", *put, "-H", f"If-Match: {etag}")
    assert status == 200, told
    assert machine.get("/etc/byway/byway.toml") == text
    machine.wait_until(f"open('/etc/byway/byway.toml').read() == {RUNNING!r}", timeout=20)
    running.settle("len($['apps']) == 1")
    status, told, _ = ask(machine, "/api/v1/config", *put, "-H", 'If-Match: "other"')
    assert status == 412, told


def test_the_socket_goes_with_the_service(
    machine: Machine, topology: Topology, byway: Byway
) -> None:
    """It is there as soon as the service is, and not after it was stopped."""
    assert topology
    byway.configure(f'interface = "wwan0"\napps = ["{LISTED}"]\n')
    byway.start()
    assert ask(machine, "/state")[0] == 200
    events = machine.spawn(
        ["curl", "-sSN", "--unix-socket", SOCKET, "http://localhost/events"], user="alice"
    )
    events.wait_for("event: state")
    byway.stop()
    machine.wait_until("not __import__('os').path.exists('/run/byway/byway.sock')", timeout=10)
    events.wait(10)
    assert machine.run("systemctl --failed --no-legend").stdout == ""
