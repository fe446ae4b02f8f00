"""Places that are not for the VPN, and what is many, with the real WireGuard."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from booted.laptop import RUNNING
from booted.topology import INTERNET, INTERNET_2, seen_from, seen_from_all

if TYPE_CHECKING:
    from booted.laptop import Byway
    from booted.machine import Machine

pytestmark = pytest.mark.one_release

CONTAINER = ["nsenter", "--net=/run/netns/container", "probe"]
MANY = """
import json
numbers = range(100_000)  # no two of them neighbours: nothing is joined
networks = [f"{40 + n // 32768}.{n // 128 % 256}.{n % 128 * 2}.0/24" for n in numbers]
with open("/run/many.json", "w") as file:
    json.dump([*networks, "198.51.100.20", "2001:db8:f::20"], file)
"""
PUT = (
    "curl -sS -m 180 --unix-socket /run/byway/byway.sock -X PUT -H 'Content-Type: application/json'"
)
# Undoes what byway did, and starts what is listed, again and again until the list is in force.
MEANWHILE = """
import json, subprocess, time
def seconds(holds):
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + 120
        time.sleep(0.01)
    return round(time.monotonic() - began, 3)
def is_in_sync():
    with open("/run/byway/status.json") as file:
        return json.load(file)["in_sync"]
def has_route():
    show = ["ip", "route", "show", "default", "table", "byway", "dev", "wwan0"]
    return subprocess.check_output(show)
def is_placed():
    with open(f"/proc/{listed.pid}/cgroup") as file:
        return "/byway.slice/" in file.read()
took = {"repaired": [], "placed": []}
put = subprocess.Popen(args["put"], shell=True, stdout=subprocess.PIPE, text=True)
took["begun"] = seconds(lambda: not is_in_sync() or put.poll() is not None)
while put.poll() is None:
    subprocess.check_call(["ip", "route", "del", "default", "table", "byway", "dev", "wwan0"])
    repaired = seconds(has_route)
    listed = subprocess.Popen(["/opt/app/listed", "-w", "60", "198.51.100.10", "7000"])
    placed = seconds(is_placed)
    listed.kill()
    listed.wait()
    if put.poll() is None:
        took["repaired"].append(repaired)
        took["placed"].append(placed)
result = took, put.stdout.read()
"""
OF_USERS = "$['traffic']['overrides']['force_direct']['uids']"
BYPASSED = "$['traffic']['overrides']['force_direct']['destinations']"


def test_the_list_of_destinations(machine: Machine, running: Byway) -> None:
    """`byway bypass` counts at once, for everybody and forwarded, and over a restart."""
    others = {
        f"{name} {family}": [*argv, INTERNET_2[family], "7000"]
        for family in (4, 6)
        for name, argv in (("root", ["probe"]), ("bob", ["runuser", "-u", "bob", "--", "probe"]))
    } | {"container": [*CONTAINER, INTERNET_2[4], "7000"]}
    assert set(seen_from_all(machine, others).values()) == {"vpn"}
    running.run("bypass add 198.51.100.20,2001:db8:f::20")
    running.settle(BYPASSED + " == 2")
    assert set(seen_from_all(machine, others).values()) == {"wwan0"}
    assert seen_from(machine) == "vpn"
    machine.run(["systemctl", "restart", "byway"])
    assert set(seen_from_all(machine, others).values()) == {"wwan0"}
    running.run("bypass clear")
    running.settle(BYPASSED + " == 0")
    assert set(seen_from_all(machine, others).values()) == {"vpn"}


def test_100_000_places(machine: Machine, running: Byway) -> None:
    """Taken up in one go, on a machine of 1 GiB; the daemon is neither killed nor out of step."""
    machine.python(MANY)
    before = machine.run("systemctl show byway -P MainPID").stdout
    for places, way in (("@/run/many.json", "wwan0"), ("[]", "vpn")):
        told = machine.run(f"{PUT} -d {places} http://localhost/bypass", timeout=200).stdout
        assert '"in_sync": true' in told, told
        running.settle(f"$['traffic']['bypass_routes'] == {100_002 if way == 'wwan0' else 0}")
        listed = {
            f"IPv{family}": ["probe", address, "7000"] for family, address in INTERNET_2.items()
        }
        assert set(seen_from_all(machine, listed).values()) == {way}
        assert seen_from(machine) == "vpn"
        machine.wait_until("__import__('os').system('systemctl is-active -q byway') == 0")
    assert machine.run("systemctl show byway -P MainPID").stdout == before


def test_nothing_waits_for_100_000_places(
    machine: Machine, running: Byway, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is undone is put back, and what starts is placed, while the kernel takes them."""
    running.configure(f'{RUNNING}[placement]\ngate = "off"\n')
    running.settle("$['placement']['exec_gate'].startswith('off')")
    machine.python(MANY)
    put = f"{PUT} -d @/run/many.json http://localhost/bypass"
    took, told = machine.python(MEANWHILE, put=put, timeout=200)
    assert '"in_sync": true' in told, told
    with capsys.disabled():
        sys.stdout.write(f"\n  100,000 places: seconds until {took}\n")
    assert took["repaired"], "none was, before the request was answered"
    assert took["placed"]
    assert '"in_sync": true' in machine.run(f"{PUT} -d [] http://localhost/bypass").stdout
    running.configure(RUNNING)
    running.settle()


def test_5_000_users(machine: Machine, running: Byway) -> None:
    """Past what the bands hold they are a set."""
    uids = ", ".join(f'"{uid}"' for uid in range(20_000, 30_000, 2))
    running.configure(f"{RUNNING}[traffic.force_direct]\nuids = [{uids}]\n")
    running.settle(f"{OF_USERS} == 5000")
    commands = {
        f"{uid}, IPv{family}": ["setpriv", f"--reuid={uid}", "probe", address, "7001"]
        for uid in (20_000, 29_998, 29_999)
        for family, address in INTERNET.items()
    }
    wanted = {name: "vpn" if name.startswith("29999") else "wwan0" for name in commands}
    assert seen_from_all(machine, commands) == wanted
    running.configure(RUNNING)
    running.settle(f"{OF_USERS} == 0")
    assert set(seen_from_all(machine, commands).values()) == {"vpn"}
