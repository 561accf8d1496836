"""Whatever a plugin does, no other source and no endpoint is harmed, and tree and log say what happened."""

import logging
import sys
import types
from functools import partial
from importlib.metadata import EntryPoint, entry_points

import attrs
import pytest
import trio

from statusd import Document, Sink, View
from tests.integration import faulty_plugins
from tests.integration.inprocess import running

ENTRY = """
[sources.{name}]
plugin = "{name}"
interval = 0.1
timeout = 0.2
ttl = 10
"""
HEALTHY = """
[sources.mock]
plugin = "mock"
interval = 0.05
[models]
mock = "mock"
{models}
"""


@pytest.fixture
def install(monkeypatch):
    """Make plugin modules importable beside the installed ones; returns all entry points."""

    def make(**namespaces):
        points = list(entry_points(group="statusd"))
        for name, namespace in namespaces.items():
            module = types.ModuleType(f"faulty_{name}")
            vars(module).update(namespace)
            monkeypatch.setitem(sys.modules, module.__name__, module)
            points.append(EntryPoint(name, module.__name__, "statusd"))
        return points

    yield make
    faulty_plugins.RELEASE.set()


async def test_plugins_that_do_everything_wrong_at_once_harm_nobody(install, caplog):
    caplog.set_level(logging.INFO)
    namespaces = {
        name: faulty_plugins.registering(kind) for name, (kind, _) in faulty_plugins.SOURCES.items()
    }
    namespaces["raises_at_registration"] = faulty_plugins.raising_at_registration()
    points = [*install(**namespaces), EntryPoint("raises_at_import", "no_such_module_at_all", "statusd")]
    names = [*namespaces, "raises_at_import", "never_installed"]
    reasons = {name: allowed for name, (_, allowed) in faulty_plugins.SOURCES.items()}
    reasons |= {"raises_at_registration": {"plugin_failed"}, "raises_at_import": {"plugin_failed"}}
    reasons["never_installed"] = {"plugin_missing"}
    models = "\n".join(f'"model of {name}" = "{name}"' for name in names)
    text = "".join(ENTRY.format(name=name) for name in names) + HEALTHY.format(models=models)
    async with running(text, {}, points=points) as client:
        for name in names:
            node = await client.until_reason(f"sources/{name}", *reasons[name])
            assert node["status"] in {"unknown", "down"}
            assert node["message"]
        for _ in range(20):  # many probes later, everybody else is still served
            await trio.sleep(0.05)
            assert (await client.json("/health")) == {"status": "ok"}
            found = await client.models()
            assert found.pop("mock")["connected"]
            assert {one["connected"] for one in found.values()} == {False}
            assert (await client.get("/status")).status == 503
            assert (await client.get("/queue/status")).status == 200
        for name in ("raises_at_import", "raises_at_registration"):
            assert (await client.node(f"plugins/{name}"))["reason"] == "plugin_failed"
        for name in ("returns_nan", "returns_cycle", "returns_huge", "raises_in_probe", "exits_in_probe"):
            lines = [record for record in caplog.records if f"source {name}:" in record.getMessage()]
            assert len(lines) == 1, [line.getMessage() for line in lines]
        transitions = [one.getMessage() for one in caplog.records if one.name == "statusd.transitions"]
        assert len(transitions) == len(set(transitions))


async def test_what_no_source_can_show_of_the_surroundings_stands_at_the_configuration(caplog):
    plugins = '[plugins]\nenabled = ["never_installed"]\ndisabled = ["redis_queue"]\n'
    text = plugins + "[views.elsewhere]\nkey = 1\n" + HEALTHY.format(models="")
    async with running(text, {}) as client:
        node = await client.node("daemon/config")
        assert (node["status"], node["reason"]) == ("degraded", "config_fault")
        assert 'views.elsewhere: No loaded plugin brings a view "elsewhere"' in node["message"]
        assert (await client.node("daemon"))["status"] == "degraded"
    for told in ("views.elsewhere: ", 'plugins.enabled[0]: No plugin "never_installed" is installed'):
        assert told in caplog.text


async def test_a_view_that_raises_fails_its_own_endpoint_only_and_is_logged_once(install, caplog):
    points = install(broken_view=faulty_plugins.registering(view_type=faulty_plugins.BrokenView))
    text = '[plugins]\nenabled = ["broken_view"]\n' + HEALTHY.format(models="")
    async with running(text, {}, points=points) as client:
        for _ in range(5):
            answer = await client.get("/broken")
            assert (answer.status, answer.headers["content-type"]) == (500, "application/problem+json")
            assert (await client.models())["mock"]["connected"]
        await client.until_reason("plugins/broken_view", "view_failed")
        assert caplog.text.count("RuntimeError: /broken") == 1


async def test_a_view_is_failing_until_all_of_its_paths_work_again(install):
    broken = set()

    @attrs.frozen(kw_only=True)
    class TwoPaths(View):
        name = "two_paths"

        def paths(self):
            return ("/one", "/two")

        def render(self, path, snapshot):
            if path in broken:
                raise RuntimeError(path)
            return Document(body=str(snapshot.version).encode())

    points = install(two_paths=faulty_plugins.registering(view_type=TwoPaths))
    text = '[plugins]\nenabled = ["two_paths"]\n' + HEALTHY.format(models="")
    async with running(text, {}, points=points) as client:
        broken.update({"/one", "/two"})
        for path in ("/one", "/two"):
            await client.get(path)
        await client.until_reason("plugins/two_paths", "view_failed")
        broken.remove("/two")
        before = (await client.get("/two")).body
        await client.until(partial(client.get, "/two"), lambda answer: answer.body != before)
        assert (await client.node("plugins/two_paths"))["reason"] == "view_failed"
        broken.clear()
        await client.until(partial(client.get, "/one"), lambda answer: answer.status == 200)
        await client.until_reason("plugins/two_paths", "ok")


@pytest.mark.parametrize(("kind", "base"), [("view", View), ("sink", Sink)])
async def test_a_part_whose_constructor_raises_is_missing_and_its_plugin_says_so(install, caplog, kind, base):
    @attrs.frozen(kw_only=True)
    class RaisesInConstructor(base):
        name = "raises_in_constructor"

        def __attrs_post_init__(self):
            raise RuntimeError("constructor")

    points = install(never_built=faulty_plugins.registering(**{f"{kind}_type": RaisesInConstructor}))
    text = '[plugins]\nenabled = ["never_built"]\n' + HEALTHY.format(models="")
    async with running(text, {}, points=points) as client:
        node = await client.node("plugins/never_built")
        assert (node["status"], node["reason"]) == ("unknown", "plugin_failed")
        assert (await client.models())["mock"]["connected"]
    assert f"{kind} raises_in_constructor: its plugin raised" in caplog.text


async def test_a_source_that_blocks_the_loop_is_named(install):
    points = install(greedy=faulty_plugins.registering(faulty_plugins.BlocksTheLoop))
    text = ENTRY.format(name="greedy") + HEALTHY.format(models="")
    async with running(text, {}, points=points) as client:
        node = await client.until_reason("daemon/loop", "loop_blocked")
        assert node["facts"] == {"culprit": "source greedy"}
