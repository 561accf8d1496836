"""`statusd drain` and its kin: the real console script against a daemon in a process of its own."""

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import attrs
import pytest

from statusd.control.asking import ControlError, ask
from statusd.control.protocol import FILE
from tests.stages import configured

STATUSD = Path(sys.executable).with_name("statusd")
CONFIG = """
[sources.one]
plugin = "mock"
[sources.two]
plugin = "mock"
[models]
flashtalk = ["one", "two"]
"org/wav2lip" = "two"
"""


@attrs.define
class Service:
    """A daemon with a runtime and a state directory, to be started again and again."""

    folder: Path
    process: subprocess.Popen | None = None

    @property
    def environ(self):
        kept = {key: value for key, value in os.environ.items() if not key.startswith("STATUSD")}
        return kept | {
            "RUNTIME_DIRECTORY": str(self.folder / "run"),
            "STATE_DIRECTORY": str(self.folder / "state"),
        }

    def start(self):
        arguments = ["--config", str(self.folder / "statusd.toml"), "--bind", f"unix:{self.folder}/http"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [STATUSD, "run", *arguments],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.until(lambda: self.get("/readyz")[0] in {200, 503} and self.takes_commands())

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(20)

    def until(self, condition, seconds=20):
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                if value := condition():
                    return value
            log = (self.folder / "log").read_text()
            assert self.process.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.01)

    def get(self, path):
        """Return the status code and the text of a GET."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(f"{self.folder}/http")
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            )
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, response.read().decode()

    def node(self, path):
        node = json.loads(self.get(f"/state/{path}")[1])["node"]
        return node["status"], node["reason"], node["message"]

    @property
    def control(self):
        return self.folder / "run" / FILE

    def drained(self):
        """Return path -> reason of what is drained, without the time that a command takes to start."""
        return {one["path"]: one["reason"] for one in ask(self.control, "drains")["drains"]}

    def takes_commands(self):
        """Return whether it listens on its control socket, whose file a killed one leaves behind; an OSError: it does not."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.control))
        return True

    def command(self, *arguments):
        """Return the exit code, the standard output and the standard error of a command."""
        done = subprocess.run(
            [STATUSD, *arguments], env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    def well(self, *arguments):
        code, out, error = self.command(*arguments)
        assert (code, error) == (0, "")
        return out


@contextlib.contextmanager
def installed(folder):
    """Give a daemon that has not been started; it is gone afterwards."""
    (folder / "run").mkdir()
    (folder / "state").mkdir()
    (folder / "statusd.toml").write_text(configured(CONFIG))
    service = Service(folder)
    try:
        yield service
    finally:
        if service.process is not None:
            service.process.kill()
            service.process.wait()


@pytest.fixture
def stopped(tmp_path):
    with installed(tmp_path) as service:
        yield service


@pytest.fixture
def service(stopped):
    stopped.start()
    return stopped


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """A daemon for tests that change nothing."""
    with installed(tmp_path_factory.mktemp("untouched")) as service:
        service.start()
        yield service


def test_a_source_is_drained_everywhere_and_put_back(service):
    out = service.well("drain", "sources/two", "--reason", "new disks", "--for", "1h30m")
    assert "sources/two is drained until " in out
    assert "for another 90 min: new disks" in out
    assert "/readyz/sources/two answers 503 now." in out
    assert "The model org/wav2lip has no source left: it is off (drained)." in out
    assert "flashtalk" not in out  # its source goes on
    status, reason, message = service.node("sources/two")
    assert (status, reason) == ("off", "drained")
    assert message.startswith("Drained by an operator: new disks; until ")
    assert service.get("/readyz/sources/two")[0] == 503
    assert service.get("/readyz/models/org%2Fwav2lip")[0] == 503
    assert service.get("/readyz/models/flashtalk")[0] == 200
    assert service.get("/readyz")[0] == 200
    models = {one["id"]: one for one in json.loads(service.get("/models")[1])["statuses"]}
    assert (models["org/wav2lip"]["connected"], models["org/wav2lip"]["reason"]) == (False, "drained")
    assert models["flashtalk"]["connected"]
    assert 'statusd_drain_end_timestamp_seconds{path="sources/two"}' in service.get("/metrics")[1]
    assert "statusd undrain sources/two" in service.get("/explain/sources/two")[1]
    listed = service.well("drains")
    assert listed.startswith("sources/two until ")
    assert listed.endswith(": new disks\n")
    out = service.well("undrain", "sources/two")
    assert out.startswith("sources/two is no longer drained; it is ok")
    assert service.node("sources/two")[0] == "ok"
    assert service.get("/readyz/models/org%2Fwav2lip")[0] == 200
    assert service.well("drains") == "Nothing is drained.\n"
    service.until(lambda: "sources/two undrained" in (service.folder / "log").read_text())
    log = (service.folder / "log").read_text()
    assert f"sources/two drained: {message} (uid {os.geteuid()})" in log


def test_the_first_source_of_a_model_leaves_it_to_the_next(service):
    out = service.well("drain", "sources/one", "--reason", "x")
    assert "The model flashtalk is served by the source two now." in out
    assert service.get("/readyz/models/flashtalk")[0] == 200


def test_a_model_is_drained_by_its_id_and_the_whole_by_a_slash(service):
    assert "has no source left" not in service.well("drain", "models/org/wav2lip", "--reason", "x")
    assert service.node("models/org%2Fwav2lip")[1] == "drained"
    service.well("drain", "/", "--reason", "the host moves")
    assert service.get("/readyz")[0] == 503
    assert service.get("/livez")[0] == 200
    assert service.get("/health")[0] == 200
    assert not any(one["connected"] for one in json.loads(service.get("/models")[1])["statuses"])
    assert [one["path"] for one in json.loads(service.well("drains", "--json"))] == [
        "models/org%2Fwav2lip",
        "/",
    ]
    service.well("undrain", "/")
    assert service.get("/readyz")[0] == 200


def test_as_json_all_is_there_for_programs(service):
    made = json.loads(service.well("drain", "sources/one", "--reason", "x", "--for", "90s", "--json"))
    assert made["drain"]["path"] == "sources/one"
    assert made["drain"]["until"] == pytest.approx(made["drain"]["since"] + 90)
    assert made["node"] == {"status": "off", "reason": "drained"}
    assert made["replaced"] is None
    assert made["not_kept"] == ""
    again = json.loads(service.well("drain", "sources/one", "--reason", "y", "--json"))
    assert again["replaced"] == made["drain"]
    (listed,) = json.loads(service.well("drains", "--json"))
    assert listed == again["drain"] | {"exists": True}
    assert json.loads(service.well("undrain", "sources/one", "--json"))["drain"] == again["drain"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["drain", "sources/thre", "--reason", "x"], 1, "Near it: sources/"),
        (["drain", "daemon/loop", "--reason", "x"], 2, "cannot be drained"),
        (["drain", "plugins/mock", "--reason", "x"], 2, "cannot be drained"),
        (["drain", "", "--reason", "x"], 2, 'write "/" for the whole tree'),
        (["drain", "sources/one"], 2, "--reason"),
        (["drain", "sources/one", "--reason", ""], 2, "printable"),
        (["drain", "sources/one", "--reason", "a\nb"], 2, "printable"),
        (["drain", "sources/one", "--reason", "x" * 201], 2, "200"),
        (["drain", "sources/one", "--reason", "x", "--for", "2"], 2, "has no unit"),
        (["drain", "sources/one", "--reason", "x", "--for", "soon"], 2, "no time span"),
        (["drain", "sources/one", "--reason", "x", "--for", "0s"], 2, "not above zero"),
        (["drain", "sources/one", "--reason", "x", "--for", "9999d"], 2, "3650d"),
        (["undrain", "sources/one"], 1, "is not drained. Nothing is."),
        (["drains", "extra"], 2, "unrecognized"),
    ],
)
def test_mistakes_are_said_and_change_nothing(untouched, arguments, code, words):
    found, out, error = untouched.command(*arguments)
    assert (found, out) == (code, "")
    assert words in error
    assert untouched.drained() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_is_kept_over_restarts(service, number):
    service.well("drain", "sources/one", "--reason", "new disks")
    service.well("drain", "models/org/wav2lip", "--reason", "x", "--for", "3d")
    before = service.well("drains", "--json")
    service.stop(number)
    code, out, error = service.command("drains")
    assert (code, out) == (1, "")
    assert "statusd is not running" in error
    service.start()
    assert service.well("drains", "--json") == before
    assert service.node("sources/one") == ("off", "drained", "Drained by an operator: new disks.")
    assert service.get("/readyz/models/org%2Fwav2lip")[0] == 503
    service.well("undrain", "sources/one")
    service.stop(number)
    service.start()
    assert service.node("sources/one")[0] == "ok"


