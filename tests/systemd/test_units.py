"""What systemd itself says about the units and drop-ins that are shipped: nothing wrong, and little exposed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from statusd.commands import reload

PROJECT = Path(__file__).parents[2]
SYSTEMD = PROJECT / "systemd"
DROP_INS = sorted(path.name for path in (SYSTEMD / "drop-ins").glob("*.conf"))
PROGRAM = "/opt/statusd/bin/statusd"
GUIDE = PROJECT / "docs/operations.md"
MOST = 1.2
"""Exposure of the unit, of 10; what is left is the network, the root directory and the clock device."""

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs the program systemd-analyze"
)


def analyze(*arguments):
    """Return systemd-analyze's exit code and all that it says."""
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout + done.stderr


def version():
    """Return systemd's version, such as 252."""
    return int(re.match(r"systemd (\d+)", analyze("--version")[1])[1])


@pytest.fixture
def units(tmp_path):
    """Copies both units, with drop-ins if any, to a folder; returns the service's path."""

    def copy(*drop_ins):
        for name in ("statusd.service", "statusd.socket"):
            shutil.copy(SYSTEMD / name, tmp_path)
        folder = tmp_path / "statusd.service.d"
        folder.mkdir()
        for name in drop_ins:
            shutil.copy(SYSTEMD / "drop-ins" / name, folder)
        return tmp_path / "statusd.service"

    return copy


def exposure(service):
    """Return the exposure of a unit with the drop-ins beside it."""
    code, said = analyze("security", "--offline=true", "--no-pager", str(service))
    if "unrecognized option" in said:
        pytest.skip("needs systemd 250 for systemd-analyze security --offline")
    assert code == 0, said
    return float(re.search(r"Overall exposure level for statusd\.service: ([\d.]+)", said)[1])


def documented():
    """Return drop-in -> exposure, as the guide for operators has it."""
    rows = re.findall(r"^\| `([\w-]+\.conf)` \|.*\| ([\d.]+) \|$", GUIDE.read_text(), re.MULTILINE)
    return {name: float(value) for name, value in rows}


@pytest.mark.parametrize("drop_in", [None, *DROP_INS])
def test_systemd_finds_nothing_wrong(units, drop_in):
    """Its one complaint can be that the program is not installed, so another one stands in for it."""
    service = units(*[drop_in] if drop_in else [])
    service.write_text(service.read_text().replace(PROGRAM, "/bin/true"))
    assert "/bin/true run" in service.read_text()
    code, said = analyze("verify", str(service), str(service.with_suffix(".socket")))
    if drop_in == "notify-reload.conf" and version() < 253:
        assert [line.partition(": ")[2] for line in said.splitlines()] == [
            "Failed to parse service type, ignoring: notify-reload"
        ] * len(said.splitlines())
        said = ""
    assert (code, said) == (0, "")


def test_the_exposure_of_the_unit_stays_low(units):
    assert exposure(units()) <= MOST


@pytest.mark.parametrize("drop_in", DROP_INS)
def test_the_exposure_with_each_drop_in_is_what_the_guide_says(units, drop_in):
    """As systemd 252 counts; others may see a tenth more or less."""
    tolerance = 0.01 if version() == 252 else 0.11
    assert exposure(units(drop_in)) == pytest.approx(documented()[drop_in], abs=tolerance)


def test_the_guide_lists_each_drop_in_once():
    assert sorted(documented()) == DROP_INS


@pytest.mark.parametrize("drop_in", DROP_INS)
def test_each_drop_in_says_what_it_is_for_before_anything_else(drop_in):
    assert (SYSTEMD / "drop-ins" / drop_in).read_text().startswith("# ")


def test_the_socket_is_where_the_default_configuration_listens():
    [stream] = re.findall(r"^ListenStream=(.*)$", (SYSTEMD / "statusd.socket").read_text(), re.MULTILINE)
    assert f"${{STATUSD_BIND:-{stream}}}" in (PROJECT / "etc/statusd.toml").read_text()


def test_the_socket_gives_up_on_wrong_configurations_and_never_on_faults_that_may_pass():
    """A fault is tried again every `RestartSec`, and each try counts while a client waits: never so many in the time."""
    service, unit = ((SYSTEMD / name).read_text() for name in ("statusd.service", "statusd.socket"))
    [restart] = re.findall(r"^RestartSec=(\d+)s$", service, re.MULTILINE)
    [interval] = re.findall(r"^TriggerLimitIntervalSec=(\d+)s$", unit, re.MULTILINE)
    [burst] = re.findall(r"^TriggerLimitBurst=(\d+)$", unit, re.MULTILINE)
    assert int(burst) * int(restart) >= int(interval)


def test_a_reload_that_nobody_answers_says_so_before_systemd_ends_it():
    [seconds] = re.findall(
        r"^TimeoutStartSec=(\d+)s$", (SYSTEMD / "statusd.service").read_text(), re.MULTILINE
    )
    assert int(seconds) - 3 > reload.TIMEOUT  # the interpreter has to start, too
