"""The default configuration: what the design says, complete, sound also with every comment taken away."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import pytest

from statusd import Report
from statusd.config import default_text, read_text, resolve, wanted_plugins
from statusd.config.common import CommonKeys
from statusd.config.http import HttpKeys
from statusd.config.http_limits import LimitSettings
from statusd.config.http_tls import TlsKeys
from statusd.config.ready import ReadySettings
from statusd.config.schema import keys_of
from statusd.config.settings import PluginsSettings
from statusd.model.assembly import Assembly
from statusd.model.tree import find
from statusd.plugin.loading import DISTRIBUTION, load_plugins
from statusd.runtime.messages import Tracked

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def catalogue():
    """The installed built-in plugins."""
    return load_plugins(())


def uncommented():
    """Return the default with every commented-out key put into force."""
    return re.sub(r'(?m)^#(?=[a-z"\[])', "", default_text())


def tables():
    return tomllib.loads(uncommented())


def test_it_resolves_with_an_empty_environment(catalogue):
    found = resolve(read_text(default_text(), "default", {}), catalogue)
    assert found.faults == ()
    assert [(one.name, one.plugin, one.required) for one in found.sources] == [
        ("inference", "takeoff", True),
        ("queue", "redis_queue", False),
        ("omnirt", "omnirt", True),
        ("flashhead", "direct_ws", True),
        ("quicktalk", "local", True),
        ("mock", "mock", True),
    ]
    assert dict(found.models) == {
        "mock": ("mock",),
        "flashtalk": ("omnirt",),
        "musetalk": ("omnirt",),
        "wav2lip": ("omnirt",),
        "flashhead": ("flashhead",),
        "quicktalk": ("quicktalk",),
    }
    assert {one.name: one.interval for one in found.sources} == {
        "inference": 2.0,
        "queue": 0.5,
        "omnirt": 2.0,
        "flashhead": 5.0,
        "quicktalk": 5.0,
        "mock": 2.0,
    }
    assert str(found.sources[1].options["url"]) == "redis://localhost:6379/0"
    assert found.sources[2].options["api_key"] is None


def test_every_variable_reaches_its_source():
    environ = {
        "STATUSD_BIND": "[::1]:1",
        "TAKEOFF_URL": "http://takeoff",
        "OPENTALKING_REDIS_URL": "redis://redis",
        "OMNIRT_ENDPOINT": "http://omnirt",
        "OPENTALKING_FLASHHEAD_WS_URL": "ws://first",
        "FLASHHEAD_WS_URL": "ws://second",
    }
    found = read_text(default_text(), "default", environ)
    assert str(found.http.bind[0]) == "[::1]:1"
    assert found.sources["inference"].options["url"] == "http://takeoff"
    assert found.sources["queue"].options["url"] == "redis://redis"
    assert found.sources["omnirt"].options["endpoint"] == "http://omnirt"
    assert found.sources["flashhead"].options["url"] == "ws://first"


def test_it_is_sound_with_every_commented_key_in_force(catalogue):
    found = resolve(read_text(uncommented(), "default", {}), catalogue)
    assert [path for path, _ in found.faults] == ["http.token", "sources.vllm.api_key"]


def test_it_has_every_key_of_every_built_in_plugin(catalogue):
    found = tables()
    by_plugin = {source["plugin"]: set(source) for source in found["sources"].values()}
    for plugin in catalogue.plugins.values():
        if plugin.distribution != DISTRIBUTION:
            continue
        for source_type in plugin.registry.source_types:
            assert {key.name for key in keys_of(source_type)} <= by_plugin[plugin.name], plugin.name
        for view_type in plugin.registry.view_types:
            assert {key.name for key in keys_of(view_type)} == set(found["views"].get(view_type.name, ()))


def test_it_has_every_key_of_the_core():
    found = tables()
    assert {key.name for key in keys_of(CommonKeys)} <= set(found["sources"]["inference"])
    assert {key.name for key in keys_of(PluginsSettings)} == set(found["plugins"])
    assert {key.name for key in keys_of(HttpKeys)} == set(found["http"]) - {"tls", "limits"}
    assert {key.name for key in keys_of(TlsKeys)} == set(found["http"]["tls"])
    assert {key.name for key in keys_of(LimitSettings)} == set(found["http"]["limits"])
    assert {key.name for key in keys_of(ReadySettings)} == set(found["ready"])


def test_what_it_shows_as_defaults_of_the_core_are_the_defaults(catalogue):
    shown = resolve(read_text(uncommented(), "default", {}), catalogue)
    plain = resolve(read_text(default_text(), "default", {}), catalogue)
    # Where the default is nothing, it shows an example.
    examples = {
        name: getattr(plain.http, name) for name in ("bind_probes", "token", "hosts", "cors_origins", "tls")
    }
    derived = {"connections": None, "streams": None, "waiting": None}
    limits = attrs.evolve(shown.http.limits, **derived)
    assert attrs.evolve(shown.http, **examples, limits=limits) == plain.http
    assert not any(examples.values())
    assert all(getattr(plain.http.limits, name) is None for name in derived)
    examples = {"options": {}, "depends_on": (), "max_age": None}
    assert attrs.evolve(shown.sources[0], **examples) == attrs.evolve(plain.sources[0], **examples)
    assert (shown.sources[0].depends_on, shown.sources[0].max_age) == (("quicktalk",), 0.0)
    assert (plain.sources[0].depends_on, plain.sources[0].max_age) == ((), None)


def test_the_rules_it_shows_are_those_that_the_tree_has_anyway(catalogue):
    shown = resolve(read_text(uncommented(), "default", {}), catalogue)
    plain = resolve(read_text(default_text(), "default", {}), catalogue)
    assert (plain.rollup, plain.ready.require) == ({}, ())
    assert {path: str(rule) for path, rule in shown.rollup.items()} == {
        "": "worst",
        "sources": "worst",
        "models": "worst",
        "plugins": "worst",
        "daemon": "worst",
        "models/flashtalk": "best",
        "sources/inference/readers": "worst",
    }
    parts = {"inference": (Report.ok(), Report.ok(path="readers/a"))}
    tracked = [
        Tracked(info=source.info, models=source.models, first=parts.get(source.name, (Report.ok(),)))
        for source in plain.sources
    ]
    root = Assembly([one.state() for one in tracked], plain.models, plain.rollup).tree({})
    assert {path: find(root, path).rule for path in shown.rollup} == {
        path: str(rule) for path, rule in shown.rollup.items()
    }


def test_every_key_in_it_has_a_comment():
    before = table = ""
    for line in default_text().splitlines():
        if line.startswith("["):
            table = line
        if table == "[models]":
            continue
        if re.match(r'#?["/a-z_]+ = ', line) and not re.match(r"#?plugin = |required = ", line):
            assert " # " in line or before.startswith("# "), line
        before = line


def test_the_reference_file_is_the_default():
    assert (ROOT / "etc" / "statusd.toml").read_text() == default_text()
    assert (ROOT / "etc" / "statusd.toml").is_symlink()


def test_the_default_wants_only_built_in_plugins(catalogue):
    wanted = wanted_plugins(read_text(default_text(), "default", {}))
    assert all(catalogue.plugins[name].is_builtin for name in wanted)


def test_the_reference_page_is_what_the_types_say():
    script = ROOT / "scripts" / "configuration_reference.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_examples_of_the_reference_page_hold(catalogue):
    page = (ROOT / "docs" / "configuration.md").read_text()
    example, *others = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert tomllib.loads(example) == {
        key: value for key, value in tomllib.loads(default_text()).items() if value
    }
    omnirt = '[sources.omnirt]\nplugin = "omnirt"\n'
    for text in others:
        resolve(read_text(omnirt + text, "example", {}), catalogue)
