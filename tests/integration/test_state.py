"""State over restarts: the real daemon, killed and started again while its upstreams hang."""

import contextlib
import http.server
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from statusd.model.kept import decode
from statusd.web.bodies import timestamp
from tests.integration.test_service import eventually, start

__all__ = ["start"]  # a fixture
KILLS = Path(__file__).parents[2] / "benchmarks" / "kills.py"


class Upstream(http.server.ThreadingHTTPServer):
    """Answers 200, or nothing at all while it is held."""

    daemon_threads = True

    def __init__(self):
        self.goes_on = threading.Event()
        self.goes_on.set()
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.goes_on.wait()
        with contextlib.suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def upstream():
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.goes_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def state(tmp_path):
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path / "state"


def config(upstream, *, path="", timeout=20, more=""):
    return f"""
[sources.web]
plugin = "http"
url = "http://127.0.0.1:{upstream.server_port}/{path}"
interval = 0.1
timeout = {timeout}
[sources.away]
plugin = "http"
url = "http://127.0.0.1:1/"
interval = 0.1
required = false
[sources.idle]
plugin = "takeoff"
{more}
[models]
m = ["web", "away"]
"""


def running(start, state, text):
    daemon = start(config=text, environ={"STATE_DIRECTORY": str(state)})
    daemon.wait_for("READY")
    return daemon


def kept(state, upstream, start, text=None):
    """Run a daemon until what it found is kept, kill it, and have the upstream hang; return the file's content."""
    daemon = running(start, state, text or config(upstream))
    eventually(lambda: (state / "snapshot").exists() and b'"web":{' in (state / "snapshot").read_bytes())
    daemon.signalled(signal.SIGKILL)
    upstream.goes_on.clear()
    return decode((state / "snapshot").read_bytes())


def test_after_a_kill_the_tree_and_the_models_start_from_what_was_kept(start, state, upstream):
    before = kept(state, upstream, start)
    daemon = running(start, state, config(upstream))
    node = daemon.get("/state/sources/web")["node"]
    assert (node["status"], node["restored"]) == ("ok", True)
    assert node["observed_at"] == timestamp(before.sources["web"].observed_at)
    assert daemon.get("/state/daemon/state")["node"]["facts"] == {"directory": str(state), "restored": 2}
    status, headers, body = daemon.fetch("/models")
    assert status == 200
    assert b'"connected":true' in body
    assert "detail=restored" in headers["Cache-Status"]
    assert daemon.fetch("/readyz")[0] == 503
    assert daemon.fetch("/readyz/models/m")[0] == 200
    tree = daemon.get("/state")
    assert tree["revision"] > before.revision
    assert tree["node"]["restored"] is True
    assert tree["node"]["children"]["sources"]["children"]["idle"]["status"] == "off"
    since = tree["node"]["children"]["models"]["children"]["m"]["since"]
    upstream.goes_on.set()
    eventually(lambda: not daemon.get("/state")["node"]["restored"])
    assert daemon.get("/state/models/m")["node"]["since"] == since
    assert "detail" not in daemon.fetch("/models")[1]["Cache-Status"]
    assert daemon.fetch("/readyz")[0] == 200
    assert any("start from what was kept at" in line for line in daemon.log())
    assert not any("models/m:" in line for line in daemon.log())  # it stands as it stood


def test_an_upstream_that_times_out_ends_what_was_kept_of_it(start, state, upstream):
    kept(state, upstream, start, config(upstream, timeout=1.5))
    daemon = running(start, state, config(upstream, timeout=1.5))
    assert daemon.get("/state/sources/web")["node"]["restored"] is True
    node = eventually(
        lambda: (found := daemon.get("/state/sources/web")["node"])["status"] == "down" and found
    )
    assert (node["reason"], node["restored"]) == ("timeout", False)


def test_a_source_that_asks_elsewhere_starts_anew(start, state, upstream):
    kept(state, upstream, start)
    daemon = running(start, state, config(upstream, path="other"))
    node = daemon.get("/state/sources/web")["node"]
    assert (node["status"], node["reason"], node["restored"]) == ("unknown", "pending", False)
    assert daemon.get("/state/daemon/state")["node"]["facts"]["restored"] == 1


def test_a_reload_keeps_what_stands_from_before_the_restart_and_restores_nothing(start, state, upstream):
    kept(state, upstream, start)
    daemon = running(start, state, config(upstream))
    file = daemon.errors.parent / "statusd.toml"
    before = daemon.get("/state/sources/web")["node"]
    file.write_text(file.read_text().replace("[sources.away]\n", "[sources.away]\ntimeout = 1\n"))
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: daemon.get("/state/daemon/config")["node"]["facts"]["generation"] == 2)
    after = daemon.get("/state/sources/web")["node"]
    assert (after["restored"], after["observed_at"], after["since"]) == (
        True,
        before["observed_at"],
        before["since"],
    )
    assert daemon.get("/state/sources/away")["node"]["restored"] is False
    assert daemon.get("/state/daemon/state")["node"]["facts"]["restored"] == 2


