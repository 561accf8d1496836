"""Acceptance: what the real systemd does about a daemon that is stuck, and the sockets that it holds meanwhile."""

import json
import re
import threading

import pytest

from tests.systemd.installed import SOCKET, UNITS

pytestmark = pytest.mark.systemd

STUCK = "/etc/statusd/stuck"
KILLED = "Watchdog timeout"
DONE = "/run/asked-enough"
CLIENTS = 20
RESTARTS = 5
ASK = f"""\
import http.client, json, os, threading, time
failed, asked = [], []
def ask():
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=30)
    connection.request("GET", "/health", headers={{"Connection": "close"}})
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (200, {{"status": "ok"}})
    connection.close()
def keep_asking():
    while not os.path.exists("{DONE}"):
        asked.append(1)
        try:
            ask()
        except Exception as error:
            failed.append(repr(error))
        time.sleep(0.05)
threads = [threading.Thread(target=keep_asking) for _ in range({CLIENTS})]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([len(asked), failed]))
"""
"""Clients that ask for ever, each time on a connection of its own."""


def stuck(what):
    """Return a configuration with a source that can get the daemon stuck, beside one that is well."""
    return f'[sources.a]\nplugin = "stuck"\nstall = "{what}"\ninterval = 0.2\n[sources.b]\nplugin = "mock"\n'


@pytest.mark.parametrize(
    ("what", "wanted"), [("loop", "time.sleep|stuck"), ("hub", "the hub: no progress for")]
)
def test_a_daemon_that_is_stuck_is_restarted_by_the_watchdog_and_the_journal_says_where(
    installed, what, wanted
):
    installed.configure(stuck(what))
    installed.drop_in("[Service]\nWatchdogSec=3s\nRestartSec=100ms\n")
    service = installed.start()
    before = service.journal().count(KILLED)
    [pid] = service.show("MainPID")
    installed.write(STUCK, pid)
    service.wait(lambda: service.show("NRestarts") == ("1",), 90)
    service.wait(lambda: service.show("ActiveState", "SubState") == ("active", "running"))
    assert service.get("/health") == {"status": "ok"}
    assert service.journal().count(KILLED) == before + 1
    lines = [entry["MESSAGE"] for entry in service.entries(f"_PID={pid}")]
    assert any(re.search(wanted, line) for line in lines), lines
    assert service.show("NRestarts") == ("1",)


def test_a_daemon_that_is_well_is_never_restarted(installed):
    installed.configure(stuck("loop"))
    installed.drop_in("[Service]\nWatchdogSec=3s\n")
    service = installed.start()
    [pid] = service.show("MainPID")
    service.run("sleep", "5")  # longer than systemd waits for a ping
    assert service.show("MainPID", "NRestarts") == (pid, "0")


def test_the_first_request_starts_the_service_and_is_answered(installed):
    service = installed.start(SOCKET)
    assert service.show("ActiveState") == ("inactive",)
    assert service.get("/health") == {"status": "ok"}
    assert service.show("ActiveState", "SubState") == ("active", "running")
    facts = service.get("/state/daemon/listener")["node"]["facts"]
    assert facts["addresses"] == ["http://127.0.0.1:8000"]


def test_a_socket_has_the_backlog_that_the_unit_says(installed):
    service = installed.start(SOCKET)
    service.get("/health")
    [row] = service.run("ss", "-Hltn", "sport = :8000").splitlines()
    most = int(service.run("cat", "/proc/sys/net/core/somaxconn"))
    assert int(row.split()[2]) == min(4096, most)


def test_names_say_what_is_served_on_a_socket(installed):
    installed.unit(
        "[Socket]\nListenStream=127.0.0.1:8001\nFileDescriptorName=probes\nService=statusd.service\n",
        "statusd-probes.socket",
    )
    installed.start("statusd-probes.socket")
    service = installed.start(SOCKET)
    assert service.get("/health") == {"status": "ok"}
    assert service.status_code("http://127.0.0.1:8001/health") == "200"
    assert service.status_code("http://127.0.0.1:8001/state") == "404"
    assert service.status_code("http://127.0.0.1:8000/state") == "200"


