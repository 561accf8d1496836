"""A configuration with its plugins: what sources become, mistakes all at once, faults of the surroundings."""

from __future__ import annotations

import attrs
import pytest

from statusd import Secret, SourceInfo
from statusd.config import ConfigError
from statusd.model.rollup import WORST, Rule

A = '[sources.a]\nplugin = "everything"\n'


def test_a_source_gets_its_plugins_defaults_where_it_says_nothing(resolved):
    [source] = resolved(f'{A}[models]\nm1 = "a"\nm2 = ["a"]').sources
    assert (source.name, source.plugin, source.backend) == ("a", "everything", "everything")
    assert (source.interval, source.timeout, source.ttl) == (0.5, 2.0, 3 * 0.5 + 2.0)
    assert (source.required, source.models, source.fault) == (True, ("m1", "m2"), None)
    assert source.source_type.__name__ == "Everything"


def test_a_source_gets_what_it_says(resolved):
    keys = 'interval = 10\ntimeout = 1\nrequired = false\nbackend = "b"\nnumber = 4'
    [source] = resolved(A + keys).sources
    assert (source.interval, source.timeout, source.ttl) == (10.0, 1.0, 31.0)
    assert (source.required, source.backend, source.options) == (False, "b", {"number": 4})
    assert resolved(f'{A}ttl = "${{T}}"', {"T": "7"}).sources[0].ttl == 7.0


def test_sources_and_models_keep_the_order_of_the_file(resolved):
    text = f'[sources.z]\nplugin = "everything"\n{A}[models]\ny = ["z", "a"]\nx = "a"'
    found = resolved(text)
    assert [source.name for source in found.sources] == ["z", "a"]
    assert list(found.models.items()) == [("y", ("z", "a")), ("x", ("a",))]


def test_every_view_and_sink_of_the_catalogue_has_its_arguments(resolved):
    assert (resolved("").views, resolved("").sinks) == ({"page": {}}, {"journal": {}})
    text = f'{A}[models]\nm = "a"\n[views.page]\ntitle = "m"\n[sinks.journal]\ntoken = {{ env = "T" }}'
    found = resolved(text, {"T": "s3cret"})
    assert (found.views, found.sinks) == ({"page": {"title": "m"}}, {"journal": {"token": Secret("s3cret")}})
    assert found.secrets == ("czNjcmV0", "s3cret")


def test_ten_different_mistakes_are_reported_at_once_each_with_its_path(mistakes):
    text = """
    sorces = 1
    [http]
    bind = ["localhost"]
    [sources.queue]
    plugin = "everything"
    intervall = 3
    timeout = -1
    url = "redis://:pa55@localhost:6379/0"
    api_key = "s3cret"
    number = "${UNSET}"
    [sources.web]
    plugin = "wanting"
    [models]
    flashtalk = "omnirt"
    [views.pages]
    title = "x"
    """
    assert mistakes(text) == [
        'sources.queue.number: the variable UNSET is not set; set it, or give a default as in "${UNSET:-default}"',
        'sorces: unknown key; did you mean "sources"?',
        (
            'http.bind[0]: "localhost" has no port from 0 to 65535; '
            'expected "127.0.0.1:8000", "[::1]:8000", "unix:/run/statusd/http.sock" or "fd://3"'
        ),
        "sources.queue.timeout: -1 is out of range; expected 0.01 to 3600 seconds",
        'models.flashtalk: "omnirt" names no source; expected "queue" or "web"',
        'sources.queue.intervall: unknown key; did you mean "interval"?',
        (
            'sources.queue.url: "redis://***@localhost:6379/0" holds a user name or password, '
            "which must not stand in the file; write ${VARIABLE} in its place"
        ),
        (
            "sources.queue.api_key: a secret is given by reference, found a string; "
            'write { env = "NAME" }, { credential = "name" } or { file = "/path" }'
        ),
        "sources.web.url: missing; set it: Address of the server.",
        'views.pages: unknown view; did you mean "page"?',
    ]


