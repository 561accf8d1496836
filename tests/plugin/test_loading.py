import sys
import types
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint

import attrs
import pytest

from statusd import Report, Sink, Source, Status, View, hookimpl
from statusd.errors import PluginError, StartError
from statusd.plugin.loading import load_plugins
from statusd.runtime.plugin_nodes import PluginNodes


@attrs.frozen(kw_only=True)
class Fine(Source):
    async def probe(self):
        return Report.ok()


@attrs.frozen
class Distribution:
    name: str
    version: str = "1.0"


@pytest.fixture
def install(monkeypatch):
    """Make a plugin module importable, and return its entry point."""

    def make(name, hooks=None, *, distribution="stranger", module=None):
        module_name = module or f"plugin_module_{name}_{distribution}"
        made = types.ModuleType(module_name)
        for hook, function in (hooks or {}).items():
            function.__name__ = hook
            setattr(made, hook, hookimpl(function))
        monkeypatch.setitem(sys.modules, module_name, made)
        point = EntryPoint(name, module_name, "statusd")
        vars(point)["dist"] = Distribution(distribution)
        return point

    return make


class Blocking(Fine):
    def watch(self, changed):
        raise AssertionError("nobody calls it")


def registers(*types_):
    return lambda registry: [registry.add(one) for one in types_]


def test_a_strangers_plugin_is_imported_only_when_wanted(install):
    point = install("slots", {"statusd_register_sources": registers(Fine)})
    unwanted = load_plugins([], points=[point])
    assert not unwanted.plugins["slots"].is_enabled
    assert unwanted.plugins["slots"].registry is None
    assert load_plugins(["slots"], points=[point]).source_type("slots") is Fine


def test_a_built_in_plugin_is_always_loaded_unless_disabled(install):
    point = install("mock", {"statusd_register_sources": registers(Fine)}, distribution="statusd")
    assert load_plugins([], points=[point]).source_type("mock") is Fine
    with pytest.raises(PluginError, match="disabled") as caught:
        load_plugins(["mock"], disabled=["mock"], points=[point]).source_type("mock")
    assert caught.value.reason == "plugin_disabled"


def test_a_plugin_that_is_not_installed_is_named_with_what_is(install):
    point = install("http", {"statusd_register_sources": registers(Fine)}, distribution="statusd")
    with pytest.raises(PluginError, match='No plugin "htp" is installed; installed: http') as caught:
        load_plugins(["htp"], points=[point]).source_type("htp")
    assert caught.value.reason == "plugin_missing"


def explode(registry):
    raise RuntimeError(f"boom with {registry}")


def leave(registry):
    sys.exit(f"left with {registry}")


def abandon(registry):
    raise GeneratorExit(registry)


def interrupt(registry):
    raise KeyboardInterrupt(registry)


def test_ctrl_c_ends_a_slow_import(install):
    with pytest.raises(KeyboardInterrupt):
        load_plugins(["slow"], points=[install("slow", {"statusd_register_sources": interrupt})])


@pytest.mark.parametrize(
    ("fault", "name"), [(explode, "RuntimeError"), (leave, "SystemExit"), (abandon, "GeneratorExit")]
)
def test_a_plugin_that_raises_while_it_registers_harms_no_other(install, fault, name, caplog):
    bad = install("bad", {"statusd_register_sources": fault})
    good = install("good", {"statusd_register_sources": registers(Fine)})
    catalogue = load_plugins(["bad", "good"], points=[bad, good])
    assert catalogue.source_type("good") is Fine
    assert catalogue.plugins["bad"].error.reason == "plugin_failed"
    assert name in catalogue.plugins["bad"].error.message
    assert "plugin bad could not be loaded" in caplog.text
    assert "Traceback" in caplog.text


def test_a_plugin_that_raises_at_import_harms_no_other(install, caplog):
    missing = EntryPoint("bad", "no_such_module_anywhere", "statusd")
    good = install("good", {"statusd_register_sources": registers(Fine)})
    catalogue = load_plugins(["bad", "good"], points=[missing, good])
    assert catalogue.source_type("good") is Fine
    with pytest.raises(PluginError, match="could not be loaded"):
        catalogue.source_type("bad")
    assert "ModuleNotFoundError" in caplog.text


@pytest.mark.parametrize(
    ("hooks", "words"),
    [
        ({"statusd_register_sources": registers(Fine, Fine)}, "two source types"),
        ({"statusd_register_sources": registers(str)}, "no subclass of statusd.Source"),
        ({"statusd_register_sources": registers(None)}, "no subclass of statusd.Source"),
        ({"statusd_register_sources": registers(Blocking)}, "a plain watch(); declare it by `async def`"),
        ({"statusd_register_views": registers(Fine)}, "no subclass of statusd.View"),
        ({"statusd_register_sinks": registers(Sink)}, "without a `name`"),
    ],
)
def test_what_cannot_be_registered_is_the_plugins_fault(install, hooks, words):
    catalogue = load_plugins(["bad"], points=[install("bad", hooks)])
    assert words in catalogue.plugins["bad"].error.message


def test_a_hook_with_a_misspelt_argument_is_the_plugins_fault(install):
    def wrong(registri):
        raise AssertionError(registri)

    catalogue = load_plugins(["bad"], points=[install("bad", {"statusd_register_sources": wrong})])
    assert catalogue.plugins["bad"].error.reason == "plugin_failed"


def test_a_plugin_without_a_source_type_cannot_be_a_source(install):
    catalogue = load_plugins(["empty"], points=[install("empty")])
    with pytest.raises(PluginError, match="registers no source type"):
        catalogue.source_type("empty")


