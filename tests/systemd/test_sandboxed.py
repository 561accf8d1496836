"""Acceptance: what the unit hides from each requirement of `local` is `sandboxed`, and seen with the drop-in it names."""

import json

import pytest

pytestmark = pytest.mark.systemd

SOURCE = '[sources.local]\nplugin = "local"\ninterval = 0.5\n'
SOCKETS = """\
import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
listener.listen()
while True:
    client = listener.accept()[0]
    client.recv(4096)
    client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
    client.close()
"""


@pytest.fixture
def look(installed):
    """Returns what the service says about parts of the source, as (status, reason), with a drop-in or without."""

    def look(config, drop_in=None, source="local"):
        installed.machine.run("systemctl", "stop", "statusd.service", expect=None)
        installed.configure(config)
        if drop_in:
            installed.drop_in(drop_in)
        service = installed.start()
        return service.wait(lambda: parts(service, source))

    return look


def parts(service, source):
    """Return path -> (status, reason) of a source and all below it, once it has been probed."""
    top = service.get(f"/state/sources/{source}")["node"]
    if top["reason"] == "pending":
        return None
    found = {}

    def walk(node, path):
        found[path] = (node["status"], node["reason"], node.get("message", ""))
        for name, child in node.get("children", {}).items():
            walk(child, f"{path}/{name}" if path else name)

    walk(top, "")
    return found


def words(found, path=""):
    return found[path][:2]


SANDBOXED = ("unknown", "sandboxed")
OK = ("ok", "ok")


@pytest.fixture
def place(installed):
    """Puts a file where the service does not see it, and takes its folder out afterwards."""
    folders = []

    def place(path, text="here", mode="755"):
        installed.machine.write(path, text)
        installed.machine.run("chmod", mode, path)
        folders.append(path)
        return path

    yield place
    installed.machine.run("rm", "-rf", *folders, "/home/model", "/tmp/app")


@pytest.mark.parametrize(
    ("path", "drop_in", "directive"),
    [
        ("/home/model/weights", "home.conf", "ProtectHome=read-only"),
        ("/run/user/weights", "home.conf", "ProtectHome=read-only"),
        ("/tmp/app/weights", "tmp.conf", "BindReadOnlyPaths=/tmp"),
        ("/var/tmp/weights", "tmp.conf", "BindReadOnlyPaths=/var/tmp"),
        ("/dev/weights", "devices.conf", "PrivateDevices=no"),
    ],
)
def test_a_file(look, place, path, drop_in, directive):
    part = f"files/{path.replace('/', '%2F')}"
    config = f'{SOURCE}files = ["{place(path)}", "/dev/null", "/etc/passwd", "/etc/nowhere"]\n'
    found = look(config)
    assert words(found, part) == SANDBOXED
    assert directive in found[part][2]
    seen = look(config, drop_in)
    assert words(seen, part) == OK
    for each in (found, seen):
        assert words(each, "files/%2Fdev%2Fnull") == OK
        assert words(each, "files/%2Fetc%2Fpasswd") == OK
        assert words(each, "files/%2Fetc%2Fnowhere") == ("down", "missing")


def test_what_is_hidden_cannot_be_told_from_what_is_not_there(look, place):
    place("/home/model/weights")
    config = f'{SOURCE}files = ["/home/model/nowhere", "/home", "/tmp/nowhere", "/tmp"]\n'
    found = look(config)
    assert {words(found, path) for path in found if path.startswith("files/")} == {SANDBOXED}
    seen = look(config, "home.conf")
    assert words(seen, "files/%2Fhome%2Fmodel%2Fnowhere") == ("down", "missing")
    assert words(seen, "files/%2Fhome") == OK


def test_what_the_user_may_not_enter_is_denied_and_not_sandboxed(look, place, installed):
    place("/home/model/weights")
    place("/etc/private/weights")
    installed.machine.run("chmod", "700", "/home/model", "/etc/private")
    config = f'{SOURCE}files = ["/home/model/weights", "/etc/private/weights"]\n'
    found = look(config)
    assert words(found, "files/%2Fhome%2Fmodel%2Fweights") == SANDBOXED
    assert words(found, "files/%2Fetc%2Fprivate%2Fweights") == ("unknown", "permission_denied")
    seen = look(config, "home.conf")
    assert words(seen, "files/%2Fhome%2Fmodel%2Fweights") == ("unknown", "permission_denied")
    installed.machine.run("rm", "-rf", "/etc/private")


