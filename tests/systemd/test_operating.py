"""Acceptance: what an operator does to a service that runs, under the real systemd: reload, drain, restart, read the journal."""

import json

import pytest

from statusd.events import DRAINED, RELOAD_FAILED, RELOADED, STARTED, STOPPING, TRANSITION

pytestmark = pytest.mark.systemd

BASE = "http://127.0.0.1:8000"
STATUSD = "/opt/statusd/bin/statusd"
WELL = '[sources.a]\nplugin = "mock"\n[models]\nm = "a"\n'
ANOTHER = WELL + '[sources.gone]\nplugin = "http"\nurl = "http://127.0.0.1:1/"\n'
WRONG = WELL + "[sources.b]\n"


@pytest.fixture
def service(installed):
    installed.configure(WELL)
    yield installed.start()
    installed.machine.run(STATUSD, "undrain", "models/m", expect=None)


def configured(service):
    return service.get("/state/daemon/config")["node"]


def test_a_reload_returns_when_the_new_configuration_is_in_force(service, installed):
    [pid] = service.show("MainPID")
    installed.configure(ANOTHER)
    service.run("systemctl", "reload", "statusd.service")
    assert configured(service)["facts"]["generation"] == 2
    assert service.get("/state/sources/gone")["node"]["reason"] == "refused"
    assert service.show("ActiveState", "SubState", "MainPID") == ("active", "running", pid)
    assert service.show("StatusText")[0].startswith("down: 1 of 1 models connected; sources: 1 ok, 1 down")
    [entry] = service.entries(f"MESSAGE_ID={RELOADED.id}", f"_PID={pid}")
    assert entry["STATUSD_GENERATION"] == "2"


def test_a_reload_with_a_wrong_configuration_fails_and_the_old_one_goes_on(service, installed):
    [pid] = service.show("MainPID")
    installed.configure(WRONG)
    service.run("systemctl", "reload", "statusd.service", expect=1)
    assert service.show("ActiveState", "SubState", "MainPID", "ReloadResult") == (
        "active", "running", pid, "exit-code",
    )  # fmt: skip
    assert "the last reload failed" in service.show("StatusText")[0]
    node = configured(service)
    assert (node["reason"], node["facts"]["generation"]) == ("reload_failed", 1)
    assert service.get("/models")["models"] == ["m"]
    [entry] = service.entries(f"MESSAGE_ID={RELOAD_FAILED.id}", f"_PID={pid}")
    assert "sources.b.plugin: missing" in entry["MESSAGE"]
    # What systemd ran says where the mistakes are, and does not repeat them.
    said = [
        one["MESSAGE"] for one in service.entries() if one["_PID"] != pid and one["_TRANSPORT"] == "stdout"
    ]
    assert [text for text in said if "not reloaded" in text] == [
        "not reloaded: generation 1 goes on; what is wrong stands before this in the log"
    ]
    assert not any("sources.b.plugin" in text for text in said)
    installed.configure(WELL)
    service.run("systemctl", "reload", "statusd.service")
    assert configured(service)["status"] == "ok"
    assert "reload" not in service.show("StatusText")[0]


def test_sighup_alone_reloads_too(service, installed):
    installed.configure(ANOTHER)
    service.run("systemctl", "kill", "--kill-who=main", "-s", "HUP", "statusd.service")
    service.wait(lambda: configured(service)["facts"]["generation"] == 2)


def test_what_root_drains_stays_drained_over_a_restart_until_it_is_undrained(service):
    service.run(STATUSD, "drain", "models/m", "--reason", "new weights")
    assert service.status_code(f"{BASE}/readyz/models/m") == "503"
    drained = service.get("/state/models/m")["node"]
    assert (drained["status"], drained["reason"]) == ("off", "drained")
    assert [entry["STATUSD_PATH"] for entry in service.entries(f"MESSAGE_ID={DRAINED.id}")] == ["models/m"]
    service.run("systemctl", "restart", "statusd.service")
    assert service.get("/state/models/m")["node"]["reason"] == "drained"
    [kept] = json.loads(service.run(STATUSD, "drains", "--json"))
    assert kept["path"] == "models/m"
    service.run(STATUSD, "undrain", "models/m")
    assert service.get("/state/models/m")["node"]["status"] == "ok"


def test_nobody_else_may_use_the_control_socket(service):
    """To connect one must be allowed to write to it (unix(7))."""
    path = "/run/statusd/control.sock"
    assert service.run("stat", "-c", "%a %F", path).strip() == "600 socket"
    service.run("test", "-w", path)
    service.run("setpriv", "--reuid=12345", "--clear-groups", "test", "-w", path, expect=1)


def test_the_time_since_a_node_is_so_outlives_a_restart_and_revisions_only_grow(service):
    before = service.get("/state/sources/a")
    service.run("systemctl", "restart", "statusd.service")
    after = service.get("/state/sources/a")
    assert after["node"]["since"] == before["node"]["since"]
    assert after["revision"] > before["revision"]


def test_each_kind_of_event_can_be_told_in_the_journal_by_its_id_and_its_fields(service, installed):
    [pid] = service.show("MainPID")
    installed.configure(ANOTHER)
    service.run("systemctl", "reload", "statusd.service")
    service.run("systemctl", "stop", "statusd.service")
    [started] = service.entries(f"MESSAGE_ID={STARTED.id}", f"_PID={pid}")
    assert (started["PRIORITY"], started["SYSLOG_IDENTIFIER"]) == ("6", "statusd")
    assert service.entries(f"MESSAGE_ID={STOPPING.id}", f"_PID={pid}")
    transitions = service.entries(f"MESSAGE_ID={TRANSITION.id}", f"_PID={pid}", "STATUSD_PATH=sources/gone")
    assert [
        (one["STATUSD_SOURCE"], one["STATUSD_FROM"], one["STATUSD_TO"], one["STATUSD_REASON"])
        for one in transitions
    ] == [("gone", "new", "down", "refused")]
    assert transitions[0]["STATUSD_REVISION"].isdigit()
    assert transitions[0]["PRIORITY"] == "3"