def test_a_source_gets_its_thresholds_dependencies_and_greatest_age(resolved):
    keys = 'rise = 3\nfall = 2\ndepends_on = ["c", "b"]\nmax_age = 0'
    others = '[sources.b]\nplugin = "none"\n[sources.c]\nplugin = "everything"\n'
    found = resolved(f"{A}{keys}\n{others}")
    a, b, c = found.sources
    assert (a.rise, a.fall, a.depends_on, a.max_age) == (3, 2, ("c", "b"), 0.0)
    assert (b.rise, b.fall, b.depends_on, b.max_age) == (1, 1, (), None)
    assert a.info == SourceInfo(
        name="a",
        plugin="everything",
        backend="everything",
        interval=0.5,
        rise=3,
        fall=2,
        depends_on=("c", "b"),
        max_age=0.0,
    )
    assert found.view_context.sources == (a.info, b.info, c.info)


def test_what_readiness_wants_and_the_rules_of_branches_are_in_the_configuration(resolved):
    text = f"""{A}[models]
    "a/b" = "a"
    [ready]
    require = ["models/a%2fb", "/", "plugins/everything"]
    [rollup]
    "models/%61%2Fb" = "worst"
    "/" = "at_least(3)"
    [http]
    refresh_floor = 2
    """
    found = resolved(text)
    assert found.ready.require == ("models/a%2Fb", "", "plugins/everything")
    assert found.rollup == {"models/a%2Fb": WORST, "": Rule(3)}
    assert found.http.refresh_floor == 2.0


def test_a_plugin_that_readiness_wants_and_is_not_installed_is_a_fault(resolved):
    text = '[ready]\nrequire = ["plugins", "plugins/broken", "plugins/everythin"]'
    assert resolved(text, with_broken=True).faults[0] == (
        "ready.require[2]",
        'No plugin "everythin" is installed; did you mean "everything"?',
    )


def test_options_that_do_not_go_together_are_a_mistake_of_source_and_view(mistakes):
    text = f'{A}text = "clash"\nflag = true\n[views.page]\ntitle = "m"'
    assert mistakes(text) == [
        "sources.a.flag: does not go with this text; remove it",
        'views.page.title: "m" is no model',
    ]


def test_unknown_views_and_sinks_are_mistakes(mistakes):
    assert mistakes("[views.other]\n[sinks.jurnal]") == [
        'views.other: unknown view; expected "page"',
        'sinks.jurnal: unknown sink; did you mean "journal"?',
    ]


def test_what_an_unknown_view_or_sink_wants_may_be_a_plugin_that_is_not_enabled(mistakes, plugins):
    idle = {"is_builtin": False, "is_enabled": False, "registry": None}
    plugins["strangers"] = attrs.evolve(plugins["wanting"], name="strangers", **idle)
    assert mistakes("[views.other]\n[sinks.jurnal]") == [
        'views.other: unknown view; expected "page", or list the plugin that brings it in [plugins] enabled: strangers',
        'sinks.jurnal: unknown sink; did you mean "journal"?',
    ]
    del plugins["everything"]
    assert mistakes("[sinks.bell]") == [
        (
            "sinks.bell: unknown sink; no plugin that is loaded brings any sink; remove it, "
            "or list the plugin that brings it in [plugins] enabled: strangers"
        ),
    ]


def test_a_view_that_a_plugin_which_is_not_loaded_may_bring_is_no_mistake(resolved, mistakes):
    found = resolved("[views.other]\nx = 1", with_broken=True)
    assert found.faults[0] == ("views.other", 'No loaded plugin brings a view "other"; not loaded: broken.')
    assert mistakes("[views.pages]", with_broken=True) == ['views.pages: unknown view; did you mean "page"?']


