"""Whatever goes wrong during a reload, the daemon goes on as it was, whole."""

import json
import os
import sys
import threading
import types
from importlib.metadata import EntryPoint, entry_points

import attrs
import pytest
import trio

from statusd import Document, Sink, Url, View, hookimpl
from statusd.outcome import MOST, read
from statusd.redaction import Redactor
from statusd.reloading import LONGEST
from statusd.testing import Hang, OmniRT, Upstream
from tests.integration import faulty_plugins
from tests.integration.inprocess import DEADLINE
from tests.integration.reloads import reloading
from tests.integration.test_reload import http, omnirt, until

ANYWHERE = '[http]\nbind = ["127.0.0.1:0"]\n'
MOCK = '[sources.mock]\nplugin = "mock"\n'


@pytest.fixture
def install(monkeypatch):
    """Make a plugin module importable; returns it with the installed entry points."""

    def make(name, **namespace):
        module = types.ModuleType(f"faulty_{name}")
        vars(module).update(namespace)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return [*entry_points(group="statusd"), EntryPoint(name, module.__name__, "statusd")]

    return make


async def test_an_error_that_nobody_foresaw_fails_the_reload_and_not_the_daemon(
    tmp_path, caplog, monkeypatch
):
    async with reloading(tmp_path, "") as daemon:
        with monkeypatch.context() as patch:
            patch.setattr("tests.integration.reloads.plan", lambda *_, **__: 1 / 0)
            outcome = await daemon.reload(MOCK)
        assert (outcome.ok, outcome.code, outcome.generation) == (False, 1, 1)
        assert "ZeroDivisionError" in outcome.messages[0]
        assert "division by zero" in caplog.text
        assert (await daemon.client.node("daemon/config"))["reason"] == "reload_failed"
        assert (await daemon.reload(MOCK)).ok


async def test_an_error_that_nobody_foresaw_while_parts_are_built_changes_nothing(
    tmp_path, caplog, monkeypatch
):
    async with reloading(tmp_path, "") as daemon:
        with monkeypatch.context() as patch:
            patch.setattr("statusd.turning.build_service", lambda *_: 1 / 0)
            outcome = await daemon.reload(MOCK)
        assert (outcome.ok, outcome.code, outcome.generation) == (False, 1, 1)
        assert (await daemon.client.node("sources/mock"))["reason"] == "no such node"
        assert (await daemon.reload(MOCK)).ok


async def test_a_view_that_cannot_say_its_paths_is_not_told_of_where_the_reload_fails(tmp_path, install):
    @attrs.frozen(kw_only=True)
    class Pathless(View):
        name = "pathless"

        def paths(self):
            raise RuntimeError("paths")

        def render(self, path, snapshot):
            return Document(body=b"")

    points = install("pathless", **faulty_plugins.registering(view_type=Pathless))
    wanted = '[plugins]\nenabled = ["pathless"]\n'
    async with Upstream() as stranger, reloading(tmp_path, ANYWHERE, points=points, bind=None) as daemon:
        text = f'{wanted}[http]\nbind = ["127.0.0.1:{stranger.port}"]\n'
        assert not (await daemon.reload(text)).ok
        assert (await daemon.client.node("plugins/pathless"))["reason"] == "plugin_disabled"
        assert (await daemon.reload(wanted + ANYWHERE)).ok
        assert (await daemon.client.node("plugins/pathless"))["reason"] == "view_failed"


async def test_a_plugin_that_pretends_an_interrupt_fails_alone(tmp_path, install):
    def interrupt(registry):
        raise KeyboardInterrupt

    points = install("fake", **faulty_plugins.registering())
    vars(sys.modules["faulty_fake"])["statusd_register_sources"] = hookimpl(interrupt)
    async with reloading(tmp_path, "", points=points) as daemon:
        assert (await daemon.reload('[sources.it]\nplugin = "fake"\n')).ok
        assert (await daemon.client.node("sources/it"))["reason"] == "plugin_failed"


async def test_a_sink_that_hangs_is_left_alone_once_it_is_not_wanted_any_more(tmp_path, install, monkeypatch):
    monkeypatch.setattr("statusd.runtime.sinks.LEAVE", 0.2)
    ended = trio.Event()

    @attrs.frozen(kw_only=True)
    class Hanging(Sink):
        name = "hanging"

        async def consume(self, transition):
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

    points = install("hanging", **faulty_plugins.registering(sink_type=Hanging))
    async with reloading(tmp_path, '[plugins]\nenabled = ["hanging"]\n' + MOCK, points=points) as daemon:
        assert (await daemon.reload("")).ok
        with trio.fail_after(15):
            await ended.wait()


async def test_a_request_in_flight_is_answered_by_the_configuration_of_its_answer(tmp_path):
    async with OmniRT() as upstream:
        upstream.connect("flashtalk")
        async with reloading(
            tmp_path, omnirt(upstream, models=("flashtalk", "musetalk"), more="timeout = 3")
        ) as daemon:
            await daemon.client.until_reason("models/flashtalk", "ok")
            upstream.behaviour = Hang()
            answers = []

            async def ask():
                answers.append(
                    await daemon.client._http.get(
                        Url.parse(daemon.client.base + "/models"), headers={"Cache-Control": "no-cache"}
                    )
                )

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.sleep(0.5)
                assert (await daemon.reload(omnirt(upstream, more="timeout = 3"))).ok
            assert json.loads(answers[0].body)["models"] == ["flashtalk"]


