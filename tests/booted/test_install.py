"""script/install puts a whole byway on the machine, and takes all of it away again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from booted.image import CHECKOUT
from booted.machine import Machine
from booted.session import end_machines

if TYPE_CHECKING:
    from collections.abc import Iterator

# As a person would look for leftovers: names, units, the group.
LEFT = (
    "find / -xdev -iname '*byway*' -not -path '/run/systemd/generator*' -print;"
    "systemctl list-unit-files --no-legend 'byway*';"
    "systemctl list-units --all --no-legend 'byway*';"
    "getent group byway; ip rule | grep -i byway; nft list tables | grep -i byway; true"
)


@pytest.fixture
def own_machine(release: str, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine to spoil; the session's is ended first, two at once are too slow."""
    end_machines(request.config)
    with Machine(release) as machine:
        yield machine


def test_everything_is_compiled(machine: Machine) -> None:
    """No file is compiled at the first start."""
    missing = machine.python(
        "import pathlib, importlib.util\n"
        "files = pathlib.Path('/usr/lib/byway/lib').rglob('byway_systemd/**/*.py')\n"
        "result = [str(f) for f in files"
        " if not pathlib.Path(importlib.util.cache_from_source(f)).exists()]\n"
    )
    assert missing == []
    count = "find /usr/lib/byway -name '*.pyc' | wc -l"
    before = machine.run(count).stdout
    assert "byway " in str(machine.run(["byway", "--version"]))
    assert machine.run(count).stdout == before


def test_nothing_needed_only_to_build_is_left(machine: Machine) -> None:
    """No compiler, no headers."""
    listed = machine.run("dpkg-query -W -f '${Package}\n'").stdout.split()
    assert not {"gcc", "libc6-dev", "libsystemd-dev", "pkg-config", "python3-dev"} & set(listed)


def test_the_settings_page_is_where_cockpit_looks(machine: Machine) -> None:
    """The whole page by the link, as everybody may read it; Cockpit is there on one release."""
    asked = ["runuser", "-u", "bob", "--", "ls", "/usr/share/cockpit/byway/"]
    files = {path.name for path in (CHECKOUT / "byway_systemd/ui/page").iterdir()}
    assert set(machine.run(asked).stdout.split()) == files
    if machine.release == "13":
        listed = machine.run(["runuser", "-u", "bob", "--", "cockpit-bridge", "--packages"])
        assert "byway" in {line.split()[0] for line in listed.stdout.splitlines() if line}


def test_removal_leaves_the_configuration_alone(own_machine: Machine) -> None:
    """What is removed while it runs is stopped; /etc/byway stays until --purge."""
    for name in ("install", "lib.sh"):
        own_machine.put(f"/opt/script/{name}", (CHECKOUT / "script" / name).read_text(), 0o755)
    own_machine.put("/etc/byway/byway.toml", 'interface = "wwan0"\napps = ["/usr/bin/curl"]\n')
    own_machine.run(["systemctl", "enable", "--now", "byway.service", "byway-reconcile.timer"])
    removed = own_machine.run(["/opt/script/install", "--remove"])
    assert "kept /etc/byway" in removed.stderr
    assert own_machine.run(LEFT).stdout == "/etc/byway\n/etc/byway/byway.toml\n"
    again = own_machine.run(["/opt/script/install", "--remove", "--purge"], check=False)
    assert again.rc == 0, again
    assert own_machine.run(LEFT).stdout == ""
