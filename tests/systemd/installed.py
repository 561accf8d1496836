"""What a test puts into the machine, and takes out again."""

from pathlib import Path

import attrs

PROJECT = Path(__file__).parents[2]
CONFIG = "/etc/statusd/statusd.toml"
UNITS = "/etc/systemd/system"
SERVICE = "statusd.service"
SOCKET = "statusd.socket"


@attrs.define(eq=False)
class Installed:
    """Installs for one test; `remove` stops the units and takes everything out.

    Attributes:
        machine: the machine.
    """

    machine: object
    _paths: list = attrs.field(factory=list, init=False)
    _units: dict = attrs.field(factory=dict, init=False)  # the shipped ones, as they were

    def write(self, path, text):
        """Put a file in that all may read."""
        self.machine.write(path, text)
        self._paths.append(path)

    def secret(self, path, text, group="root", mode="600"):
        """Put a file in that few may read, in a directory that nobody else may enter."""
        self.write(path, text)
        folder = str(Path(path).parent)
        self.machine.run("chgrp", group, path, folder)
        self.machine.run("chmod", mode, path)
        self.machine.run("chmod", "750", folder)

    def configure(self, toml):
        """Put the configuration in."""
        self.write(CONFIG, toml)

    def drop_in(self, text, name="test.conf", unit=SERVICE):
        """Add a drop-in to a unit; `text` may be the name of one that is shipped, such as ``home.conf``."""
        if "\n" not in text:
            name, text = text, (PROJECT / "systemd/drop-ins" / text).read_text()
        self.write(f"{UNITS}/{unit}.d/{name}", text)
        self.machine.run("systemctl", "daemon-reload")

    def unit(self, text, name):
        """Add a unit, or put another one in a shipped one's place."""
        self._units.setdefault(name, (PROJECT / "systemd" / name).exists())
        self.machine.write(f"{UNITS}/{name}", text)
        self.machine.run("systemctl", "daemon-reload")

    def start(self, unit=SERVICE):
        """Start a unit and return the machine."""
        self._units.setdefault(unit, (PROJECT / "systemd" / unit).exists())
        self.machine.run("systemctl", "start", unit, expect=None)
        assert self.machine.show("ActiveState", unit=unit) == ("active",), self.machine.journal()
        return self.machine

    def remove(self):
        """Stop the units, sockets first since they would start a service again, and take everything out."""
        units = {**self._units, SERVICE: True}
        for unit in sorted(units, key=lambda name: not name.endswith(".socket")):
            self.machine.run("systemctl", "stop", unit, expect=None)
            self.machine.run("systemctl", "reset-failed", unit, expect=None)
        self.machine.run("rm", "-rf", *self._paths, "/etc/statusd/secrets")
        for unit, is_shipped in self._units.items():
            if is_shipped:
                self.machine.write(f"{UNITS}/{unit}", (PROJECT / "systemd" / unit).read_text())
            else:
                self.machine.run("rm", "-f", f"{UNITS}/{unit}")
        self.machine.run("systemctl", "daemon-reload")