@pytest.mark.parametrize(
    ("directive", "named"),
    [
        ("InaccessiblePaths=/etc/hidden", "InaccessiblePaths="),
        ("TemporaryFileSystem=/etc/hidden", "TemporaryFileSystem="),
        ("ProtectHome=tmpfs", "ProtectHome="),
    ],
)
def test_what_an_operators_own_drop_in_hides(look, place, installed, directive, named):
    place("/etc/hidden/weights")
    place("/home/model/weights")
    config = f'{SOURCE}files = ["/etc/hidden/weights", "/home/model/weights"]\n'
    found = look(config, f"[Service]\n{directive}\n")
    path = "files/%2Fhome%2Fmodel%2Fweights" if named == "ProtectHome=" else "files/%2Fetc%2Fhidden%2Fweights"
    assert words(found, path) == SANDBOXED
    assert f"hidden by {named}" in found[path][2]
    installed.machine.run("rm", "-rf", "/etc/hidden")


def test_files_in_proc(look):
    config = f'{SOURCE}files = ["/proc/version", "/proc/1/comm", "/proc/self/status"]\n'
    found = look(config)
    assert words(found, "files/%2Fproc%2Fversion") == SANDBOXED
    assert words(found, "files/%2Fproc%2F1%2Fcomm") == SANDBOXED
    assert "ProcSubset=all" in found["files/%2Fproc%2Fversion"][2]
    assert "ProtectProc=default" in found["files/%2Fproc%2F1%2Fcomm"][2]
    seen = look(config, "processes.conf")
    # Files of the kernel have no size; what counts is that they are found.
    assert "is empty" in seen["files/%2Fproc%2Fversion"][2]
    assert "is empty" in seen["files/%2Fproc%2F1%2Fcomm"][2]


def test_a_pid_file(look, place):
    config = f'{SOURCE}pid_file = "{place("/tmp/app/pid", "1")}"\n'
    found = look(config)
    assert words(found, "pid") == SANDBOXED
    assert "BindReadOnlyPaths=/tmp" in found["pid"][2]
    assert words(look(config, "tmp.conf"), "pid") == OK


def test_a_process_that_proc_hides_is_found_all_the_same(look, installed):
    """ProtectProc= and PrivateUsers= hide what it does, not that it is there."""
    installed.write("/run/alive.pid", "1\n")
    config = f'{SOURCE}pid_file = "/run/alive.pid"\n'
    assert words(look(config), "pid") == OK
    installed.write("/run/alive.pid", "4194303\n")
    assert words(look(config), "pid") == ("down", "not_found")


@pytest.mark.parametrize("kind", ["program", "interpreter", "link", "argument"])
def test_a_command(look, place, installed, kind):
    place("/home/model/tool", "#!/bin/sh\nexit 0\n")
    command = {
        "program": ["/home/model/tool"],
        "interpreter": ["/usr/local/bin/script"],
        "link": ["/usr/local/bin/link"],
        "argument": ["/usr/bin/test", "-e", "/home/model/tool"],
    }[kind]
    place("/usr/local/bin/script", "#!/home/model/tool\n")
    place("/home/model/sh", "")
    installed.machine.run("cp", "/bin/sh", "/home/model/sh")
    if kind == "interpreter":
        installed.machine.write("/usr/local/bin/script", "#!/home/model/sh\nexit 0\n")
        installed.machine.run("chmod", "755", "/usr/local/bin/script")
    installed.machine.run("ln", "-sf", "/home/model/tool", "/usr/local/bin/link")
    config = f"{SOURCE}command = {json.dumps(command)}\n"
    found = look(config)
    assert words(found, "command") == SANDBOXED
    assert "ProtectHome=read-only" in found["command"][2]
    assert words(look(config, "home.conf"), "command") == OK
    installed.machine.run("rm", "-f", "/usr/local/bin/link")


def test_a_command_that_fails_for_reasons_of_its_own_is_down(look):
    found = look(f'{SOURCE}command = ["/bin/false"]\n')
    assert words(found, "command") == ("down", "failed")
    found = look(f'{SOURCE}command = ["/usr/bin/no-such-program"]\n')
    assert words(found, "command") == ("down", "not_found")


def test_a_command_that_wants_a_device(look, place, installed):
    place("/usr/local/bin/nvidia-smi", "#!/bin/sh\n[ -e /dev/nvidiactl ] || exit 9\n")
    place("/dev/nvidiactl")
    config = f'{SOURCE}command = ["nvidia-smi", "-L"]\n'
    found = look(config)
    assert words(found, "command") == SANDBOXED
    assert "PrivateDevices=no" in found["command"][2]
    assert "exit code 9" in found["command"][2]
    assert words(look(config, "devices.conf"), "command") == OK


@pytest.fixture
def runtime(installed, place):
    """Interpreters and modules, some of which are in a home directory."""
    base = json.loads(
        installed.machine.run(
            "/usr/bin/python3", "-c", "import sys, json; print(json.dumps(sys.version_info[:2]))"
        )
    )
    site = f"/opt/runtime/lib/python{base[0]}.{base[1]}/site-packages"
    installed.machine.run("/usr/bin/python3", "-m", "venv", "--without-pip", "/opt/runtime")
    place(f"{site}/editable.pth", "/home/model/src\n")
    place("/home/model/src/inhome.py", "")
    place("/home/model/linked/__init__.py", "")
    installed.machine.run("ln", "-sfn", "/home/model/linked", f"{site}/linked")
    place(f"{site}/plain.py", "")
    yield "/opt/runtime/bin/python"
    installed.machine.run("rm", "-rf", "/opt/runtime")


