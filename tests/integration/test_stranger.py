"""A stranger's plugin: installed into a fresh environment beside statusd, it has its model and its endpoint served.

The fresh environment gets statusd and the example by pip, as wheels built from this checkout. Their dependencies are
borrowed, not installed again: a path file names the site-packages of the environment that runs the tests, which Python
puts behind the fresh one. What is borrowed so is importable but unregistered: path files in there (of an editable
statusd, say) are not read, so that only the wheels can provide statusd and its plugins.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.openapi import held
from tests.stages import configured

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "contrib" / "statusd-example"
PATIENCE = 20.0
"""Seconds that a real process may take for what it does at once when it works."""

pytestmark = pytest.mark.timeout(900)  # pip builds two wheels, and may have to fetch what builds them


def ran(*command: object, cwd: Path | None = None) -> str:
    """Run a command that has to succeed, and return what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def environment() -> dict[str, str]:
    """Return an environment in which neither this checkout nor a configuration of the user's shows."""
    hidden = ("PYTHON", "STATUSD", "OPENTALKING", "COVERAGE", "COV_CORE", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the two distributions, and nothing else of its own."""
    home = tmp_path_factory.mktemp("stranger") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python3*/site-packages")
    borrowed = dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    python = home / "bin" / "python"
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--force-reinstall")
    # pip itself is borrowed too. It builds in an environment of its own, with the build tools that the two name.
    ran(python, "-m", "pip", "install", *quiet, ROOT, EXAMPLE, cwd=home)
    return home


@attrs.define(eq=False)
class LlamaServer:
    """What a llama.cpp server answers, on a real socket outside of trio."""

    busy: list[bool] = attrs.field(factory=lambda: [True, False])
    port: int = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve on loopback."""
        llama = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                slots = [{"id": number, "is_processing": one} for number, one in enumerate(llama.busy)]
                found = {"/slots": slots, "/health": {"status": "ok"}}.get(self.path)
                body = json.dumps(found).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


def get(url: str) -> Any:
    """Return the JSON at `url`, or None while nothing answers there."""
    base, path = re.fullmatch(r"(http://[^/]+)(/.*)", url).groups()

    def fetch(path: str) -> tuple[int, Any, bytes]:
        with urllib.request.urlopen(base + path, timeout=5) as answer:
            return answer.status, answer.headers, answer.read()

    try:
        return json.loads(held(fetch, path)[2])
    except (urllib.error.URLError, ConnectionError):
        return None


def eventually(url: str, wanted: object) -> None:
    """Ask until the answer is `wanted`."""
    deadline = time.monotonic() + PATIENCE
    while (found := get(url)) != wanted:
        assert time.monotonic() < deadline, f"{url} answers {found}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def daemon(home: Path, config: Path) -> Iterator[str]:
    """Run the installed console script, yield its URL, and want it to stop cleanly."""
    bind = f"127.0.0.1:{free_port()}"
    with (config.parent / "log").open("w+") as log:
        process = subprocess.Popen(
            [home / "bin" / "statusd", "run", "--config", config, "--bind", bind],
            cwd=home,
            env=environment(),
            stdout=log,
            stderr=log,
        )
        try:
            yield f"http://{bind}"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        except BaseException:
            sys.stderr.write((config.parent / "log").read_text())
            raise
        finally:
            process.kill()
            process.wait()


def status(*, connected: bool) -> dict[str, Any]:
    reason = "llamacpp_slots" if connected else "llamacpp_slots_unavailable"
    row = {"id": "tiny", "backend": "llamacpp_slots", "connected": connected, "reason": reason}
    return {"models": ["tiny"], "statuses": [row]}


def test_its_model_and_its_endpoint_are_served(fresh, tmp_path):
    llama = LlamaServer()
    with llama.running():
        config = tmp_path / "statusd.toml"
        text = (
            '[sources.llama]\nplugin = "llamacpp_slots"\ninterval = 0.2\n'
            f'url = "http://127.0.0.1:{llama.port}"\n\n[models]\ntiny = "llama"\n'
        )
        config.write_text(configured(text))
        with daemon(fresh, config) as url:
            eventually(f"{url}/models", status(connected=True))
            eventually(f"{url}/slots", {"sources": [{"name": "llama", "busy": 1, "total": 2}]})
            llama.busy = [True, True, True]
            eventually(f"{url}/slots", {"sources": [{"name": "llama", "busy": 3, "total": 3}]})
            node = get(f"{url}/state/sources/llama")["node"]
            assert (node["status"], node["reason"]) == ("degraded", "busy")
            assert get(f"{url}/models") == status(connected=True)
            llama.busy = []  # no list of slots that a llama.cpp server could have
            eventually(f"{url}/slots", {"sources": [{"name": "llama", "busy": None, "total": None}]})
            assert get(f"{url}/models") == status(connected=False)


def test_it_is_listed_and_stays_unloaded_until_a_source_names_it(fresh, tmp_path):
    config = tmp_path / "statusd.toml"
    config.write_text(configured('[sources.host]\nplugin = "local"\n'))
    listed = json.loads(ran(fresh / "bin" / "statusd", "plugins", "--json", "--config", config))
    rows = {row["name"]: row for row in (listed["plugins"] if isinstance(listed, dict) else listed)}
    assert rows["llamacpp_slots"]["distribution"] == "statusd-example"
    with daemon(fresh, config) as url:
        eventually(f"{url}/health", {"status": "ok"})
        assert get(f"{url}/slots") is None


def test_only_the_wheels_provide_statusd(fresh):
    """Else the tests above would prove something about the checkout."""
    code = "import statusd, statusd_plugins, statusd_example as e; print(statusd.__file__, statusd_plugins.__file__, e.__file__)"
    files = ran(fresh / "bin" / "python", "-c", code, cwd=fresh).split()
    assert len(files) == 3
    assert all(Path(file).is_relative_to(fresh) for file in files)


def test_its_own_tests_pass_there(fresh):
    printed = ran(fresh / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=EXAMPLE)
    assert " passed" in printed
