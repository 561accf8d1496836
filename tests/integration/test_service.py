"""The real console script in a process of its own, as a service manager sees it."""

import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import attrs
import pytest

from tests.openapi import held
from tests.stages import configured

STATUSD = Path(sys.executable).with_name("statusd")
STOPS_WITHIN = 10.0
"""Seconds; after 4.5 the daemon ends itself with the exit code 1, and a busy host takes its time to see the process end."""


@attrs.define
class Daemon:
    """A running `statusd run`, and what its service manager hears from it."""

    process: subprocess.Popen
    manager: socket.socket
    bind: str
    errors: Path

    def receive(self):
        """Return the next notification as a dict; it comes from the daemon itself."""
        deadline = time.monotonic() + 20
        while True:
            try:
                data, [(_, _, credentials)], _, _ = self.manager.recvmsg(4096, socket.CMSG_SPACE(12))
                break
            except TimeoutError:
                assert self.process.poll() is None, "\n".join(["it ended without a word:", *self.log()[-20:]])
                assert time.monotonic() < deadline, "\n".join(["it says nothing:", *self.log()[-20:]])
        assert struct.unpack("iii", credentials)[0] == self.process.pid
        return dict(line.split("=", 1) for line in data.decode().split("\n"))

    def wait_for(self, key):
        """Return the next notification that holds `key`."""
        while key not in (states := self.receive()):
            pass
        return states

    def connect(self):
        """Return a connection to the daemon's HTTP socket."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        try:
            connection.connect(self.bind.removeprefix("unix:"))
        except OSError:
            connection.close()
            raise
        return connection

    def get(self, path):
        """Return the JSON body of a GET."""
        return json.loads(held(self.fetch, path)[2])

    def fetch(self, path):
        """Return the status code, the headers and the body of a GET."""
        with self.connect() as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            )
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, response.headers, response.read()

    def log(self):
        """Return the lines on standard error so far."""
        return self.errors.read_text().splitlines()

    def ends(self):
        """Return the exit code, and the seconds since now until it came."""
        began = time.monotonic()
        code = self.process.wait(timeout=30)
        return code, time.monotonic() - began

    def signalled(self, number=signal.SIGTERM):
        """Send a signal; return as `ends`."""
        self.process.send_signal(number)
        return self.ends()


def fill(path):
    """Send datagrams to a socket until it takes no more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(BlockingIOError):
        sender.setblocking(False)
        while True:
            sender.sendto(b"X_FILLER=1", str(path))