def test_a_datagram_socket_ends_the_start_with_the_remedy(installed):
    text = (installed.machine.run("cat", f"{UNITS}/{SOCKET}")).replace("ListenStream=", "ListenDatagram=")
    installed.unit(re.sub("(?m)^(NoDelay|Backlog)=.*$", "", text), SOCKET)
    installed.start(SOCKET)
    installed.machine.run("systemctl", "start", "statusd.service", expect=1)
    lines = [entry["MESSAGE"] for entry in installed.machine.entries()]
    assert any(
        "passed as http (fd 3) carries no streams; pass one with ListenStream=" in line for line in lines
    )


def test_restarts_lose_no_request_while_systemd_holds_the_socket(installed):
    """Twenty clients, each request on a connection of its own, all the while; benchmarks/restarts.py does it 100 times."""
    service = installed.start(SOCKET)
    service.get("/health")
    said = []
    command = ("/opt/statusd/bin/python3", "-c", ASK)
    asking = threading.Thread(target=lambda: said.append(service.run(*command, seconds=100)))
    asking.start()
    try:
        for _ in range(RESTARTS):
            service.run("systemctl", "restart", "statusd.service")
    finally:
        installed.write(DONE, "")
        asking.join()
    asked, failed = json.loads(said[0])
    assert failed == []
    assert asked >= CLIENTS * RESTARTS


def test_a_fault_that_may_pass_keeps_the_socket_open_for_as_long_as_it_takes(installed):
    """Exit code 1, again and again, while a client waits; once the fault is mended, that client is answered.

    Pause and limit are a fifth of the shipped ones; tests/systemd/test_units.py holds these two against each other.
    """
    installed.configure('[http]\nbind_probes = ["unix:/nowhere/probes.sock"]\n')
    installed.drop_in("[Service]\nRestartSec=400ms\n")
    installed.drop_in("[Socket]\nTriggerLimitIntervalSec=2s\n", "limit.conf", SOCKET)
    service = installed.start(SOCKET)
    answers = []
    client = threading.Thread(
        target=lambda: answers.append(
            service.run(
                "curl", "-fsS", "--max-time", "90", "http://127.0.0.1:8000/health", expect=None, seconds=100
            )
        )
    )
    client.start()
    service.wait(lambda: int(service.show("NRestarts")[0]) >= 6, 60)
    assert service.show("ActiveState", unit=SOCKET) == ("active",), service.journal()
    installed.configure("")
    client.join()
    assert answers == ['{"status":"ok"}']


def test_a_wrong_configuration_does_not_start_again_and_again_for_clients_that_wait(installed):
    """Each client in the backlog would start the service anew: the socket gives up after a few, and is closed."""
    installed.configure("nonsense = true\n")
    slow = f"{UNITS}/{SOCKET}.d/slow.conf"  # for a host that takes longer for a start than the shipped limit looks for
    installed.drop_in("[Socket]\nTriggerLimitIntervalSec=60s\nTriggerLimitBurst=2\n", "slow.conf", SOCKET)
    service = installed.start(SOCKET)
    assert service.status_code("http://127.0.0.1:8000/health") == "000"
    service.wait(lambda: service.show("ActiveState", unit=SOCKET) == ("failed",), 45)
    assert service.show("Result", unit=SOCKET) == ("trigger-limit-hit",)
    starts = [entry for entry in service.entries() if "nonsense" in entry["MESSAGE"]]
    assert 1 <= len(starts) <= 3
    assert service.show("ExecMainStatus") == ("78",)
    installed.configure("")
    service.run("rm", slow)
    service.run("systemctl", "daemon-reload")

    def serves():
        service.run("systemctl", "restart", SOCKET, expect=None)
        return service.status_code("http://127.0.0.1:8000/health") == "200"

    service.wait(serves, 30)  # once the starts that were too many are long enough ago
