"""Acceptance: dpkg installs, upgrades, removes and purges the package under the real systemd, in a throwaway machine."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.packaging.debian import PROJECT, example_wheel, later
from tests.systemd.machine import TARGET, boot, cgroup2, halt, missing, remove_cgroups

pytestmark = [pytest.mark.debian, pytest.mark.systemd, pytest.mark.timeout(900)]

CONFIG = "/etc/statusd/statusd.toml"
PLUGINS = "/usr/local/lib/statusd/plugins"
STATE = "/var/lib/private/statusd"
FIRST, SECOND = "/var/packages/first.deb", "/var/packages/second.deb"
WHEEL = "/var/packages/statusd_example-0.1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def packages(deb, tmp_path_factory):
    """A folder with the package, a later version of it, and a plugin's wheel."""
    folder = tmp_path_factory.mktemp("packages")
    shutil.copy(deb, folder / "first.deb")
    later(deb, folder, "9.0-1").rename(folder / "second.deb")
    example_wheel(folder)
    return folder


@pytest.fixture
def machine(packages):
    """A booted machine that has never had statusd, with the packages in /var/packages."""
    if reason := missing():
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(f"the acceptance test of the package must run here, and {reason}")
        pytest.skip(f"boots a real systemd: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="statusd-package-"))
    work, parts = folder / "work", folder / "parts"
    work.mkdir()
    units = parts / "tree/etc/systemd/system"
    units.mkdir(parents=True)
    (units / "statusd-test.target").write_text(TARGET)
    (parts / "tree/etc/tmpfiles.d").mkdir()
    (parts / "tree/etc/tmpfiles.d/tmp.conf").touch()  # what lies in the host's /tmp need not be cleared away
    shutil.copytree(packages, parts / "tree/var/packages")
    (parts / "binds").touch()
    cgroup = cgroup2() / f"statusd-package-{os.getpid()}"
    cgroup.mkdir()
    try:
        process, machine = boot(work, parts, folder / "log", cgroup)
        try:
            machine.wait(lambda: state(machine) in {"running", "degraded"})
            machine.run("rm", "-f", "/usr/sbin/policy-rc.d")  # the host may forbid services to start
            # Else man-db looks through all of the host's pages whenever dpkg has run, for as long as dpkg itself.
            machine.run("rm", "-f", "/var/lib/man-db/auto-update")
            yield machine
        finally:
            halt(process)
    finally:
        remove_cgroups(cgroup)
        shutil.rmtree(folder)


@pytest.fixture
def installed(machine):
    """The machine with the package installed for the first time."""
    machine.run("dpkg", "-i", FIRST)
    assert machine.show("ActiveState") == ("active",), machine.journal()
    return machine


def state(machine):
    return machine.run("systemctl", "is-system-running", expect=None).strip()


def is_enabled(machine, unit):
    return machine.run("systemctl", "is-enabled", unit, expect=None).strip()


def is_there(machine, path):
    return machine.run("sh", "-c", '[ -e "$1" ] || [ -L "$1" ]; echo $?', "sh", path).strip() == "0"


def test_the_service_runs_from_the_installation_on(installed):
    assert installed.show("Type", "SubState", "NRestarts", "FragmentPath") == (
        "notify",
        "running",
        "0",
        "/lib/systemd/system/statusd.service",
    )
    assert installed.get("/health") == {"status": "ok"}
    assert is_enabled(installed, "statusd.service") == "enabled"
    assert (
        is_enabled(installed, "statusd.socket"),
        installed.show("ActiveState", unit="statusd.socket"),
    ) == (
        "disabled",
        ("inactive",),
    )
    [pid] = installed.show("MainPID")
    command = installed.run("cat", f"/proc/{pid}/cmdline").split("\0")
    assert command[:3] == ["/opt/statusd/bin/python3", "/opt/statusd/bin/statusd", "run"]
    assert installed.run("dpkg", "--verify", "statusd") == ""
    assert re.match(r"statusd \d", installed.run("statusd", "--version"))
    assert installed.run("stat", "-c", "%a %U", PLUGINS) == "755 root\n"


def test_the_socket_is_put_into_use_by_the_commands_of_the_guide(installed):
    guide = (PROJECT / "docs/operations.md").read_text()
    [commands] = re.findall(r"```sh\n([^`]*systemctl enable statusd\.socket[^`]*)```", guide)
    for command in commands.strip().splitlines():
        installed.run(*command.removeprefix("sudo ").split())
    assert installed.show("ActiveState", unit="statusd.socket") == ("active",)
    assert installed.show("ActiveState") == ("active",), installed.journal()
    assert installed.get("/health") == {"status": "ok"}


def test_an_upgrade_keeps_configuration_and_plugins_and_restarts_the_service(installed):
    text = '[plugins]\nenabled = ["llamacpp_slots"]\n[sources.own]\nplugin = "mock"\n'
    installed.write(CONFIG, text)
    installed.run("statusd-pip", "install", "--no-index", WHEEL)
    installed.run("systemctl", "restart", "statusd")
    before = installed.show("MainPID")
    installed.run("dpkg", "-i", SECOND)
    assert (
        installed.run("dpkg-query", "-W", "-f", "${Version} ${Status}", "statusd")
        == "9.0-1 install ok installed"
    )
    assert installed.run("cat", CONFIG) == text
    assert installed.show("ActiveState") == ("active",), installed.journal()
    assert installed.show("MainPID") != before
    plugins = installed.get("/state/plugins")["node"]["children"]
    assert plugins["llamacpp_slots"]["status"] == "ok"
    assert "own" in installed.get("/state/sources")["node"]["children"]
    assert re.search(r"llamacpp_slots +statusd-example +0\.1\.0 +yes", installed.run("statusd", "plugins"))


def test_an_upgrade_keeps_what_an_administrator_has_stopped_disabled_or_enabled(installed):
    installed.run("systemctl", "disable", "--now", "statusd.service")
    installed.run("systemctl", "enable", "statusd.socket")
    installed.run("dpkg", "-i", SECOND)
    assert installed.show("ActiveState") == ("inactive",)
    assert is_enabled(installed, "statusd.service") == "disabled"
    assert is_enabled(installed, "statusd.socket") == "enabled"


def test_an_upgrade_starts_anew_what_has_failed(installed):
    installed.write(CONFIG, "[sources.x]\n")
    installed.run("systemctl", "restart", "statusd", expect=None)
    installed.wait(lambda: installed.show("ActiveState", "ExecMainStatus") == ("failed", "78"))
    installed.write(CONFIG, '[sources.x]\nplugin = "mock"\n')
    installed.run("dpkg", "-i", SECOND)
    assert installed.show("ActiveState") == ("active",), installed.journal()


def test_a_configuration_that_cannot_be_used_does_not_stop_the_upgrade(installed):
    installed.write(CONFIG, "[sources.x]\n")
    installed.run("dpkg", "-i", SECOND)
    assert installed.show("ActiveState", "ExecMainStatus") == ("failed", "78")
    assert installed.run("dpkg-query", "-W", "-f", "${Status}", "statusd") == "install ok installed"


def test_removal_stops_the_service_and_keeps_configuration_state_and_plugins(installed):
    installed.run("statusd-pip", "install", "--no-index", WHEEL)
    installed.run("sh", "-c", f"echo kept >{STATE}/mine")
    installed.run("systemctl", "enable", "--now", "statusd.socket", expect=None)
    installed.run("dpkg", "-r", "statusd")
    assert installed.run("curl", "-s", "http://127.0.0.1:8000/health", expect=None) == ""
    assert installed.show("ActiveState", "LoadState")[0] == "inactive"
    assert [
        is_there(installed, path) for path in ("/opt/statusd", "/usr/bin/statusd", "/usr/sbin/statusd-pip")
    ] == [
        False,
        False,
        False,
    ]
    assert [
        is_there(installed, path) for path in (CONFIG, f"{STATE}/mine", f"{PLUGINS}/statusd_example.py")
    ] == [
        True,
        True,
        True,
    ]
    installed.run("dpkg", "-i", FIRST)
    assert installed.show("ActiveState") == ("active",), installed.journal()
    assert is_enabled(installed, "statusd.socket") == "enabled"
    assert installed.show("ActiveState", unit="statusd.socket") == ("active",)
    assert installed.get("/health") == {"status": "ok"}
    assert "llamacpp_slots" in installed.run("statusd", "plugins")


def test_a_purge_leaves_nothing_but_what_others_have_put_there(installed):
    installed.run("systemctl", "enable", "statusd.socket")
    installed.run("dpkg", "-P", "statusd")
    gone = (
        "/opt/statusd",
        "/etc/statusd",
        STATE,
        "/var/lib/statusd",
        "/usr/local/lib/statusd",
        "/usr/bin/statusd",
    )
    assert [path for path in gone if is_there(installed, path)] == []
    left = installed.run(
        "find", "/etc/systemd", "/var/lib/systemd/deb-systemd-helper-enabled", "-name", "statusd.*"
    )
    assert left == ""


def test_a_purge_leaves_installed_plugins_and_secrets(installed):
    installed.run("statusd-pip", "install", "--no-index", WHEEL)
    installed.write("/etc/statusd/secrets/key", "secret")
    installed.run("dpkg", "-P", "statusd")
    kept = (f"{PLUGINS}/statusd_example.py", "/etc/statusd/secrets/key")
    assert [path for path in kept if not is_there(installed, path)] == []
    assert not is_there(installed, CONFIG)