def test_a_plugin_that_is_missing_or_failed_is_a_fault_of_its_source_alone(resolved):
    text = f'{A}[sources.b]\nplugin = "none"\nanything = 1\ninterval = 4\n[sources.c]\nplugin = "broken"'
    found = resolved(text, with_broken=True)
    a, b, c = found.sources
    assert a.fault is None
    missing = 'No plugin "none" is installed; installed: broken, everything, wanting.'
    failed = 'The plugin "broken" could not be loaded.'
    assert (b.fault, b.source_type, b.options) == (("plugin_missing", missing), None, {})
    assert (b.interval, b.timeout, b.ttl, b.backend) == (4.0, 2.0, 14.0, "none")
    assert (c.fault, c.interval) == (("plugin_failed", failed), 2.0)
    assert found.faults == (("sources.b", missing), ("sources.c", failed))


def test_the_common_keys_of_a_source_without_its_plugin_are_looked_at_all_the_same(mistakes):
    assert mistakes('[sources.b]\nplugin = "none"\ninterval = 0\nwhatever = 1') == [
        "sources.b.interval: 0 is out of range; expected 0.01 to 86400 seconds"
    ]


def test_a_disabled_plugin_is_a_fault_of_its_source(resolved, plugins, make_plugin):
    plugins["off"] = make_plugin("off", is_enabled=False)
    found = resolved('[sources.b]\nplugin = "off"\n[plugins]\ndisabled = ["off"]')
    assert found.sources[0].fault[0] == "plugin_disabled"
    assert found.plugins.disabled == ("off",)


def test_plugins_that_no_source_names_are_looked_at_too(resolved):
    text = '[plugins]\nenabled = ["nonesuch", "wanting"]\ndisabled = ["everythin", "unheard"]'
    assert resolved(text, with_broken=True).faults == (
        (
            "plugins.enabled[0]",
            'No plugin "nonesuch" is installed; expected "broken", "everything" or "wanting"',
        ),
        ("plugins.disabled[0]", 'No plugin "everythin" is installed; did you mean "everything"?'),
        ("plugins.broken", 'The plugin "broken" could not be loaded.'),
    )


def test_an_unreadable_secret_is_a_fault_of_its_source_with_everything_else_in_place(resolved):
    found = resolved(f'{A}api_key = {{ file = "/nonexistent/key" }}\nnumber = 4')
    [source] = found.sources
    message = 'The file "/nonexistent/key" does not exist; create it, or correct the path.'
    assert source.fault == ("secret_unreadable", message)
    assert source.options["number"] == 4
    assert found.faults == (("sources.a.api_key", message),)


def test_an_unreadable_secret_of_a_sink_is_a_fault(resolved):
    found = resolved('[sinks.journal]\ntoken = { file = "/nonexistent" }')
    assert [path for path, _ in found.faults] == ["sinks.journal.token"]


def test_a_secret_of_one_table_does_not_show_in_the_mistakes_of_another(mistakes):
    text = f'{A}api_key = {{ env = "K" }}\n[models]\nm = "s3cret"\n[sources.b]\nplugin = "everything"\nnumber = "s3cret"'
    assert mistakes(text, {"K": "s3cret"}) == [
        'models.m: "***" names no source; expected "a" or "b"',
        'sources.b.number: expected an integer, found the string "***"',
    ]


def test_options_are_what_the_class_is_constructed_with(resolved):
    [source] = resolved(f'{A}names = ["x"]\nurl = "http://h"').sources
    built = source.source_type(context=None, **source.options)
    assert (built.names, str(built.url), built.number) == (["x"], "http://h", 2)


def test_the_error_has_origin_and_all_mistakes(resolved):
    with pytest.raises(ConfigError) as caught:
        resolved("a = 1\nb = 2")
    assert caught.value.origin == "test.toml"
    assert len(caught.value.mistakes) == 2
    assert str(caught.value).splitlines()[0] == "test.toml has 2 mistakes:"