def test_killed_at_any_moment_what_was_answered_is_kept_and_the_file_is_whole(service):
    given, before = random.Random(7), {}
    for number in range(8):
        made, answered = {"sources/one": f"round {number}"}, []

        def drain(reason=made["sources/one"], answered=answered):
            with contextlib.suppress(ControlError):  # the daemon may be gone at any point
                answered.append(ask(service.control, "drain", {"path": "sources/one", "reason": reason}))

        asking = threading.Thread(target=drain)
        asking.start()
        if number % 2:
            asking.join(30)
            assert answered
        else:
            time.sleep(given.uniform(0, 0.02))  # the random moment
        service.stop(signal.SIGKILL)
        asking.join(30)
        service.start()
        found = service.drained()
        assert found == made if answered else found in (before, made)
        assert not list((service.folder / "state").glob("*.damaged"))
        before = found


def test_a_damaged_file_is_set_aside_and_said_and_the_daemon_starts(stopped):
    (stopped.folder / "state" / "drains.json").write_text('{"version":1,"dra')
    stopped.start()
    assert stopped.well("drains") == "Nothing is drained.\n"
    assert (stopped.folder / "state" / "drains.json.damaged").exists()
    stopped.until(lambda: "drains.json does not say what is drained" in (stopped.folder / "log").read_text())


