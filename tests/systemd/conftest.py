"""Fixtures: the machine with the real systemd, and what a test puts into it for as long as it runs."""

import os

import pytest

from tests.systemd.installed import Installed
from tests.systemd.machine import booted, kernel_settings, missing


@pytest.fixture(scope="module")
def settings_before():
    """The host's kernel settings before anything booted."""
    return kernel_settings()


@pytest.fixture
def settings_now():
    """Asks for them again."""
    return kernel_settings


@pytest.fixture(scope="module")
def machine(settings_before):
    """A booted machine, with the unit installed and not started."""
    if reason := missing():
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(f"the systemd acceptance test must run here, and {reason}")
        pytest.skip(f"boots a real systemd: {reason}")
    with booted() as machine:
        yield machine


@pytest.fixture
def installed(machine):
    """Puts configurations, drop-ins, units, secrets into the machine, starts units; all of it is gone afterwards."""
    made = Installed(machine)
    yield made
    made.remove()
