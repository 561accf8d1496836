"""Acceptance: what the sandbox hides from probes under the real systemd, and the drop-ins that open it."""

import pytest

pytestmark = pytest.mark.systemd

SOURCE = '[sources.local]\nplugin = "local"\ninterval = 0.5\n'
PYTHON = "/opt/statusd/bin/python3"
JIT = "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)"
OTHERS = "import os, sys; sys.exit(not os.path.exists('/proc/1/comm'))"
DEVICES = "import os, sys; sys.exit(not os.path.exists('/dev/fuse'))"


def command(code):
    """Return the configuration of a source that runs Python code."""
    return f'{SOURCE}command = ["{PYTHON}", "-c", "{code}"]\n'


@pytest.fixture
def seen(installed):
    """Returns the status that a source comes to in the service, with a drop-in or without."""

    def seen(config, drop_in=None):
        installed.configure(config)
        if drop_in:
            installed.drop_in(drop_in)
        service = installed.start()
        own = service.wait(
            lambda: (
                found
                if (found := service.get("/state/sources/local")["node"])["status"] != "unknown"
                or found["reason"] != "pending"
                else None
            )
        )
        return own["status"]

    return seen


@pytest.fixture
def hidden(machine):
    """Files where the service should not see them."""
    paths = ("/home/model/weights", "/tmp/app/weights", "/var/tmp/weights")
    for path in paths:
        machine.write(path, "here")
    yield paths
    machine.run("rm", "-rf", "/home/model", "/tmp/app", "/var/tmp/weights")


@pytest.mark.parametrize(("index", "drop_in"), [(0, "home.conf"), (1, "tmp.conf"), (2, "tmp.conf")])
def test_files_in_homes_and_in_tmp_are_hidden_until_a_drop_in_shows_them(
    seen, installed, hidden, index, drop_in
):
    config = f'{SOURCE}files = ["{hidden[index]}"]\n'
    assert seen(config) != "ok"
    installed.machine.run("systemctl", "stop", "statusd.service")
    assert seen(config, drop_in) == "ok"


@pytest.mark.parametrize(
    ("code", "drop_in"), [(JIT, "jit.conf"), (OTHERS, "processes.conf"), (DEVICES, "devices.conf")]
)
def test_what_commands_may_not_do_a_drop_in_lets_them(seen, installed, code, drop_in):
    if code is DEVICES:
        installed.machine.run("mknod", "-m", "666", "/dev/fuse", "c", "10", "229")
    try:
        assert seen(command(code)) == "down"
        installed.machine.run("systemctl", "stop", "statusd.service")
        assert seen(command(code), drop_in) == "ok"
    finally:
        installed.machine.run("rm", "-f", "/dev/fuse")


def test_a_shown_tmp_cannot_be_written(installed, seen):
    config = command("open('/tmp/written', 'w')")
    assert seen(config, "tmp.conf") == "down"


def test_a_port_below_1024_wants_the_drop_in(installed):
    installed.configure('[http]\nbind = ["127.0.0.1:80"]\n')
    installed.machine.run("systemctl", "start", "statusd.service", expect=1)
    assert any("ports below 1024 are privileged" in entry["MESSAGE"] for entry in installed.machine.entries())
    installed.machine.run("systemctl", "stop", "statusd.service")
    installed.drop_in("privileged-port.conf")
    assert installed.start().status_code("http://127.0.0.1/health") == "200"


def test_a_credential_is_readable_by_the_service_alone(installed):
    installed.secret("/etc/statusd/secrets/statusd-token", "f00dfacef00dface\n")
    installed.drop_in("credentials.conf")
    installed.configure('[http]\ntoken = { credential = "statusd-token" }\n')
    service = installed.start()
    url = "http://127.0.0.1:8000/state"
    assert service.status_code(url) == "401"
    assert service.status_code("-H", "Authorization: Bearer f00dfacef00dface", url) == "200"
    pid = service.show("MainPID")[0]
    folder = f"/proc/{pid}/root/run/credentials/statusd.service"
    service.run("cat", f"{folder}/statusd-token")
    service.run("setpriv", "--reuid=nobody", "--clear-groups", "cat", f"{folder}/statusd-token", expect=1)


def test_with_ip_addresses_denied_the_loopback_still_answers(installed):
    installed.drop_in("ip-addresses.conf")
    assert installed.start().status_code("http://127.0.0.1:8000/health") == "200"