def test_modules(look, runtime):
    config = f'{SOURCE}python = "{runtime}"\nmodules = ["inhome", "plain", "json"]\n'
    found = look(config)
    assert words(found, "modules/inhome") == SANDBOXED
    assert "ProtectHome=read-only" in found["modules/inhome"][2]
    assert words(found, "modules/plain") == OK
    assert words(found, "modules/json") == OK
    seen = look(config.replace('"plain"', '"plain", "nowhere"'), "home.conf")
    assert words(seen, "modules/inhome") == OK
    assert words(seen, "modules/nowhere") == ("down", "missing")


def test_a_module_behind_a_link(look, runtime, installed):
    installed.machine.run("sh", "-c", "rm /opt/runtime/lib/*/site-packages/editable.pth")
    config = f'{SOURCE}python = "{runtime}"\nmodules = ["linked", "nowhere"]\n'
    found = look(config)
    assert words(found, "modules/linked") == SANDBOXED
    assert words(found, "modules/nowhere") == ("down", "missing")
    assert words(look(config, "home.conf"), "modules/linked") == OK


def test_an_interpreter(look, place, installed):
    place("/home/model/env", "")
    installed.machine.run("/usr/bin/python3", "-m", "venv", "--without-pip", "/home/model/venv")
    config = f'{SOURCE}python = "/home/model/venv/bin/python"\nmodules = ["json"]\n'
    found = look(config)
    assert words(found, "modules/json") == SANDBOXED
    assert words(look(config, "home.conf"), "modules/json") == OK


@pytest.fixture
def bus(machine):
    """The system's D-Bus, which systemctl asks in the name of users."""
    if not machine.run("sh", "-c", "command -v dbus-daemon || true").strip():
        pytest.skip("asks over D-Bus: needs the program dbus-daemon")
    machine.run("systemctl", "start", "dbus.socket", "dbus.service")
    yield machine
    machine.run("systemctl", "stop", "dbus.socket", "dbus.service")


ACCOUNT = "statusd"  # the name that the unit would otherwise invent


@pytest.mark.parametrize(
    ("hides", "named"),
    [
        ("", "DynamicUser="),
        ("InaccessiblePaths=/run/dbus\n", "InaccessiblePaths="),
        ("TemporaryFileSystem=/run/dbus\n", "TemporaryFileSystem="),
    ],
)
def test_a_unit(look, bus, installed, hides, named):
    config = f'{SOURCE}unit = ["systemd-journald.service", "nowhere.service"]\n'
    installed.drop_in(f"[Service]\n{hides}", "hides.conf")
    found = look(config)
    assert words(found, "unit/systemd-journald.service") == SANDBOXED
    assert f"hidden by {named}" in found["unit/systemd-journald.service"][2]
    installed.machine.run("systemctl", "stop", "statusd.service")
    installed.drop_in("[Service]\n", "hides.conf")
    bus.run("useradd", "--system", "--no-create-home", ACCOUNT)
    try:
        seen = look(config)
        assert words(seen, "unit/systemd-journald.service") == OK
        assert words(seen, "unit/nowhere.service") == ("down", "missing")
    finally:
        bus.run("systemctl", "stop", "statusd.service")
        bus.run("userdel", ACCOUNT)


def test_a_unit_without_a_bus_is_unreachable_and_not_sandboxed(look):
    found = look(f'{SOURCE}unit = "systemd-journald.service"\n')
    assert words(found, "unit/systemd-journald.service") == ("unknown", "unreachable")


@pytest.mark.parametrize(
    "source",
    [
        '[sources.x]\nplugin = "http"\nurl = "http://x"\nunix_socket = "/tmp/app/socket"\ninterval = 0.5\n',
        '[sources.x]\nplugin = "redis_queue"\nurl = "unix:///tmp/app/socket"\ninterval = 0.5\n',
    ],
)
def test_a_unix_socket(look, place, installed, source):
    place("/tmp/app/server.py", SOCKETS)
    found = look(source, source="x")
    assert words(found) == SANDBOXED
    assert "BindReadOnlyPaths=/tmp" in found[""][2]
    installed.unit(
        "[Service]\nExecStart=/usr/bin/python3 /tmp/app/server.py /tmp/app/socket\n", "upstream.service"
    )
    installed.start("upstream.service")
    installed.machine.wait(lambda: installed.machine.run("ls", "/tmp/app/socket", expect=None))
    seen = look(source, "tmp.conf", source="x")
    assert words(seen)[1] in {"ok", "protocol_error", "unexpected_answer"}
