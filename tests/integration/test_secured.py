"""A daemon with TLS and a token, run by its console script: the commands that read it, and the stop."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded

from tests.stages import configured
from tests.web.client import parse
from tests.web.edge.certificates import NAME, Files, authority, trusting

SCRIPT = Path(sys.executable).parent / "statusd"
TOKEN = "s3same-of.the~house"
DEADLINE = 20
MOST = 5
"""Seconds that the stop may take."""
CONFIG = """[http]
bind = ["tls:127.0.0.1:0", "127.0.0.1:0"]
token = {{ env = "TOKEN_OF_THE_DAEMON" }}
[http.tls]
certificate = {certificate}
key = {key}
[sources.mock]
plugin = "mock"
[models]
mock = "mock"
"""
BEARER = f"Authorization: Bearer {TOKEN}\r\n".encode()


def environment(**variables):
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": "/usr/bin:/bin", **coverage, **variables}


@attrs.frozen
class Daemon:
    """A running one.

    Attributes:
        process: runs it.
        secure: its address with TLS.
        plain: the other one.
    """

    process: subprocess.Popen
    secure: str
    plain: str

    def dial(self, *protocols):
        """Return a connection with TLS that speaks one of `protocols`."""
        port = int(self.secure.rpartition(":")[2])
        sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        return trusting(*protocols).wrap_socket(sock, server_hostname=NAME)


@contextlib.contextmanager
def started(directory):
    files = Files.write(directory, NAME, "127.0.0.1")
    config = directory / "statusd.toml"
    text = CONFIG.format(certificate=json.dumps(files.certificate), key=json.dumps(files.key))
    config.write_text(configured(text))
    process = subprocess.Popen(
        [SCRIPT, "run", "--config", config],
        env=environment(TOKEN_OF_THE_DAEMON=TOKEN),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if ready := re.search(r"is ready on (https:\S+:\d+), (http:\S+:\d+)", line):
                break
        yield Daemon(process, *ready.groups())
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with started(tmp_path_factory.mktemp("secured")) as running:
        yield running


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority().cert_pem.write_to_path(str(file))
    return str(file)


def statusd(*arguments, **variables):
    return subprocess.run(
        [SCRIPT, *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def refused(*arguments, **variables):
    """Return what a command says that has nothing to show; nowhere is it a token."""
    done = statusd(*arguments, **variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert TOKEN not in done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_show_and_explain_read_it(daemon, ca_file, tmp_path):
    options = ("--url", daemon.secure, "--ca-file", ca_file)
    shown = statusd("show", "models", *options, STATUSD_TOKEN=TOKEN)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert re.search(r"^  mock +ok ", shown.stdout, re.MULTILINE)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    explained = statusd("explain", "models/mock", "--json", "--token-file", file, *options)
    assert json.loads(explained.stdout)["status"] == "ok"


def test_what_the_configuration_says_is_enough_for_who_may_read_it(daemon, ca_file, tmp_path):
    config = tmp_path / "statusd.toml"
    port = daemon.secure.rpartition(":")[2]
    text = CONFIG.format(certificate='"/cert.pem"', key='"/key.pem"').replace(
        "127.0.0.1:0", f"127.0.0.1:{port}", 1
    )
    config.write_text(text)
    done = statusd("show", "--config", config, "--ca-file", ca_file, TOKEN_OF_THE_DAEMON=TOKEN)
    assert (done.returncode, done.stderr) == (0, "")


def test_watch_follows_it_until_ctrl_c(daemon, ca_file):
    options = ("--url", daemon.secure, "--ca-file", ca_file, "--json")
    with subprocess.Popen(
        [SCRIPT, "watch", "models", *options],
        env=environment(STATUSD_TOKEN=TOKEN),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            first = json.loads(process.stdout.readline())
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    assert (first["event"], first["path"], list(first["node"]["children"])) == (
        "snapshot",
        "models",
        ["mock"],
    )
    assert (process.returncode, said) == (0, b"")


COMMANDS = pytest.mark.parametrize("command", [("show",), ("watch",), ("explain", "models")])


@COMMANDS
def test_a_token_that_is_wrong_or_missing_is_a_fault_with_a_remedy(daemon, ca_file, command):
    options = (*command, "--url", daemon.secure, "--ca-file", ca_file)
    wrong = refused(*options, STATUSD_TOKEN=f"{TOKEN[:-1]}x")
    assert "401: it refused the token" in wrong
    assert "The token is from $STATUSD_TOKEN." in wrong
    assert "401: it wants a token; set $STATUSD_TOKEN" in refused(*options)


@COMMANDS
def test_a_certificate_of_another_authority_is_a_fault_and_gets_no_token(daemon, tmp_path, command):
    file = str(tmp_path / "other.pem")
    trustme.CA().cert_pem.write_to_path(file)
    said = refused(*command, "--url", daemon.secure, "--ca-file", file, STATUSD_TOKEN=TOKEN)
    assert f"is signed by no authority in {file}" in said


@COMMANDS
def test_a_name_that_is_not_listed_is_a_fault_with_a_remedy(daemon, command):
    url = daemon.plain.replace("127.0.0.1", "127.1")  # which is an address to the resolver alone
    said = refused(*command, "--url", url, STATUSD_TOKEN=TOKEN)
    assert 'does not answer to the name "127.1": list it in [http] hosts' in said


def test_plain_http_to_the_port_with_tls_is_told_so(daemon):
    url = daemon.secure.replace("https:", "http:")
    assert "This port speaks TLS: ask again with https." in refused("show", "--url", url, STATUSD_TOKEN=TOKEN)


# The stop


def read_until(sock, ending):
    data = b""
    while ending not in data and (chunk := sock.recv(1 << 16)):
        data += chunk
    return data


def read_all(sock):
    data = b""
    while chunk := sock.recv(1 << 16):
        data += chunk
    return data


def request(path):
    return b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + BEARER + b"\r\n"


class Http2:
    """A client that speaks HTTP/2: one stream, and what came on it."""

    def __init__(self, sock, path):
        self.sock = sock
        self.body = b""
        self.is_whole = False
        self._http = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._http.initiate_connection()
        fields = [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        self._http.send_headers(1, [*fields, ("authorization", f"Bearer {TOKEN}")], end_stream=True)
        sock.sendall(self._http.data_to_send())

    def read(self, ending=None):
        """Read until `ending` is in the body, or to the end of the connection."""
        while ending is None or ending not in self.body:
            data = self.sock.recv(1 << 16)
            if not data:
                return
            for event in self._http.receive_data(data):
                if isinstance(event, DataReceived):
                    self.body += event.data
                    self._http.acknowledge_received_data(event.flow_controlled_length, 1)
                self.is_whole = self.is_whole or isinstance(event, StreamEnded)
            with contextlib.suppress(OSError):  # it may be gone already
                self.sock.sendall(self._http.data_to_send())


def deaf(sock):
    """Ask on `sock` for more than it takes, and read nothing."""
    sock.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while True:
            sock.sendall(request(b"/") * 50)


def test_sigterm_ends_clients_with_tls_in_time_and_every_answer_is_whole(tmp_path):
    with started(tmp_path) as daemon, contextlib.ExitStack() as clients:

        def dial(*protocols):
            return clients.enter_context(daemon.dial(*protocols))

        def plain_socket():
            address = ("127.0.0.1", int(daemon.secure.rpartition(":")[2]))
            return clients.enter_context(socket.create_connection(address, timeout=DEADLINE))

        plain_socket()  # never begins its handshake
        plain_socket().sendall(b"\x16\x03\x01\x02\x00\x01")  # nor ends it
        dial()
        dial("h2").sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        stream = dial()
        stream.sendall(request(b"/events"))
        read_until(stream, b"event: snapshot")
        stream_h2 = Http2(dial("h2"), "/events")
        stream_h2.read(b"event: snapshot")
        asked = dial()
        asked.sendall(request(b"/state/models"))
        revision = re.search(rb'"revision":(\d+)', read_until(asked, b"}}"))
        news = f"/state/models?wait=60&since={revision[1].decode()}"
        poll = dial()
        poll.sendall(request(news.encode()))
        poll_h2 = Http2(dial("h2"), news)
        for _ in range(5):
            deaf(dial())
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        [answer] = parse(read_all(poll))
        poll_h2.read()
        stream_h2.read()
        ended = read_all(stream)
        assert daemon.process.wait(DEADLINE) == 0
        assert time.monotonic() - began < MOST
        assert json.loads(answer.body)["path"] == json.loads(poll_h2.body)["path"] == "models"
        assert answer.headers["connection"].lower() == "close"
        assert poll_h2.is_whole
        assert stream_h2.is_whole
        assert ended.endswith(b"0\r\n\r\n")