def view(view_name):
    @attrs.frozen(kw_only=True)
    class SomeView(View):
        name = view_name

    return SomeView


def test_two_claims_to_one_view_name_stop_the_start_and_name_both(install):
    points = [
        install("one", {"statusd_register_views": registers(view("status"))}),
        install("two", {"statusd_register_views": registers(view("status"))}),
    ]
    with pytest.raises(StartError, match=r'"status".*"one" and "two"'):
        load_plugins(["one", "two"], points=points)


def test_two_distributions_with_one_plugin_name_stop_the_start_and_are_named(install):
    points = [install("slots", distribution="first"), install("slots", distribution="second")]
    with pytest.raises(StartError, match="first and second"):
        load_plugins(["slots"], points=points)


def test_distributions_that_say_they_are_equal_are_told_apart(install):
    class Odd(Distribution):
        __hash__ = None

        def __eq__(self, other):
            return isinstance(other, Odd)

    points = [install("one", distribution="first"), install("two", distribution="second")]
    for point in points:
        vars(point)["dist"] = Odd(point.dist.name)
    plugins = load_plugins(set(), points=points).plugins
    assert [plugins[name].distribution for name in ("one", "two")] == ["first", "second"]


def test_two_distributions_with_one_plugin_name_are_no_matter_while_nobody_wants_it(install):
    points = [install("slots", distribution="first"), install("slots", distribution="second")]
    assert set(load_plugins([], points=points).plugins) == {"slots"}


def test_a_sink_and_a_view_are_found_under_their_own_names(install):
    @attrs.frozen(kw_only=True)
    class Bell(Sink):
        name = "bell"

    hooks = {"statusd_register_views": registers(view("page")), "statusd_register_sinks": registers(Bell)}
    catalogue = load_plugins(["extra"], points=[install("extra", hooks)])
    assert catalogue.sinks == {"bell": Bell}
    assert catalogue.view_owners == {"page": "extra"}


def test_the_installed_built_ins_load():
    catalogue = load_plugins([])
    assert {name for name, plugin in catalogue.plugins.items() if plugin.is_builtin} == {
        "direct_ws", "http", "local", "mock", "models", "omnirt", "redis_queue", "takeoff",
    }  # fmt: skip
    assert [plugin.error for plugin in catalogue.plugins.values() if plugin.error] == []
    assert set(catalogue.views) == {"status", "queue", "models"}


WHOLE = b"Metadata-Version: 2.1\nName: damaged\nVersion: 1\n"


@pytest.mark.parametrize(
    ("metadata", "points"),
    [
        (WHOLE, b"[statusd]\nno equals sign\n"),
        (WHOLE, b"[console_scripts]\n\xff = y\n"),
        (b"Name: \xff\n", b"[statusd]\ndamaged = nowhere\n"),
        (b"", b"[statusd]\ndamaged = nowhere\n"),
        (None, b"[statusd]\ndamaged = nowhere\n"),
    ],
)
def test_a_package_that_is_damaged_or_half_removed_spoils_no_other(tmp_path, monkeypatch, metadata, points):
    for name, texts in {
        "damaged": {"METADATA": metadata, "entry_points.txt": points},
        "whole": {
            "METADATA": WHOLE.replace(b"damaged", b"whole"),
            "entry_points.txt": b"[statusd]\nwhole = whole\n",
        },
    }.items():
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        for file, content in texts.items():
            if content is not None:
                (folder / file).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    catalogue = load_plugins([])
    assert catalogue.plugins["mock"].registry is not None
    assert catalogue.plugins["whole"].distribution == "whole"


def test_a_package_that_was_installed_since_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert "later" not in load_plugins([]).plugins
    folder = tmp_path / "later-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_bytes(WHOLE.replace(b"damaged", b"later"))
    (folder / "entry_points.txt").write_bytes(b"[statusd]\nlater = later_module\n")
    (tmp_path / "later_module.py").write_text("")
    later = load_plugins(["later"]).plugins["later"]
    assert (later.version, later.error) == ("1", None)


def test_a_plugin_that_was_upgraded_is_told_as_the_version_that_runs(install, caplog):
    point = install("slots", {"statusd_register_sources": registers(Fine)})
    assert load_plugins(["slots"], points=[point]).plugins["slots"].waiting_version == ""
    vars(point)["dist"] = Distribution("stranger", "2.0")
    catalogue = load_plugins(["slots"], points=[point])
    assert (catalogue.plugins["slots"].version, catalogue.plugins["slots"].waiting_version) == ("1.0", "2.0")
    assert "version 2.0 is installed, and 1.0 goes on until statusd is restarted" in caplog.text
    [report] = [one.report for one in PluginNodes(catalogue).statements() if one.path == "plugins/slots"]
    assert (report.status, report.facts["version"]) == (Status.OK, "1.0")
    assert report.message == "Version 2.0 is installed, and 1.0 goes on until statusd is restarted."
    vars(point)["dist"] = Distribution("stranger", "")  # its metadata are just being replaced
    assert load_plugins(["slots"], points=[point]).plugins["slots"].waiting_version == ""


def test_an_interrupt_that_comes_to_no_main_thread_is_the_plugins(install):
    def interrupt(registry):
        raise KeyboardInterrupt

    point = install("fake", {"statusd_register_sources": interrupt})
    with ThreadPoolExecutor(1) as pool:
        catalogue = pool.submit(load_plugins, ["fake"], points=[point]).result()
    assert catalogue.plugins["fake"].error.reason == "plugin_failed"
