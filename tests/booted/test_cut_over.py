"""An app that already runs when it is listed: its open sockets follow, and back again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.machine import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.laptop import Byway
    from booted.machine import Machine
    from booted.topology import Topology

pytestmark = pytest.mark.one_release

# Connects by TCP and sends a line every 50 ms, connecting again when the connection ends; sends
# datagrams from one connected and one unconnected socket. Notes which link each answer came by.
CLIENT = """
import select, socket, time
links = {"10.64.0.2": "wwan0", "192.168.1.10": "wlan0", "203.0.113.9": "vpn"}
links |= {"2001:db8:2::2": "wwan0", "2001:db8:1::10": "wlan0", "2001:db8:9::9": "vpn"}
def connect():
    return socket.create_connection(("198.51.100.10", 7001), timeout=1)
def say(kind, what):
    print(kind, f"{time.monotonic():.3f}", what, flush=True)
def note(kind, text):
    words = text.split()
    say(kind, links.get(words[0].decode(), "?") if words else "end")
connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
connected.connect(("198.51.100.10", 7002))
free = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for each in (connected, free):
    each.settimeout(0.3)
stream, near = connect(), socket.create_connection(("192.168.1.77", 7300), timeout=1)
stream.recv(100)
near.recv(100)
while True:
    try:
        stream.send(b"x\\n")
        note("tcp", stream.recv(100))
    except OSError as error:
        say("tcp", type(error).__name__)
        stream.close()
        try:
            stream = connect()
            stream.recv(100)
        except OSError as error:
            say("again", type(error).__name__)
    for kind, send in (
        ("connected", lambda: connected.send(b"?")),
        ("free", lambda: free.sendto(b"?", ("198.51.100.10", 7003))),
    ):
        try:
            send()
            note(kind, (connected if kind == "connected" else free).recv(100))
        except OSError as error:
            say(kind, type(error).__name__)
    try:
        near.send(b"x\\n")
    except OSError as error:
        say("near", type(error).__name__)
    time.sleep(0.05)
