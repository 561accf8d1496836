"""Builds of the Debian package, for the tests of what is in it and of what becomes of it."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
BUILD = PROJECT / "contrib/debian/build"
EXAMPLE = PROJECT / "contrib/statusd-example"
SYSTEM_PYTHON = Path("/usr/bin/python3")


def missing():
    """Return what keeps a package from being built here, or an empty string."""
    if shutil.which("dpkg-deb") is None:
        return "needs dpkg-deb"
    tried = subprocess.run(
        [SYSTEM_PYTHON, "-c", "import sys, ensurepip; assert sys.version_info >= (3, 11)"],
        capture_output=True,
        check=False,
    )
    return "needs Debian's Python, 3.11 or later, with its venv package" if tried.returncode else ""


def expect_builder():
    """Skip the test where no package can be built."""
    if reason := missing():
        pytest.skip(f"builds a Debian package: {reason}")


def build(folder, *before):
    """Build the package into `folder`, by a command that is given after `before`; return its path."""
    command = [*before, BUILD, "--output", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(done.stdout.strip())


def built(folder):
    """Return the package that $STATUSD_DEB names, else one that is built into `folder`."""
    if named := os.environ.get("STATUSD_DEB"):
        return Path(named)
    expect_builder()
    return build(folder)


def later(package, folder, version):
    """Repack a package as a later version of itself; return its path."""
    tree = folder / "later"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", f"Version: {version}", control.read_text()))
    made = folder / f"statusd_{version}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, made], check=True, capture_output=True
    )
    shutil.rmtree(tree)
    return made


def example_wheel(folder, version="0.1.0"):
    """Make the wheel of the example plugin by hand, without a build backend and so without an index; return its path."""
    info = f"statusd_example-{version}.dist-info"
    requirements = re.search(
        r"^dependencies = (\[.*\])$", (EXAMPLE / "pyproject.toml").read_text(), re.MULTILINE
    )
    wanted = re.findall(r'"([^"]+)"', requirements[1])
    files = {
        "statusd_example.py": (EXAMPLE / "statusd_example.py").read_text(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: statusd-example\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {one}\n" for one in wanted),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[statusd]\nllamacpp_slots = statusd_example\n",
    }
    rows = [f"{name},sha256={_digest(text)},{len(text.encode())}\n" for name, text in files.items()]
    files[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"])
    path = folder / f"statusd_example-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return path


def _digest(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
