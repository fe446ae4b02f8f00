"""VPN clients besides wg-quick that take the default route, each set up as its manual has it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from booted.topology import INTERNET

if TYPE_CHECKING:
    from booted.machine import Machine

BYSTANDER = "from all to 192.0.2.0/24 lookup main"


def manage_only(link: str) -> str:
    """NetworkManager's settings: it has nothing to do with other links, nor with resolv.conf."""
    return f"[main]\ndns=none\n\n[keyfile]\nunmanaged-devices=*,except:interface-name:{link}\n"


@dataclass(frozen=True)
class Rival:
    """A VPN client; what it does is told in shell lines.

    ``files`` are (path, owner, text), with wg-quick's keys in the place of @PRIVATE@ and @PUBLIC@.
    ``purges`` says that a restart removes the rules of others.
    """

    tunnel: str
    up: str
    restart: str
    down: str
    files: dict[str, str] = field(default_factory=dict)
    group: str = "root"
    families: tuple[int, ...] = (4, 6)
    purges: bool = False

    def start(self, machine: Machine) -> None:
        """Write its files and bring it up."""
        keys = machine.get("/etc/wireguard/wg0.conf")
        for path, text in self.files.items():
            for name in ("Private", "Public"):
                (key,) = re.findall(rf"^{name}Key = (.*)$", keys, re.MULTILINE)
                text = text.replace(f"@{name.upper()}@", key)  # noqa: PLW2901
            machine.put(path, text, 0o640 if self.group != "root" else 0o600)
            machine.run(["chgrp", self.group, path])
        machine.run(self.up)
        self.wait(machine)

    def start_again(self, machine: Machine) -> None:
        """Restart it."""
        machine.run(self.restart)
        self.wait(machine)

    def stop(self, machine: Machine) -> None:
        """Bring it down, and take away all it left; nothing happens where there is nothing."""
        files = " ".join(self.files)
        machine.run(f"{self.down}; ip link del {self.tunnel}; rm -f {files}", check=False)

    def wait(self, machine: Machine) -> None:
        """Wait until it has the default route."""
        for family in self.families:
            machine.wait_until(
                "args['tunnel'] in __import__('subprocess').run("
                "['ip', 'route', 'get', args['to']], capture_output=True, text=True).stdout",
                tunnel=f"dev {self.tunnel} ",
                to=INTERNET[family],
                timeout=30,
            )


# systemd.netdev(5) and the wireguard examples of systemd.network(5), with priorities far in front.
NETWORKD = Rival(
    tunnel="wg0",
    up="systemctl start systemd-networkd",
    restart="systemctl restart systemd-networkd",
    down=(
        "systemctl stop systemd-networkd.socket systemd-networkd.service;"
        "for f in -4 -6; do for p in 9 10; do ip $f rule del pref $p; done; done"
    ),
    group="systemd-network",
    purges=True,
    files={
        "/run/systemd/network/50-rival.netdev": """\
[NetDev]
Name=wg0
Kind=wireguard

[WireGuard]
PrivateKey=@PRIVATE@
FirewallMark=0x8888
RouteTable=1000

[WireGuardPeer]
PublicKey=@PUBLIC@
Endpoint=203.0.113.9:51820
AllowedIPs=0.0.0.0/0,::/0
""",
        "/run/systemd/network/50-rival.network": """\
[Match]
Name=wg0

[Network]
Address=10.99.0.2/24
Address=fd99::2/64

[RoutingPolicyRule]
Priority=9
Family=both
Table=main
SuppressPrefixLength=0

[RoutingPolicyRule]
Priority=10
Family=both
FirewallMark=0x8888
InvertRule=yes
Table=1000
""",
    },
)

_SERVER = """\
dev tun0
proto udp
port 1194
ifconfig 10.98.0.1 10.98.0.2
secret /etc/openvpn/rival.key
cipher AES-256-CBC
auth SHA256
"""
OPENVPN = Rival(
    tunnel="tun0",
    up=(
        "test -e /etc/openvpn/rival.key || openvpn --genkey secret /etc/openvpn/rival.key;"
        "systemd-run -q --collect --unit=booted-openvpn -p NetworkNamespacePath=/run/netns/vpn"
        " openvpn --config /etc/openvpn/rival-server.conf;"
        "systemctl start openvpn-client@rival"
    ),
    restart="systemctl restart openvpn-client@rival",
    down="systemctl stop openvpn-client@rival booted-openvpn",
    families=(4,),
    files={
        "/etc/openvpn/rival-server.conf": _SERVER,
        "/etc/openvpn/client/rival.conf": """\
dev tun0
proto udp
remote 203.0.113.9 1194
ifconfig 10.98.0.2 10.98.0.1
secret /etc/openvpn/rival.key
cipher AES-256-CBC
auth SHA256
redirect-gateway def1
""",
    },
)

NETWORK_MANAGER = Rival(
    tunnel="wg0",
    up="systemctl start NetworkManager",
    restart="nmcli connection down rival; nmcli connection up rival",
    down="nmcli connection down rival; systemctl stop NetworkManager",
    files={
        "/run/NetworkManager/conf.d/rival.conf": manage_only("wg0"),
        "/etc/NetworkManager/system-connections/rival.nmconnection": """\
[connection]
id=rival
type=wireguard
interface-name=wg0
autoconnect=true

[wireguard]
private-key=@PRIVATE@

[wireguard-peer.@PUBLIC@]
endpoint=203.0.113.9:51820
allowed-ips=0.0.0.0/0;::/0;

[ipv4]
method=manual
address1=10.99.0.2/24

[ipv6]
method=manual
address1=fd99::2/64
""",
    },
)

RIVALS = {"networkd": NETWORKD, "openvpn": OPENVPN, "NetworkManager": NETWORK_MANAGER}
