"""The world around the laptop, as guest/topology/up builds it in network namespaces.

    container --br-lan0-- laptop --wlan0-- isp --up0-- internet (198.51.100.10, .20, .30)
                             |     (lan)    |
                             +----wwan0-----+---up1--- vpn (203.0.113.9, tunnel 10.99.0.0/24)

The laptop is the machine's own namespace. `lan` (192.168.1.77) stands in the network behind wlan0.
The internet's host answers with the address it was reached by, which tells the link that was used.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from booted.machine import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from booted.machine import Machine, Result

Way = Literal["vpn", "wlan0", "wwan0", "none"]

FOLDER = "/usr/local/lib/booted/topology"
INTERNET = {4: "198.51.100.10", 6: "2001:db8:f::10"}
INTERNET_2 = {4: "198.51.100.20", 6: "2001:db8:f::20"}
LAN_HOST = {4: "192.168.1.77", 6: "2001:db8:1::77"}
LINES_PORT = 7000
LISTED_PORT = 7001  # the same, for what is to be told apart in a capture
NETWORKS: dict[str, Way] = {
    "203.0.113.0/24": "vpn",
    "2001:db8:9::/64": "vpn",
    "192.168.1.0/24": "wlan0",
    "2001:db8:1::/64": "wlan0",
    "10.64.0.0/24": "wwan0",
    "2001:db8:2::/64": "wwan0",
}
# laptop's link -> the router's end of it, where to capture what really left
ROUTER_END = {"wlan0": "brhome", "wwan0": "cell0"}
GATEWAYS = {"wlan0": ("192.168.1.1", "2001:db8:1::1"), "wwan0": ("10.64.0.1", "2001:db8:2::1")}
OTHER_GATEWAYS = {
    "wlan0": ("192.168.1.2", "2001:db8:1::2"),
    "wwan0": ("10.64.0.9", "2001:db8:2::9"),
}
METRICS = {"wlan0": 600, "wwan0": 700}


@dataclass(frozen=True)
class Packet:
    """One packet as a capture saw it; ports are 0 where there are none."""

    direction: Literal["in", "out"]
    source: str
    destination: str
    protocol: int
    source_port: int
    destination_port: int


class Capture:
    """Packets on one interface, from the start of the block to its end."""

    def __init__(self, machine: Machine, interface: str, namespace: str | None) -> None:
        """NAMESPACE None is the laptop itself."""
        self._machine = machine
        self._where: dict[str, Any] = {"interface": interface, "namespace": namespace}
        self._number = -1
        self._final: list[list[Any]] | None = None

    def __enter__(self) -> Self:
        """Begin."""
        source = "import capture; result = capture.start(**args)"
        self._number = self._machine.python(source, **self._where)
        return self

    def __exit__(self, *_: object) -> None:
        """End; packets() goes on telling what was seen."""
        source = "import capture; result = capture.stop(args['number'])"
        self._final = self._machine.python(source, number=self._number)

    def packets(self, **wanted: object) -> list[Packet]:
        """What was seen so far; WANTED are values of Packet's fields."""
        rows = self._final
        if rows is None:
            source = "import capture; result = capture.seen(args['number'])"
            rows = self._machine.python(source, number=self._number)
        packets = [Packet(*row) for row in rows]
        return [
            packet
            for packet in packets
            if all(getattr(packet, field) == value for field, value in wanted.items())
        ]


