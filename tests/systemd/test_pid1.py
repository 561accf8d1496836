"""Acceptance: the unit as it is shipped, under the real systemd as PID 1."""

import re

import pytest

pytestmark = pytest.mark.systemd


@pytest.fixture
def service(machine):
    """The machine with the service started; stopped and forgotten afterwards."""
    machine.run("systemctl", "start", "statusd.service", expect=None)
    assert machine.show("ActiveState") == ("active",), machine.journal()
    yield machine
    machine.run("systemctl", "stop", "statusd.service")
    machine.run("systemctl", "reset-failed", "statusd.service", expect=None)


def test_it_is_ready_when_it_answers_and_says_how_all_is(service):
    """Type=notify: `systemctl start` came back, so READY=1 was received and the sockets listen."""
    assert service.show("Type", "ActiveState", "SubState", "NRestarts") == (
        "notify",
        "active",
        "running",
        "0",
    )
    assert service.get("/health") == {"status": "ok"}
    assert service.get("/models")["models"][0] == "mock"
    service.wait(lambda: re.match(r"(ok|degraded|unknown|down)\b", service.show("StatusText")[0]))


def test_its_lines_reach_the_journal_with_their_priority(service):
    found = service.entries()
    priorities = {entry["MESSAGE"]: entry["PRIORITY"] for entry in found}
    [ready] = [message for message in priorities if " is ready on http://127.0.0.1:8000" in message]
    assert priorities[ready] == "6"
    assert all(not re.match(r"<\d>|\d{4}-", message) for message in priorities)
    assert {entry["_SYSTEMD_UNIT"] for entry in found} == {"statusd.service"}


def test_the_sandbox_is_in_force(service):
    """As /proc sees the main process: another user, no capabilities, no new privileges, a system call filter."""
    pid = service.show("MainPID")[0]
    rows = service.run("cat", f"/proc/{pid}/status").splitlines()
    status = {name: value.split() for name, _, value in (row.partition(":") for row in rows)}
    assert status["Uid"][1] != "0"
    assert {int(status[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])
    mounts = service.run("cat", f"/proc/{pid}/mounts").splitlines()
    root = next(row.split() for row in mounts if row.split()[1] == "/")
    assert "ro" in root[3].split(",")
    for hidden in ("/home", "/root", "/tmp"):
        inside = service.run("ls", "-A", f"/proc/{pid}/root{hidden}")
        assert inside == "", f"{hidden} shows {inside}"


def test_it_stops_cleanly_when_told_to(service):
    service.run("systemctl", "stop", "statusd.service")
    assert service.show("ActiveState", "Result", "ExecMainCode", "ExecMainStatus") == (
        "inactive",
        "success",
        "1",  # CLD_EXITED
        "0",
    )


def test_it_stops_cleanly_on_sigterm_and_is_not_restarted(service):
    service.run("systemctl", "kill", "--kill-whom=main", "--signal=TERM", "statusd.service")
    service.wait(lambda: service.show("ActiveState") == ("inactive",))
    assert service.show("Result", "ExecMainStatus", "NRestarts") == ("success", "0", "0")


def test_it_is_restarted_after_a_crash(service):
    service.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "statusd.service")
    service.wait(lambda: service.show("NRestarts", "ActiveState") == ("1", "active"))
    assert service.get("/health") == {"status": "ok"}


def test_a_wrong_configuration_fails_with_78_and_is_not_tried_again(machine, installed):
    installed.configure("[sources.queue]\nplugin = 'redis_queue'\nintervall = 3\n")
    machine.run("systemctl", "start", "statusd.service", expect=1)
    assert machine.show("ActiveState", "Result", "ExecMainStatus", "NRestarts", "StatusErrno") == (
        "failed",
        "exit-code",
        "78",
        "0",
        "22",  # EINVAL
    )
    errors = [entry["MESSAGE"] for entry in machine.entries() if entry["PRIORITY"] == "3"]
    assert any("intervall" in message for message in errors), errors


def test_a_reload_is_done_when_systemctl_says_so_and_keeps_the_process(installed):
    installed.configure('[sources.a]\nplugin = "mock"\n')
    service = installed.start()
    pid = service.show("MainPID")
    installed.configure('[sources.b]\nplugin = "mock"\n')
    service.run("systemctl", "reload", "statusd.service")
    assert list(service.get("/state/sources")["node"]["children"]) == ["b"]
    assert service.show("MainPID", "NRestarts", "ActiveState", "SubState") == (*pid, "0", "active", "running")


def test_a_reload_of_a_wrong_configuration_fails_and_changes_nothing(installed):
    installed.configure('[sources.a]\nplugin = "mock"\n')
    service = installed.start()
    pid = service.show("MainPID")
    installed.configure("[sources.b]\nplugin = 'mock'\nintervall = 3\n")
    service.run("systemctl", "reload", "statusd.service", expect=1)
    assert list(service.get("/state/sources")["node"]["children"]) == ["a"]
    assert service.show("MainPID", "NRestarts", "ActiveState", "SubState") == (*pid, "0", "active", "running")
    assert "intervall" in service.show("StatusText")[0]
    assert any("intervall" in entry["MESSAGE"] for entry in service.entries(f"_PID={pid[0]}"))


def test_the_kernel_settings_of_the_host_are_untouched(machine, settings_before, settings_now):
    assert machine.run("systemctl", "is-system-running", expect=None).strip() != "offline"
    now = settings_now()
    changed = {
        name: now[name] for name in settings_before if name in now and now[name] != settings_before[name]
    }
    assert changed == {}
    assert len(now) > 200