"""
LISTED = 'interface = "wwan0"\napps = ["/opt/app/client"]\n'
NOT_LISTED = 'interface = "wwan0"\n'
KEEP = '[placement]\non_move = "keep"\n'
KINDS = ("tcp", "connected", "free")


class Client:
    """The client in a service or a scope of its own, or beside others, and what it said."""

    def __init__(self, machine: Machine) -> None:
        """Prepare what it executes."""
        self.machine = machine
        machine.put("/opt/app/client.py", CLIENT)

    def start(self, *, alone: bool) -> None:
        """Start it; ``alone`` in its cgroup, or not."""
        machine = self.machine
        machine.run("cp -n $(readlink -f /usr/bin/python3) /opt/app/client; : >/run/client.out")
        companion = "" if alone else "(sleep 600 &) ; "
        command = f"{companion}exec /opt/app/client -u /opt/app/client.py >/run/client.out 2>&1"
        shell = ["/bin/sh", "-c", command]
        machine.run(["systemd-run", "-q", "--unit=client", *shell])
        self.settle(dict.fromkeys(KINDS, "vpn"))

    def said(self) -> dict[str, str]:
        """The last word of each kind of socket."""
        lines = self.machine.get("/run/client.out").splitlines()
        return {line.split()[0]: line.split()[-1] for line in lines if line}

    def settle(self, ways: dict[str, str], timeout: float = 30) -> None:
        """Wait until every kind of socket goes as wanted."""
        try:
            self.machine.wait_until(
                "{line.split()[0]: line.split()[-1] for line in open('/run/client.out')"
                ".read().splitlines()[-4:]}.items() >= args['ways'].items()",
                timeout=timeout,
                ways=ways,
            )
        except CommandFailed as error:
            said = self.machine.run("tail -n 12 /run/client.out").stdout
            raise CommandFailed(f"{error}; it said: {said}") from None

    def times_to_connect_again(self) -> list[float]:
        """For each reset connection the seconds until the next one was answered."""
        lines = [line.split() for line in self.machine.get("/run/client.out").splitlines()]
        tcp = [(float(words[1]), words[2]) for words in lines if words[0] == "tcp"]
        ends = [moment for moment, what in tcp if what == "ConnectionResetError"]
        return [min(t for t, what in tcp if t > end and "Error" not in what) - end for end in ends]

    def cgroup(self) -> str:
        """Where it runs."""
        shown = self.machine.run("cat /proc/$(pidof -s client)/cgroup")
        return shown.stdout.strip().removeprefix("0::")

    def stop(self) -> None:
        """End it."""
        self.machine.run("systemctl stop client; pkill -x client; true")


@pytest.fixture
def near_server(machine: Machine, topology: Topology) -> Iterator[None]:
    """A host in the LAN that greets and then only listens."""
    server = (
        "import socket; s = socket.create_server(('', 7300)); kept = []\n"
        "while True: c, _ = s.accept(); c.send(b'hello\\n'); kept.append(c)"
    )
    process = machine.spawn(["nsenter", "--net=/run/netns/lan", "python3", "-c", server])
    machine.wait_until("__import__('socket').socket().connect_ex(('192.168.1.77', 7300)) == 0")
    yield
    process.stop()
    assert topology


@pytest.mark.usefixtures("near_server")
@pytest.mark.parametrize("alone", [True, False], ids=["adopted", "moved"])
def test_open_sockets_follow(
    machine: Machine, topology: Topology, running: Byway, *, alone: bool
) -> None:
    """TCP is reset and connects again, UDP follows, what is near stays; and the way back."""
    running.configure(NOT_LISTED)
    running.settle("not $['apps']")
    client = Client(machine)
    client.start(alone=alone)
    home = client.cgroup()
    running.configure(LISTED)
    client.settle(dict.fromkeys(KINDS, "wwan0"))
    with topology.capture("wg0") as tunnel:
        machine.run("sleep 1")
    assert not [p for p in tunnel.packets() if p.destination_port in (7001, 7002, 7003)]
    assert (client.cgroup() == home) is alone
    assert ("adopted" if alone else "moved") in running.run("status").stdout
    running.configure(NOT_LISTED)
    client.settle(dict.fromkeys(KINDS, "vpn"))
    assert client.cgroup() == home
    assert "near" not in machine.get("/run/client.out")
    resets = client.times_to_connect_again()
    assert len(resets) == 2
    assert max(resets) < 1.0
    client.stop()


@pytest.mark.usefixtures("near_server")
def test_keep_lets_connections_finish(machine: Machine, running: Byway) -> None:
    """`on_move = "keep"`: the open connection stays in the tunnel, the next one is direct."""
    running.configure(NOT_LISTED + KEEP)
    running.settle("not $['apps']")
    client = Client(machine)
    client.start(alone=True)
    running.configure(LISTED + KEEP)
    client.settle({"tcp": "vpn", "free": "wwan0"})
    machine.run("sleep 1")
    assert client.said()["tcp"] == "vpn"
    machine.run(["ss", "-K", "dport", "=", "7001"])
    client.settle({"tcp": "wwan0"})
    client.stop()


@pytest.mark.usefixtures("near_server")
def test_service_listed_and_no_longer_listed_while_it_runs(
    machine: Machine, running: Byway
) -> None:
    """`unit:` follows at once, in both directions; it changes its slice at its next start."""
    running.configure(NOT_LISTED)
    running.settle("not $['apps']")
    machine.put(
        "/etc/systemd/system/worker.service",
        "[Service]\nExecStart=/bin/sh -c 'exec python3 -u /opt/app/client.py >/run/client.out'\n",
    )
    client = Client(machine)
    machine.run(": >/run/client.out; systemctl daemon-reload; systemctl start worker")
    client.settle(dict.fromkeys(KINDS, "vpn"))
    listed = NOT_LISTED + 'apps = ["unit:worker.service"]\n'
    running.configure(listed)
    client.settle(dict.fromkeys(KINDS, "wwan0"))
    assert (
        "/system.slice/worker.service"
        in machine.run(["systemctl", "show", "-P", "ControlGroup", "worker"]).stdout
    )
    assert "adopted where it is" in running.run("status").stdout
    machine.run(["systemctl", "restart", "worker"])
    client.settle(dict.fromkeys(KINDS, "wwan0"))
    group = machine.run(["systemctl", "show", "-P", "ControlGroup", "worker"]).stdout.strip()
    assert group == "/byway.slice/worker.service"
    running.configure(NOT_LISTED)
    client.settle(dict.fromkeys(KINDS, "vpn"))
    assert "systemctl restart worker.service" in running.run("status", check=False).stdout
    machine.run(["systemctl", "restart", "worker"])
    group = machine.run(["systemctl", "show", "-P", "ControlGroup", "worker"]).stdout.strip()
    assert group == "/system.slice/worker.service"
    client.settle(dict.fromkeys(KINDS, "vpn"))
    machine.run("systemctl stop worker; rm /etc/systemd/system/worker.service")
