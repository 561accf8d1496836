"""The page of the real daemon, in a process of its own, while upstreams change and the daemon comes and goes."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from statusd.testing.behaviours import Answer
from statusd.testing.omnirt import OmniRT
from statusd.testing.takeoff import NOT_AVAILABLE, Takeoff
from tests.browser.test_live import OUTAGE
from tests.openapi import held
from tests.stages import configured
from tests.web.trees import HOSTILE

pytestmark = pytest.mark.browser

STATUSD = Path(sys.executable).with_name("statusd")
CONFIG = """
[sources.inference]
plugin = "takeoff"
url = "{takeoff}"
interval = {interval}
[sources.omnirt]
plugin = "omnirt"
endpoint = "{omnirt}"
interval = {interval}
[sources.mock]
plugin = "mock"
[sources.absent]
plugin = "takeoff"
url = ""
[models]
mock = "mock"
flashtalk = ["omnirt", "mock"]
wav2lip = "omnirt"
"""
READ = """() => Object.fromEntries([...document.querySelectorAll("main [id]:not([id^=page-])")].map((one) => {
    const own = (name) => one.querySelector(`:scope > .${name}, :scope > .line .${name}`);
    const facts = [...one.querySelectorAll(":scope > .facts dt")];
    return [one.id, {
        status: own("status").innerText, message: own("message").textContent,
        since: own("since").getAttribute("datetime"), parent: one.parentElement.closest("[id]").id,
        facts: Object.fromEntries(facts.map((name) => [name.textContent, name.nextSibling.textContent])),
    }];
}))"""
SERVING = {"backend", "source", "candidates"}


@attrs.define(eq=False, kw_only=True)
class Host:
    """Upstreams in a thread, and a daemon that looks after them."""

    takeoff: Takeoff
    omnirt: OmniRT
    token: trio.lowlevel.TrioToken
    folder: Path
    port: int
    process: subprocess.Popen | None = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def start(self, interval=0.1, http=""):
        """Run the daemon until `stop`, with more keys of ``[http]``, and wait until it answers."""
        config = CONFIG.format(takeoff=self.takeoff.url, omnirt=self.omnirt.url, interval=interval)
        config = f"[http]\n{http}{config}"
        (self.folder / "statusd.toml").write_text(configured(config))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    STATUSD,
                    "run",
                    "--config",
                    self.folder / "statusd.toml",
                    "--bind",
                    f"127.0.0.1:{self.port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

    def stop(self):
        """End the daemon in order."""
        if self.process is not None:
            self.process.terminate()
            assert self.process.wait(20) == 0
            self.process = None

    def upstream(self, act, *rest):
        """Call something of an upstream in its own thread."""
        return trio.from_thread.run_sync(act, *rest, trio_token=self.token)

    def state(self, path=""):
        def fetch(path):
            with urllib.request.urlopen(f"{self.url.rstrip('/')}{path}", timeout=5) as answer:
                return answer.status, answer.headers, answer.read()

        return json.loads(held(fetch, f"/state{path}")[2])

    def nodes(self):
        """Return what the page must show: path -> node."""
        shown = {}

        def note(path, node, parent):
            if path:
                facts = {
                    name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                    for name, value in node["facts"].items()
                    if not (path.startswith("models/") and name in SERVING)
                }
                shown[path] = {name: node[name] for name in ("status", "message", "since")}
                shown[path] |= {"facts": facts, "parent": parent or "page-wings"}
            for segment, child in node["children"].items():
                note(f"{path}/{segment}" if path else segment, child, path)

        note("", self.state()["node"], "")
        return shown

    def _answers(self):
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", self.port), 1).close() is None
        return False


@pytest.fixture
def host(tmp_path):
    """Upstreams on loopback, and a daemon that is started and stopped by the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ready, made, ends = threading.Event(), [], []

    async def run():
        async with Takeoff() as takeoff, OmniRT() as omnirt:
            ends.append(trio.Event())
            token = trio.lowlevel.current_trio_token()
            made.append(Host(takeoff=takeoff, omnirt=omnirt, token=token, folder=tmp_path, port=port))
            ready.set()
            await ends[0].wait()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    assert ready.wait(20)
    host = made[0]
    try:
        yield host
    finally:
        if host.process is not None:
            host.process.kill()
            host.process.wait()
        host.token.run_sync_soon(ends[0].set)
        thread.join(20)
    assert not thread.is_alive()