async def test_a_stop_in_the_middle_of_a_reload_leaves_no_socket_behind(tmp_path):
    path = tmp_path / "http.sock"
    async with Upstream(behaviour=Hang()) as upstream, reloading(tmp_path, ANYWHERE, bind=None) as daemon:
        text = http("it", upstream, timeout=3) + f'[http]\nbind = ["unix:{path}"]\n'
        daemon.path.write_text(text)
        daemon.reloader.want()
        await until(path.exists)
        daemon.reloader.stop.set()
    assert not path.exists()


async def test_a_file_that_may_be_read_again_is_reloaded(tmp_path):
    async with reloading(tmp_path, "[reload]\nwatch = true\n") as daemon:
        seen = daemon.reloader.reading.signature()
        daemon.path.chmod(0o600)
        assert daemon.reloader.reading.signature() != seen


async def test_a_pipe_in_the_files_place_fails_its_own_reload_and_none_after_it(tmp_path, monkeypatch):
    monkeypatch.setattr("statusd.reloading.READING", 0.3)
    async with reloading(tmp_path, "") as daemon:
        pipe = daemon.path.with_name("pipe")
        os.mkfifo(pipe)
        before = read(daemon.outcomes)
        pipe.replace(daemon.path)
        daemon.reloader.want()
        outcome = await daemon.outcome_after(before)
        assert (outcome.ok, outcome.code) == (False, 1)
        assert "could not be read within" in outcome.messages[0]
        daemon.path.rename(pipe)
        monkeypatch.setattr("statusd.reloading.READING", 15)
        assert (await daemon.reload(MOCK)).ok
        os.close(os.open(pipe, os.O_RDWR))  # lets the one that waits there end


async def test_a_message_that_is_longer_than_any_outcome_is_told_in_short(tmp_path):
    # As many quotation marks as a file can hold are twice as many bytes in the file of outcomes.
    unknown = "[sources.x]\nplugin = '" + '"' * 600_000 + "'\n"
    async with reloading(tmp_path, MOCK) as daemon:
        outcome = await daemon.reload(MOCK + unknown)
        assert outcome.ok
        assert (outcome.messages[1][-1], len(outcome.messages[1])) == ("…", LONGEST)


async def test_of_many_mistakes_some_are_told_and_all_are_counted(tmp_path):
    masked = []

    class Counting(Redactor):
        def __call__(self, text):
            masked.append(text)
            return super().__call__(text)

    async with reloading(tmp_path, MOCK, redactor=Counting()) as daemon:
        outcome = await daemon.reload("[plugins]\n" + "".join(f"k{number:05}=1\n" for number in range(1000)))
        assert outcome.code == 78
        assert len(outcome.messages) == MOST
        assert "(and 999 more)" in (await daemon.client.node("daemon/config"))["message"]
        # The others would be masked on the event loop, and nobody see them.
        assert sum("plugins.k" in text for text in masked) < 200


async def test_a_fault_with_a_path_that_is_no_utf8_is_told(tmp_path):
    taken = os.fsdecode(bytes(tmp_path) + b"/\xff")
    (tmp_path / taken).write_text("")
    async with reloading(tmp_path, ANYWHERE, bind=None) as daemon:
        daemon.bind = [f"unix:{taken}"]
        outcome = await daemon.reload(ANYWHERE)
        assert (outcome.ok, outcome.code) == (False, 1)
        assert r"\udcff exists and is no socket" in outcome.messages[0]
        assert r"\udcff exists" in (await daemon.client.node("daemon/config"))["message"]


async def test_a_failed_reload_does_not_tell_the_faults_of_the_old_configuration_again(tmp_path, caplog):
    async with reloading(tmp_path, f'{ANYWHERE}token = {{ file = "{tmp_path}/missing" }}\n') as daemon:
        assert not (await daemon.reload("x =")).ok
        assert (await daemon.client.get("/healthz")).status == 200
    kinds = [record.event.kind.name for record in caplog.records if getattr(record, "event", None)]
    assert "reload_failed" in kinds
    assert kinds.count("config_fault") == 1


async def test_a_certificate_on_a_file_system_that_hangs_fails_the_reload_and_holds_nobody_up(
    tmp_path, monkeypatch
):
    hanging, hangs = threading.Event(), threading.Event()

    def hang(_):
        hangs.set()
        hanging.wait(DEADLINE)

    monkeypatch.setattr("statusd.listening.LOADING", 1.0)
    files = f'certificate = "{tmp_path}/cert.pem"\nkey = "{tmp_path}/key.pem"\n'
    async with reloading(tmp_path, ANYWHERE, bind=None) as daemon:
        before = read(daemon.outcomes)
        monkeypatch.setattr("statusd.listening.load_certificates", hang)
        daemon.path.write_text(f"{ANYWHERE.replace('127.', 'tls:127.')}[http.tls]\n{files}")
        daemon.reloader.want()
        while not hangs.is_set():
            await trio.sleep(0.005)
        assert (await daemon.client.get("/healthz")).status == 200
        assert read(daemon.outcomes) == before
        outcome = await daemon.outcome_after(before)
        hanging.set()
        assert (outcome.ok, outcome.code) == (False, 1)
        assert "see whether their file system hangs" in outcome.messages[0]
        assert (await daemon.reload(ANYWHERE + MOCK)).ok
