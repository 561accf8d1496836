"""Signals to the console script while a plugin does what keeps processes from ending."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.integration.strangers import write_distribution
from tests.stages import configured

DEADLINE = 20
PLUGIN = """
import threading
import attrs
import trio
from statusd import Report, Source, hookimpl

@attrs.frozen(kw_only=True)
class Clinging(Source):
    async def probe(self):
        {body}
        return Report.ok()

@hookimpl
def statusd_register_sources(registry):
    registry.add(Clinging)
"""
LEAVES_A_THREAD = "threading.Thread(target=threading.Event().wait, name='left').start()"
SHIELDS_ITSELF = "trio.CancelScope(shield=True).__enter__(); await trio.sleep_forever()"


@pytest.fixture
def clinging(tmp_path):
    """Write a plugin, and a configuration that uses it; returns the arguments and the environment of `run`."""

    def write(body):
        write_distribution(tmp_path, "clinging", {"clinging": "clinging_plugin"})
        (tmp_path / "clinging_plugin.py").write_text(PLUGIN.format(body=body))
        config = tmp_path / "statusd.toml"
        text = '[http]\nbind = ["127.0.0.1:0"]\n[sources.c]\nplugin = "clinging"\ninterval = 60\n'
        config.write_text(configured(text))
        return ["run", "--config", str(config)], {"PYTHONPATH": str(tmp_path)}

    return write


@contextlib.contextmanager
def started(arguments, environ):
    process = subprocess.Popen(
        [sys.executable, "-m", "statusd", *arguments],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def until(process, words):
    for line in process.stdout:
        if words in line:
            return line
    raise AssertionError(f"it ended without: {words}")


def stop(process, number):
    began = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=DEADLINE)
    return process.returncode, output, time.monotonic() - began


def test_a_thread_that_a_plugin_left_behind_does_not_keep_the_process(clinging):
    with started(*clinging(LEAVES_A_THREAD)) as process:
        until(process, "is ready")
        code, output, took = stop(process, signal.SIGTERM)
    assert code == 0
    assert took < 3
    assert "threads that plugins started do not end (left)" in output


def test_a_probe_that_cannot_be_cancelled_delays_the_stop_for_less_than_five_seconds(clinging):
    with started(*clinging(SHIELDS_ITSELF)) as process:
        ready = until(process, "is ready")
        port = int(re.search(r"127\.0\.0\.1:(\d+)", ready)[1])
        with socket.create_connection(("127.0.0.1", port)) as idle:
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert idle.recv(1) == b""  # clients are seen off in order all the same
            assert time.monotonic() - began < 3
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        output, _ = process.communicate(timeout=DEADLINE)
        took = time.monotonic() - began
    assert process.returncode == 1
    assert 4 < took < 5.5
    assert "source c does not end within 4.5 s of the signal; the process ends without it" in output


def test_ctrl_c_ends_a_probe_and_is_no_fault_of_the_plugin(tmp_path):
    config = tmp_path / "statusd.toml"
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        config.write_text(f'[sources.slow]\nplugin = "takeoff"\nurl = "{url}"\ntimeout = 60\n')
        with started(["probe", "slow", "--config", str(config)], {}) as process:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                code, output, _ = stop(process, signal.SIGINT)
    assert (code, output) == (130, "")
