"""Fixtures: the Debian package, built once, and what is in it."""

import subprocess
from pathlib import Path

import attrs
import pytest

from tests.packaging.debian import built


@attrs.frozen
class Unpacked:
    """The package without an installation: its files in a folder, as if that were the root."""

    root: Path

    def path(self, absolute):
        """Return where a file of the package is."""
        return self.root / absolute.lstrip("/")

    def run(self, *command, expect=0):
        """Run a program of the package; return what it prints."""
        program, *arguments = command
        done = subprocess.run(
            [self.path(program), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.root), "PIP_CONFIG_FILE": "/dev/null"},
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def plugins(self):
        """Return what `statusd plugins` prints."""
        return self.run("/opt/statusd/bin/python3", "-m", "statusd", "plugins")


@pytest.fixture(scope="session")
def deb(tmp_path_factory):
    """The Debian package."""
    return built(tmp_path_factory.mktemp("debian"))


@pytest.fixture
def unpacked(deb, tmp_path):
    """The package unpacked, with the folder of plugins beside it instead of in the host's /usr/local."""
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
    [pth] = root.glob("opt/statusd/lib/*/site-packages/statusd-plugins.pth")
    pth.write_text(f"{root}{pth.read_text()}")
    return Unpacked(root)
