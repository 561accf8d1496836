"""The folder of plugins beside the Debian package, and statusd-pip, which fills it."""

import os
import subprocess

import pytest

from tests.packaging.debian import example_wheel

pytestmark = [pytest.mark.debian, pytest.mark.timeout(900)]

FOLDER = "/usr/local/lib/statusd/plugins"
PIP = "/usr/sbin/statusd-pip"


@pytest.fixture
def pip(unpacked):
    """Runs statusd-pip without any index."""
    tried = subprocess.run(["/usr/bin/python3", "-m", "pip", "--version"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("installs a plugin: needs Debian's python3-pip")

    def run(command, *arguments, expect=0):
        index = ["--no-index"] if command == "install" else []
        return unpacked.run(PIP, command, *index, *arguments, expect=expect)

    return run


def test_a_plugin_is_found_there_and_stays_when_the_package_is_unpacked_anew(unpacked, pip, deb, tmp_path):
    assert "llamacpp_slots" not in unpacked.plugins()
    pip("install", example_wheel(tmp_path))
    assert "llamacpp_slots  statusd-example  0.1.0    no" in unpacked.plugins()
    pth = next(unpacked.root.glob("opt/statusd/lib/*/site-packages/statusd-plugins.pth"))
    text = pth.read_text()
    subprocess.run(["dpkg-deb", "-x", deb, unpacked.root], check=True)
    pth.write_text(text)
    assert "llamacpp_slots  statusd-example  0.1.0    no" in unpacked.plugins()


def test_what_statusd_brings_along_is_not_installed_again(unpacked, pip, tmp_path):
    said = pip("install", example_wheel(tmp_path))
    assert "Requirement already satisfied: attrs" in said
    assert "Requirement already satisfied: statusd" in said
    names = {path.name.partition("-")[0] for path in unpacked.path(FOLDER).iterdir()}
    assert names == {"statusd_example", "statusd_example.py", "__pycache__", "README"}
    assert "No broken requirements found" in pip("check")


def test_a_library_of_statusds_own_is_neither_changed_nor_taken_away(unpacked, pip):
    said = pip("install", "attrs<25", expect=1)
    assert "attrs" in said
    assert "conflict" in said or "No matching distribution" in said
    pip("uninstall", "--yes", "attrs")
    assert "mock" in unpacked.plugins()


def test_a_later_version_takes_the_place_of_the_one_before(unpacked, pip, tmp_path):
    pip("install", example_wheel(tmp_path))
    pip("install", "--upgrade", example_wheel(tmp_path, "0.2.0"))
    infos = sorted(path.name for path in unpacked.path(FOLDER).glob("*.dist-info"))
    assert infos == ["statusd_example-0.2.0.dist-info"]
    pip("uninstall", "--yes", "statusd-example")
    assert "llamacpp_slots" not in unpacked.plugins()


def test_everybody_can_read_what_is_installed_whatever_the_callers_umask(unpacked, pip, tmp_path):
    wheel = example_wheel(tmp_path)
    before = os.umask(0o077)
    try:
        pip("install", wheel)
    finally:
        os.umask(before)
    found = list(unpacked.path(FOLDER).rglob("*"))
    assert found
    assert [
        path for path in found if path.stat().st_mode & 0o044 != 0o044 or path.stat().st_mode & 0o022
    ] == []


def test_nothing_there_takes_the_place_of_a_library_of_statusds_own(unpacked):
    folder = unpacked.path(FOLDER)
    (folder / "attr").mkdir(parents=True)
    for path in (folder / "attr/__init__.py", folder / "statusd.py", folder / "json.py"):
        path.write_text("raise SystemExit('taken over')")
    info = folder / "statusd-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: statusd\nVersion: 9\n")
    (info / "entry_points.txt").write_text("[statusd]\nmock = json\n")
    listed = unpacked.plugins()
    assert "taken over" not in listed
    assert listed.count("mock") == 1


def test_a_plugin_outlives_another_python(unpacked, pip, tmp_path):
    """What pip put around the folder for an earlier Python is made anew; the plugins are the same."""
    pip("install", example_wheel(tmp_path))
    around = unpacked.path(FOLDER).parent
    [inside] = around.glob("lib/python3.*/site-packages")
    inside.unlink()
    (around / "bin/python3").unlink()
    (around / "bin/python3").symlink_to("/usr/bin/python3.9")
    assert "statusd-example" in pip("list")
    assert inside.resolve() == unpacked.path(FOLDER)