@pytest.fixture
def start(tmp_path):
    """Start a daemon: `start(config="...", environ={...}, arguments=[...])`."""
    with contextlib.ExitStack() as exits:

        def start(*, config="", environ=None, arguments=None, is_busy=False):
            folder = tmp_path / f"daemon-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            manager = exits.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            manager.settimeout(0.5)
            manager.bind(str(folder / "notify"))
            if is_busy:
                fill(folder / "notify")
            (folder / "statusd.toml").write_text(configured(config))
            bind = f"unix:{folder}/http"
            arguments = (
                ["--config", str(folder / "statusd.toml"), "--bind", bind] if arguments is None else arguments
            )
            with (folder / "stderr").open("wb") as errors:
                found = os.fstat(errors.fileno())
                process = subprocess.Popen(
                    [STATUSD, "run", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env={
                        **{
                            name: value
                            for name, value in os.environ.items()
                            if not name.startswith(("OPENTALKING", "OMNIRT", "STATUSD"))
                        },
                        "NOTIFY_SOCKET": str(folder / "notify"),
                        "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}",
                        **(environ or {}),
                    },
                )
            exits.callback(process.wait)
            exits.callback(process.kill)
            return Daemon(process, manager, bind, folder / "stderr")

        yield start


@pytest.fixture
def upstream():
    """A health endpoint that counts its requests and answers with `code`."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        code = 200
        count = 0

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.count += 1
            self.send_response(self.server.code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    with Server(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def eventually(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def watching(upstream, interval=0.02):
    return f"""
[sources.web]
plugin = "http"
url = "http://127.0.0.1:{upstream.server_port}/"
interval = {interval}
"""


def test_ready_comes_when_it_answers_and_names_the_rollup(start):
    daemon = start(config='[sources.self]\nplugin = "local"\n')
    states = daemon.wait_for("READY")
    assert states["READY"] == "1"
    assert re.match(r"(ok|degraded|unknown|down|off)\b", states["STATUS"])
    assert daemon.get("/health") == {"status": "ok"}


def test_with_nothing_configured_it_runs_on_the_built_in_configuration(start):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    daemon = start(arguments=["--bind", f"127.0.0.1:{port}"])
    daemon.wait_for("READY")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)

    def fetch(path):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    assert len(json.loads(held(fetch, "/models")[2])["models"]) == 6
    connection.close()
    assert daemon.signalled()[0] == 0


def test_the_status_follows_the_rollup(start, upstream):
    daemon = start(config=watching(upstream))
    while not daemon.wait_for("STATUS")["STATUS"].startswith("ok"):
        pass
    upstream.code = 500
    while not daemon.wait_for("STATUS")["STATUS"].startswith("down"):
        pass
    upstream.code = 200
    while not daemon.wait_for("STATUS")["STATUS"].startswith("ok"):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order(start, number):
    daemon = start(config='[sources.self]\nplugin = "local"\n')
    daemon.wait_for("READY")
    code, seconds = daemon.signalled(number)
    assert code == 0
    assert seconds < STOPS_WITHIN
    assert daemon.wait_for("STOPPING")["STOPPING"] == "1"
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        daemon.connect()


def test_a_signal_stops_it_with_connections_of_every_kind_open(start, upstream):
    """Idle, half a request, a request whose answer nobody reads: none keeps it from ending."""
    daemon = start(config=watching(upstream))
    daemon.wait_for("READY")
    with contextlib.ExitStack() as connections:
        for text in (
            b"",
            b"GET /models HTTP/1.1\r\nHo",
            b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000,
            b"POST /state HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12",
        ):
            connection = connections.enter_context(daemon.connect())
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                connection.send(text)
        assert daemon.get("/health") == {"status": "ok"}
        code, seconds = daemon.signalled()
    assert code == 0
    assert seconds < STOPS_WITHIN
    assert not any("Traceback" in line for line in daemon.log())


def test_a_request_in_flight_is_answered(start):
    daemon = start(config='[sources.self]\nplugin = "local"\n')
    daemon.wait_for("READY")
    with daemon.connect() as connection:
        connection.sendall(b"GET /models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
        assert daemon.get("/health") == {"status": "ok"}  # so the half request was taken, too
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for("STOPPING")
        connection.sendall(b"\r\n")
        assert connection.recv(100).startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 "))
    assert daemon.ends()[0] == 0


def test_a_second_sigterm_hastens_the_stop(start):
    daemon = start(config='[sources.self]\nplugin = "local"\n')
    daemon.wait_for("READY")
    with daemon.connect() as connection:
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # nobody reads the answers, which a stop waits for
            connection.send(b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000)
        assert daemon.get("/health") == {"status": "ok"}
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for("STOPPING")
        assert daemon.process.poll() is None
        assert daemon.signalled()[0] == 0
    log = daemon.log()
    assert any("second signal: stopping at once" in line for line in log)
    assert not any("cut off" in line for line in log)  # as they are once they have been waited for


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_signals_up_to_the_last_moment_do_not_kill_it(start, first):
    daemon = start(config='[sources.self]\nplugin = "mock"\n')
    daemon.wait_for("READY")
    daemon.process.send_signal(first)
    while daemon.process.poll() is None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            daemon.process.send_signal(number)
        time.sleep(0.002)  # a pause between two of them, not a wait: without it they would be one
    assert daemon.process.returncode == 0
    assert any(
        ": stopping" in line for line in daemon.log()
    )  # several that come at once are taken in any order


def test_a_signal_before_it_is_ready_stops_it_too(start):
    """A source that hangs holds READY back for a moment; the signal comes in that moment."""
    with socket.create_server(("127.0.0.1", 0)) as hung:
        port = hung.getsockname()[1]
        hung.settimeout(20)
        for _ in range(5):
            daemon = start(config=f'[sources.web]\nplugin = "http"\nurl = "http://127.0.0.1:{port}/"\n')
            with hung.accept()[0]:
                code, seconds = daemon.signalled()
            assert code == 0
            assert seconds < STOPS_WITHIN
            told = daemon.receive()
            if "READY" not in told:  # else the host was busy, and the moment over
                break
    assert told == {"STOPPING": "1"}
    with pytest.raises(TimeoutError):
        while True:  # it asks for time to stop, and says nothing else
            said = daemon.manager.recv(4096)
            assert said.startswith(b"EXTEND_TIMEOUT_USEC=")


def test_a_port_in_use_ends_it_with_the_remedy(start):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        daemon = start(arguments=["--bind", address])
        assert daemon.ends()[0] == 1
    assert daemon.wait_for("ERRNO")["ERRNO"] == "98"
    [line] = daemon.log()
    assert line.startswith("<3>")
    assert address in line
    assert "--bind" in line


@pytest.mark.parametrize(
    ("bind", "number"),
    [("192.0.2.1:8000", "99"), ("fd://99", "9")],  # TEST-NET-1 (RFC 5737) is nobody's: EADDRNOTAVAIL; EBADF
)
def test_systemd_hears_the_errno_of_what_kept_it_from_starting(start, bind, number):
    daemon = start(arguments=["--bind", bind])
    assert daemon.ends()[0] == 1
    assert daemon.wait_for("ERRNO")["ERRNO"] == number


def test_a_wrong_configuration_ends_it_with_78_and_each_mistake_on_a_line(start):
    daemon = start(
        config='[sources.a]\nplugin = "http"\nintervall = 3\n\n[sources.b]\nplugin = "nonsense"\ntimeout = -1\n'
    )
    assert daemon.ends()[0] == 78
    lines = daemon.log()
    assert any("intervall" in line and '"interval"' in line for line in lines)
    assert any("sources.b" in line for line in lines)
    assert all(line.startswith("<3>") and "Traceback" not in line for line in lines)
    told = daemon.wait_for("ERRNO")
    assert told["ERRNO"] == "22"
    assert "statusd.toml: sources.b.timeout: -1 is out of range" in told["STATUS"]
    assert told["STATUS"].endswith(" (and 1 more)")


def test_there_is_one_line_a_transition_and_none_a_probe(start, upstream):
    daemon = start(config=watching(upstream))
    daemon.wait_for("READY")

    def probed(more):
        before = upstream.count
        eventually(lambda: upstream.count >= before + more)

    def about_the_source():
        return [line for line in daemon.log() if re.match(r"<\d>sources/web:", line)]

    eventually(lambda: any("-> ok" in line for line in about_the_source()))
    quiet = daemon.log()
    probed(50)
    assert daemon.log() == quiet
    known = about_the_source()
    for code, status, priority in ((500, "down", "3"), (200, "ok", "6")):
        upstream.code = code
        eventually(lambda known=known: len(about_the_source()) > len(known))
        probed(50)
        [line] = about_the_source()[len(known) :]
        assert re.match(rf"<{priority}>sources/web: \w+ -> {status}\b", line)
        known.append(line)
    assert all(re.match(r"<[3-6]>\S", line) for line in daemon.log())


def test_outside_the_journal_lines_have_a_time_and_a_level(start):
    daemon = start(config='[sources.self]\nplugin = "local"\n', environ={"JOURNAL_STREAM": "1:2"})
    daemon.wait_for("READY")
    daemon.signalled()
    lines = daemon.log()
    assert lines
    assert all(
        re.match(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00 (INFO|NOTICE|WARNING|ERROR) \S", line) for line in lines
    )


def test_it_runs_without_a_service_manager_and_with_a_dead_one(start):
    for value in ("", "/nonexistent"):
        daemon = start(config='[sources.self]\nplugin = "local"\n', environ={"NOTIFY_SOCKET": value})
        eventually(lambda daemon=daemon: any(" is ready on " in line for line in daemon.log()))
        assert daemon.get("/health") == {"status": "ok"}
        assert daemon.signalled()[0] == 0


def test_ready_is_said_again_where_the_manager_was_too_busy(start):
    """As systemd with a full queue: the daemon's datagrams find no room until some are read."""
    daemon = start(config='[sources.self]\nplugin = "local"\n', is_busy=True)
    eventually(lambda: any(" is ready on " in line for line in daemon.log()))
    daemon.manager.settimeout(20)
    while b"READY=1" not in daemon.manager.recv(4096):
        pass
    assert daemon.get("/health") == {"status": "ok"}