class Topology:
    """Looks at and changes the world around one machine's laptop."""

    def __init__(self, machine: Machine) -> None:
        """Build it, unless it is there."""
        self.machine = machine
        if not machine.python("import os; result = os.path.exists('/run/netns/container')"):
            machine.run([f"{FOLDER}/up"])

    def vpn_up(self) -> None:
        """As the user does: wg-quick with AllowedIPs = 0.0.0.0/0, ::/0."""
        self.machine.run(["systemctl", "start", "wg-quick@wg0"])

    def vpn_down(self) -> None:
        """The same, down."""
        self.machine.run(["systemctl", "stop", "wg-quick@wg0"])

    def capture(self, interface: str, namespace: str | None = None) -> Capture:
        """Capture on an interface; `with topology.capture("cell0", "isp") as seen:`."""
        return Capture(self.machine, interface, namespace)

    def capture_outside(self, link: str) -> Capture:
        """Capture what a link carries, at the router's end of it."""
        return self.capture(ROUTER_END[link], "isp")

    def in_namespace(self, namespace: str, command: list[str], **options: Any) -> Result:
        """Run a command in isp, internet, vpn, lan or container."""
        argv = ["nsenter", f"--net=/run/netns/{namespace}", *command]
        return self.machine.run(argv, **options)

    def counters(self) -> dict[str, int]:
        """Packets sent so far by each of the laptop's links."""
        source = (
            "import os, contextlib\n"
            "result = {}\n"
            "for link in os.listdir('/sys/class/net'):\n"
            "    with contextlib.suppress(OSError):\n"
            "        path = f'/sys/class/net/{link}/statistics/tx_packets'\n"
            "        result[link] = int(open(path).read())\n"
        )
        return dict(self.machine.python(source))

    def spoofed(self) -> dict[str, int]:
        """Packets the provider dropped for a source address that is not their link's."""
        listed = self.in_namespace("isp", ["nft", "-j", "list", "counters", "table", "inet", "isp"])
        items = [
            item["counter"] for item in json.loads(listed.stdout)["nftables"] if "counter" in item
        ]
        return {item["name"]: item["packets"] for item in items}

    def link_down(self, link: str) -> None:
        """Take the laptop's link down: its routes and IPv6 addresses go."""
        self.machine.run(["ip", "link", "set", link, "down"])

    def restore(self) -> None:
        """Bring the laptop's links, addresses, routes and gateways back to the first state."""
        self._batch([f"link set {link} up" for link in GATEWAYS])
        self.machine.run(["ip", "-batch", f"{FOLDER}/laptop.batch"])
        for link, pair in GATEWAYS.items():
            for address in (*pair, *OTHER_GATEWAYS[link]):
                self._gateway_answers(link, address, "replace")

    def change_gateway(self, link: str) -> None:
        """The link's router is another one now; main's default routes follow, the old is dead."""
        tail = f"dev {link} metric {METRICS[link]}"
        others = OTHER_GATEWAYS[link]
        self._batch([f"route replace default via {address} {tail}" for address in others])
        for address in GATEWAYS[link]:
            self._gateway_answers(link, address, "del")

    def _gateway_answers(self, link: str, address: str, verb: str) -> None:
        """Give or take one of the router's addresses."""
        width, nodad = (64, " nodad") if ":" in address else (24, "")
        line = f"address {verb} {address}/{width} dev {ROUTER_END[link]}"
        self._batch([line + (nodad if verb == "replace" else "")], "isp")

    def _batch(self, lines: list[str], namespace: str | None = None) -> None:
        """Many ip commands in one process."""
        where = ["-n", namespace] if namespace else []
        self.machine.run(
            ["ip", *where, "-batch", "-"], stdin="".join(f"{line}\n" for line in lines)
        )


@contextlib.contextmanager
def kept_apart(topology: Topology) -> Iterator[None]:
    """Nothing to port 7001 leaves by the tunnel, nothing to 7000 by wwan0, until the block ends."""
    with topology.capture("wg0") as tunnel, topology.capture_outside("wwan0") as direct:
        yield
    assert not tunnel.packets(destination_port=LISTED_PORT), "what is listed was in the tunnel"
    assert not direct.packets(destination_port=LINES_PORT), "what is not listed left by wwan0"


def way_of(address: str) -> Way:
    """The link whose address this is."""
    for network, way in NETWORKS.items():
        if ipaddress.ip_address(address) in ipaddress.ip_network(network):
            return way
    raise CommandFailed(f"the internet saw an address of nobody: {address}")


def way_in(text: str) -> Way:
    """The link, from what the probe or curl printed."""
    words = text.split()
    return way_of(words[0]) if words and words[0] != "none" else "none"


def seen_from(  # noqa: PLR0913
    machine: Machine,
    argv: list[str] | None = None,
    *,
    family: int = 4,
    protocol: str = "tcp",
    to: str | None = None,
    port: int = LINES_PORT,
    user: str | None = None,
) -> Way:
    """The link a program reaches the internet by.

    ARGV is run with the probe's arguments appended: ["/opt/app"] (a copy of the probe), or
    ["systemd-run", ..., "probe"]. Without it, the probe itself runs.
    """
    command = probe_command(argv or ["probe"], family=family, protocol=protocol, to=to, port=port)
    return _way_told(machine.run(command, check=False, user=user))


def probe_command(
    argv: list[str],
    *,
    family: int = 4,
    protocol: str = "tcp",
    to: str | None = None,
    port: int = LINES_PORT,
) -> list[str]:
    """ARGV with the probe's arguments."""
    datagrams = ["-u"] if protocol == "udp" else []
    return [*argv, *datagrams, to or INTERNET[family], str(port)]


def seen_from_all(machine: Machine, commands: dict[str, list[str]]) -> dict[str, Way]:
    """The links of several programs, a few of which run at the same time."""
    results = machine.run_all(commands.values())
    return {case: _way_told(told) for case, told in zip(commands, results, strict=True)}


def _way_told(result: Result) -> Way:
    if not result.stdout.strip():
        raise CommandFailed(f"neither an address nor a reason: {result}")
    return way_in(result.stdout)


def curl_from(machine: Machine, *, family: int = 4, argv: list[str] | None = None) -> Way:
    """The link curl reaches the internet by, over HTTP."""
    host = INTERNET[family] if family == 4 else f"[{INTERNET[family]}]"
    command = [*(argv or ["curl"]), "-sS", "-m", "5", f"http://{host}/"]
    return way_in(machine.run(command, check=False).stdout)
