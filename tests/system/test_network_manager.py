"""Asking NetworkManager for a link's DNS servers, over a bus that stands in for the system's."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from worlds import WLAN, WWAN

from byway_systemd.core.config import Profile
from byway_systemd.system.link_dns import observe_link_dns
from byway_systemd.system.network_manager import list_servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Has wwan0 with servers of both families; "odd" says what byway does not understand.
MANAGER = """
import sys
from jeepney import HeaderFields, MessageType, new_error, new_method_return, message_bus
from jeepney.io.blocking import open_dbus_connection
name, how = "org.freedesktop.NetworkManager", sys.argv[1]
connection = open_dbus_connection("SYSTEM")
connection.send_and_get_reply(message_bus.RequestName(name))
print("ready", flush=True)
values = {
    ("/1", "Device.Ip4Config"): ("o", "/4" if how != "none" else "/"),
    ("/1", "Device.Ip6Config"): ("o", "/6" if how != "none" else "/"),
    ("/4", "IP4Config.NameserverData"):
        ("aa{sv}", [{"address": ("s", a)} for a in ("10.0.0.1", "10.0.0.2")]),
    ("/6", "IP6Config.Nameservers"): ("aay", [bytes.fromhex("20010db8" + "0" * 23 + "1")]),
}
if how == "odd":
    values["/4", "IP4Config.NameserverData"] = ("s", "10.0.0.1")
while True:
    call = connection.receive()
    if call.header.message_type is not MessageType.method_call or how == "hang":
        continue
    path, member = (call.header.fields[HeaderFields[k]] for k in ("path", "member"))
    if member == "GetDeviceByIpIface" and call.body == ("wwan0",):
        reply = new_method_return(call, "o", ("/1",))
    elif member == "Get":
        interface, key = call.body
        reply = new_method_return(call, "v", (values[path, f"{interface[len(name) + 1:]}.{key}"],))
    else:
        reply = new_error(call, f"{name}.UnknownDevice", "s", ("no device",))
    connection.send(reply)
"""


@contextmanager
def manager(how: str) -> Iterator[None]:
    command = [sys.executable, "-c", MANAGER, how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield
        process.terminate()


@pytest.mark.usefixtures("bus")
def test_of_a_link() -> None:
    with manager("ok"):
        assert list_servers("wwan0") == ("10.0.0.1", "10.0.0.2", "2001:db8::1")
        assert list_servers("wlan0") == ()


@pytest.mark.usefixtures("bus")
@pytest.mark.parametrize("how", ["none", "odd", "hang"])
def test_one_that_does_not_say(how: str) -> None:
    with manager(how):
        begin = time.monotonic()
        assert list_servers("wwan0", patience=0.2) == ()
        assert time.monotonic() - begin < 5


@pytest.mark.usefixtures("bus")
def test_without_one() -> None:
    assert list_servers("wwan0") == ()


def test_without_a_bus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    assert list_servers("wwan0") == ()


@pytest.mark.usefixtures("bus")
def test_asked_only_where_nothing_is_written_down(tmp_path: Path) -> None:
    """Systemd's own files come first; without NetworkManager there is no asking."""
    profiles = (Profile(dns=("direct",)),)
    with manager("ok"):
        assert list(observe_link_dns(tmp_path, profiles, (WLAN, WWAN))) == []
        (tmp_path / "run/NetworkManager").mkdir(parents=True)
        asked = list(observe_link_dns(tmp_path, profiles, (WLAN, WWAN)))
        written = tmp_path / f"run/systemd/resolve/netif/{WWAN.index}"
        written.parent.mkdir(parents=True)
        written.write_text("SERVERS=192.0.2.1\n")
        read = list(observe_link_dns(tmp_path, profiles, (WLAN, WWAN)))
    servers = ("10.0.0.1", "10.0.0.2", "2001:db8::1")
    assert asked == [(WWAN.index, address) for address in servers]
    assert read == [(WWAN.index, "192.0.2.1")]