def test_a_time_that_is_over_ends_it(service):
    service.well("drain", "sources/one", "--reason", "x", "--for", "1s")
    service.until(lambda: service.node("sources/one")[0] == "ok")
    service.until(lambda: json.loads((service.folder / "state/drains.json").read_text())["drains"] == [])
    service.until(lambda: "sources/one undrained: its time is over" in (service.folder / "log").read_text())


def test_it_holds_over_a_reload_and_waits_for_a_source_that_has_gone(service):
    service.well("drain", "sources/one", "--reason", "x")
    file = service.folder / "statusd.toml"
    text = file.read_text()
    file.write_text(configured(CONFIG.replace('[sources.one]\nplugin = "mock"\n', "").replace('"one", ', "")))
    service.well("reload", "--pid", str(service.process.pid))
    assert service.get("/state/sources/one")[0] == 404
    assert "there is no such node now" in service.well("drains")
    file.write_text(text)
    service.well("reload", "--pid", str(service.process.pid))
    assert service.node("sources/one")[1] == "drained"


def test_the_socket_is_its_owners_alone_and_goes_with_the_daemon(service):
    path = service.folder / "run" / "control.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    service.stop()
    assert not path.exists()


def test_a_daemon_that_stops_is_not_held_up_by_silent_clients(service):
    with contextlib.ExitStack() as exits:
        for _ in range(20):
            client = exits.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(service.folder / "run" / "control.sock"))
        assert service.stop() == 0  # else something had to end it


def test_another_directory_is_looked_in_where_one_is_given(service, tmp_path):
    code, _, error = service.command("drains", "--runtime-directory", str(tmp_path / "absent"))
    assert code == 1
    assert f"{tmp_path}/absent/control.sock" in error
    assert service.well("drains", "--runtime-directory", str(tmp_path / "run")) == "Nothing is drained.\n"
