"""SIGTERM to the console script while everybody is there at once."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.stages import configured
from tests.web.client import parse

STREAMS, POLLS, DEAF = 100, 20, 20
MOST = 10
"""Seconds that the stop may take; after 4.5 the daemon ends itself with the exit code 1, and a busy host takes its time."""
END = b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@pytest.fixture
def daemon(tmp_path):
    """Return the running process and its address."""
    config = tmp_path / "statusd.toml"
    config.write_text(configured('[http]\nbind = ["127.0.0.1:0"]\n[sources.m]\nplugin = "mock"\n'))
    process = subprocess.Popen(
        [sys.executable, "-m", "statusd", "run", "--config", str(config)],
        env=dict(os.environ),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if ready := re.search(r"is ready on http://127\.0\.0\.1:(\d+)", line):
                break
        yield process, ("127.0.0.1", int(ready[1]))
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def dial(clients, address, data):
    """Connect and send `data`, as far as the daemon takes it."""
    sock = clients.enter_context(socket.create_connection(address, timeout=MOST))
    sock.sendall(data)
    return sock


def read_to(sock, ending):
    """Return what comes up to and with `ending`, or the end."""
    data = b""
    while ending not in data and (chunk := sock.recv(1 << 20)):
        data += chunk
    return data


def read_all(sock):
    """Return what comes up to the end."""
    data = b""
    while chunk := sock.recv(1 << 20):
        data += chunk
    return data


def stuff(sock, data):
    """Send `data` again and again, until nobody takes any more of it."""
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(data)


def newest(address):
    """Return the newest revision of the tree."""
    with contextlib.closing(socket.create_connection(address, timeout=MOST)) as sock:
        sock.sendall(b"GET /state HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        [answer] = parse(read_all(sock))
    return json.loads(answer.body)["revision"]


def test_sigterm_ends_everything_in_time_and_every_answer_that_was_begun_is_whole(daemon):
    process, address = daemon
    with contextlib.ExitStack() as clients:
        streams = [dial(clients, address, b"GET /events" + END) for _ in range(STREAMS)]
        for stream in streams:
            assert b"event: snapshot" in read_to(stream, b"event: snapshot")
        target = b"GET /state?since=%d&wait=60" % newest(address)
        polls = [dial(clients, address, target + END) for _ in range(POLLS)]
        deaf = [dial(clients, address, (b"GET /openapi.json" + END) * 10) for _ in range(DEAF)]
        for sock in deaf:
            stuff(sock, (b"GET /openapi.json" + END) * 100)
        assert newest(address)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        for poll in polls:
            [answer] = parse(read_all(poll))
            assert (answer.status, answer.headers["connection"]) == (200, "close")
        for stream in streams:
            assert read_all(stream).endswith(LAST_CHUNK)
        assert process.wait(2 * MOST) == 0
        assert time.monotonic() - began < MOST