def test_a_stop_in_order_keeps_the_last_word(start, state, upstream):
    daemon = running(start, state, config(upstream))
    eventually(lambda: daemon.get("/state/sources/web")["node"]["status"] == "ok")
    observed_at = daemon.get("/state/sources/web")["node"]["observed_at"]
    assert daemon.signalled()[0] == 0
    found = decode((state / "snapshot").read_bytes())
    assert found.sources["web"].reports[0].status == "ok"
    assert timestamp(found.sources["web"].observed_at) >= observed_at
    assert sorted(path.name for path in state.iterdir()) == ["revision", "snapshot"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "newer"])
def test_a_file_that_cannot_be_used_is_set_aside_and_told(start, state, upstream, damage):
    kept(state, upstream, start)
    path = state / "snapshot"
    data = bytearray(path.read_bytes())
    match damage:
        case "cut":
            del data[-1:]
        case "flipped":
            data[-20] ^= 1
        case "foreign":
            data[:] = os.urandom(1000)
        case "newer":
            data[14:15] = b"2"
    path.write_bytes(data)
    daemon = running(start, state, config(upstream))
    node = daemon.get("/state/daemon/state")["node"]
    assert (node["status"], node["reason"], node["facts"]["restored"]) == ("degraded", "state_set_aside", 0)
    assert any("cannot be used" in line for line in daemon.log())
    assert daemon.get("/state/sources/web")["node"]["reason"] == "pending"
    assert (state / "snapshot.damaged").read_bytes() == data
    eventually(lambda: path.exists() and decode(path.read_bytes()))


def test_a_directory_that_is_not_there_is_told_and_taken_once_it_is(start, tmp_path, upstream):
    state = tmp_path / "absent"
    daemon = running(start, state, config(upstream))
    node = eventually(
        lambda: (found := daemon.get("/state/daemon/state")["node"])["status"] == "degraded" and found
    )
    assert node["reason"] == "state_not_kept"
    assert daemon.get("/health") == {"status": "ok"}
    state.mkdir()
    # What it writes at the end it would write by itself, too, ten seconds after it last tried.
    assert daemon.signalled()[0] == 0
    assert decode((state / "snapshot").read_bytes()).sources["web"].reports[0].status == "ok"


@pytest.fixture
def tiny(tmp_path):
    """A file system with room for some small files."""
    place = tmp_path / "tiny"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("a tmpfs can be mounted by root only, and not in every container")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_told_and_leaves_what_was_kept_before(start, tiny, upstream):
    before = kept(tiny, upstream, start)
    content = (tiny / "snapshot").read_bytes()
    with contextlib.suppress(OSError), (tiny / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1024))
    daemon = running(start, tiny, config(upstream))
    node = eventually(
        lambda: (found := daemon.get("/state/daemon/state")["node"])["status"] == "degraded" and found
    )
    assert node["reason"] == "state_not_kept"
    assert "free some space there" in node["message"]
    assert node["facts"]["restored"] == len(before.sources)
    assert daemon.get("/state/sources/web")["node"]["restored"] is True
    assert (tiny / "snapshot").read_bytes() == content
    assert [path.name for path in tiny.iterdir() if path.name.endswith(".new")] == []
    (tiny / "filler").unlink()
    upstream.goes_on.set()
    assert daemon.signalled()[0] == 0  # likewise
    assert decode((tiny / "snapshot").read_bytes()).revision > before.revision


def test_without_a_state_directory_it_is_off(start, upstream):
    daemon = start(config=config(upstream))
    daemon.wait_for("READY")
    node = daemon.get("/state/daemon/state")["node"]
    assert (node["status"], node["reason"]) == ("off", "not_configured")


def test_after_kills_at_random_moments_what_is_served_is_what_was_kept():
    done = subprocess.run(
        [sys.executable, str(KILLS), "--kills", "5", "--longest", "0.8", "--seed", "7"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_stands_as_before_is_no_transition_after_a_restart(start, state, upstream):
    daemon = running(start, state, config(upstream))
    eventually(lambda: (state / "snapshot").exists() and b'"web":{' in (state / "snapshot").read_bytes())
    daemon.signalled(signal.SIGTERM)
    again = running(start, state, config(upstream))
    eventually(lambda: not again.get("/state/sources/web")["node"]["restored"])
    again.signalled(signal.SIGTERM)
    said = again.log()
    assert any("2 of 2 sources start from what was kept" in line for line in said)
    assert [line for line in said if " -> " in line and not line.startswith("<6>daemon/")] == []