def scenes(host):
    """Return what happens upstream, each with a node and the reason that shows that the daemon has seen it."""
    takeoff, omnirt = host.takeoff, host.omnirt

    def fails(behaviour):
        takeoff.behaviour = behaviour

    return [
        (lambda: takeoff.put("generate-1", "loading", model_name="m"), "/sources/inference", "loading"),
        (lambda: takeoff.put("generate-1", "live", model_name="m"), "/sources/inference", "ok"),
        (lambda: takeoff.put("embed/1", "dead", model_name=HOSTILE[1]), "/sources/inference", "some_dead"),
        (lambda: omnirt.connect("flashtalk"), "/models/flashtalk", "ok"),
        (lambda: omnirt.connect("wav2lip"), "/models/wav2lip", "ok"),
        (lambda: omnirt.drop("wav2lip", HOSTILE[0]), "/models/wav2lip", "not_connected"),
        (lambda: fails(NOT_AVAILABLE[1]), "/sources/inference", "unavailable"),
        (lambda: takeoff.remove("embed/1"), "/sources/inference", "unavailable"),
        (lambda: fails(Answer()), "/sources/inference", "ok"),
    ]


def test_what_is_on_the_screen_is_what_state_says_after_every_change(host, look):
    host.start()
    looked = look(host.url)
    for act, path, reason in scenes(host):
        host.upstream(act)
        looked.until(
            lambda path=path: host.state(path)["node"]["reason"], lambda found, reason=reason: found == reason
        )
        looked.until(lambda: (looked.page.evaluate(READ), host.nodes()), lambda both: both[0] == both[1])
    assert looked.text("#page-lost") == ""
    events = [url for url in looked.requests if url.endswith("/events")]
    assert len(events) == 1, "one stream, all the time"
    host.stop()


def test_the_page_says_that_the_daemon_has_gone_and_follows_the_next_one(host, look):
    host.start()
    looked = look(host.url, allowed=OUTAGE)
    looked.until(lambda: looked.page.evaluate(READ) == host.nodes())
    before = int(looked.text("#page-revision"))
    host.stop()
    looked.until_text("#page-lost", "The connection is lost: what this page shows may be old.")
    assert looked.page.evaluate(READ), "what was known stays to be read"
    host.upstream(host.takeoff.put, "generate-1", "dead")
    host.start()
    looked.until(lambda: looked.text("#page-lost") == "")
    looked.until(
        lambda: host.state("/sources/inference")["node"]["reason"], lambda reason: reason == "all_dead"
    )
    looked.until(lambda: (looked.page.evaluate(READ), host.nodes()), lambda both: both[0] == both[1])
    assert int(looked.text("#page-revision")) > before
    looked.page.close()
    host.stop()


def test_looking_causes_no_probe(host, look):
    host.start(interval=3600)
    looked = look(host.url)
    looked.until(lambda: len(host.takeoff.targets) == 1 and len(host.omnirt.targets) >= 1)
    probed = len(host.takeoff.targets), len(host.omnirt.targets)
    for asked in range(2, 6):
        looked.wake()
        looked.until(
            lambda asked=asked: len([url for url in looked.requests if url.endswith("/state")]) >= asked
        )
    looked.until(lambda: looked.page.evaluate(READ) == host.nodes())
    assert (len(host.takeoff.targets), len(host.omnirt.targets)) == probed
    looked.page.close()
    host.stop()


def test_the_page_is_sent_with_its_policy(host):
    host.start()
    with urllib.request.urlopen(host.url, timeout=5) as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'sha256-")
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["ETag"]
    host.stop()


TOKEN = "s3cret-t0ken"


def test_where_a_token_is_wanted_the_page_lives_by_the_password_that_the_browser_asks_for(host, look):
    (host.folder / "token").write_text(TOKEN)
    host.start(http=f'token = {{ file = "{host.folder}/token" }}\n')
    credentials = {"username": "anybody", "password": TOKEN}
    looked = look(host.url, allowed=("401 (Unauthorized)",), http_credentials=credentials)
    looked.until(lambda: "/events" in str(looked.requests))
    for state in ("loading", "live"):
        host.upstream(partial(host.takeoff.put, "generate-1", state, model_name="m"))
        looked.until(
            lambda: looked.page.evaluate(READ).get("sources/inference/readers/generate-1", {}).get("status"),
            lambda status, state=state: status == {"loading": "degraded", "live": "ok"}[state],
        )
    assert looked.text("#page-lost") == ""
    looked.page.close()
    host.stop()


def test_without_the_password_there_is_no_page_and_by_a_strangers_name_it_says_what_to_do(host, chromium):
    (host.folder / "token").write_text(TOKEN)
    host.start(http=f'token = {{ file = "{host.folder}/token" }}\n')
    context = chromium.new_context(http_credentials={"username": "anybody", "password": "wrong"})
    page = context.new_page()
    for url, status, remedy in (
        (host.url, 401, "Authorization: Bearer"),
        (host.url.replace("127.0.0.1", "evil.localhost"), 421, "[http] hosts"),
    ):
        assert page.goto(url).status == status
        assert remedy in page.locator("body").inner_text()
    context.close()
    host.stop()
