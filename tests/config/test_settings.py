"""What can be known of a configuration without plugins: tables, names, addresses, models, the common keys."""

from __future__ import annotations

import pytest

from statusd.config import ConfigError, read_text, wanted_plugins
from statusd.config.http import DEFAULT_BIND
from statusd.values import Bind

SOURCE = '[sources.a]\nplugin = "wanting"\nurl = "http://h"\n'


def settings(text, environ=None, bind=None):
    found = read_text(text, "test.toml", environ or {}, bind)
    assert found.mistakes == ()
    return found


def told(text, environ=None, bind=None):
    return [str(mistake) for mistake in read_text(text, "test.toml", environ or {}, bind).mistakes]


def test_an_empty_configuration_is_sound():
    found = settings("")
    assert (found.origin, found.http.bind, found.sources, found.models) == (
        "test.toml",
        (DEFAULT_BIND,),
        {},
        {},
    )
    assert wanted_plugins(found) == set()


def test_sources_keep_their_order_and_name_their_plugins():
    found = settings('[sources.b]\nplugin = "p2"\nkey = 1\n[sources.a]\nplugin = "${P}"', {"P": "p1"})
    assert [(one.name, one.plugin, one.options) for one in found.sources.values()] == [
        ("b", "p2", {"key": 1}),
        ("a", "p1", {}),
    ]
    assert wanted_plugins(found) == {"p1", "p2"}


def test_enabled_plugins_are_wanted_too():
    found = settings(f'{SOURCE}[plugins]\nenabled = ["x"]\ndisabled = ["y"]')
    assert wanted_plugins(found) == {"wanting", "x"}
    assert found.plugins.disabled == ("y",)


def test_models_keep_their_order_and_that_of_their_sources():
    found = settings(f'[sources.b]\nplugin = "p"\n{SOURCE}[models]\n"z/1" = "b"\na = ["b", "a"]')
    assert list(found.models.items()) == [("z/1", ("b",)), ("a", ("b", "a"))]


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ('["127.0.0.1:80"]', (Bind(host="127.0.0.1", port=80),)),
        ('["unix:/run/s", "[::1]:8000"]', (Bind(path="/run/s"), Bind(host="::1", port=8000))),
        ('["127.0.0.1:0", "127.0.0.1:0"]', (Bind(host="127.0.0.1"), Bind(host="127.0.0.1"))),
        ('["${B:-fd://3}"]', (Bind(fd=3),)),
    ],
)
def test_addresses_are_parsed(text, bind):
    assert settings(f"[http]\nbind = {text}").http.bind == bind


def test_the_refresh_floor_is_a_second_unless_set():
    assert settings("").http.refresh_floor == 1.0
    assert settings("[http]\nrefresh_floor = 5").http.refresh_floor == 5.0
    assert settings('[http]\nrefresh_floor = "${F}"', {"F": "0.1"}, bind=[":1"]).http.refresh_floor == 0.1


def test_bind_on_the_command_line_replaces_the_configured_one():
    text = '[http]\nbind = ["127.0.0.1:80"]'
    assert settings(text, bind=["127.0.0.1:81"]).http.bind == (Bind(host="127.0.0.1", port=81),)
    assert told(text, bind=["x"]) == [
        (
            '--bind[0]: "x" has no port from 0 to 65535; '
            'expected "127.0.0.1:8000", "[::1]:8000", "unix:/run/statusd/http.sock" or "fd://3"'
        )
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("source = 1", 'source: unknown key; did you mean "sources"?'),
        (
            "[history]\ndays = 1",
            (
                'history: unknown key; expected "http", "models", "plugins", "ready", "reload", "rollup", "sinks", '
                '"sources" or "views"'
            ),
        ),
        ("sources = 1", "sources: expected a table, found the integer 1; write [sources]"),
        ("http = []", "http: expected a table, found an array; write [http]"),
        (
            '[views]\nstatus = "x"',
            'views.status: expected a table, found the string "x"; write [views.status]',
        ),
        ("[[sources]]", "sources: expected a table, found an array; write [sources]"),
        ("[http]\nbinds = []", 'http.binds: unknown key; did you mean "bind"?'),
        ("[http]\nbound = 1", 'http.bound: unknown key; did you mean "bind"?'),
        ("[http]\nbind = []", 'http.bind: names no address; write one such as "127.0.0.1:8000"'),
        (
            '[http]\nbind = ":80"',
            'http.bind: expected an array of strings, found the string ":80"; write [":80"]',
        ),
        ("[http]\nbind = 80", "http.bind: expected an array of strings, found the integer 80"),
        ("[http]\nbind = [80]", "http.bind[0]: expected a string, found the integer 80"),
        ('[http]\nbind = [":80", "0.0.0.0:80"]', 'http.bind[1]: "0.0.0.0:80" is listed twice; remove one'),
        (
            '[plugins]\nenable = ["x"]',
            'plugins.enable: unknown key; did you mean "enabled"?',
        ),
        (
            '[plugins]\nenabled = "x"',
            'plugins.enabled: expected an array of strings, found the string "x"; write it in brackets',
        ),
        ('[plugins]\nenabled = [""]', "plugins.enabled: holds an empty name; remove it"),
        (
            '[plugins]\nenabled = ["x"]\ndisabled = ["x"]',
            'plugins.enabled: "x" is listed in plugins.disabled too; remove one',
        ),
        ("[sources.a]", 'sources.a.plugin: missing; name the kind of source, as in plugin = "http"'),
        (
            "[sources.a]\nplugin = 1",
            "sources.a.plugin: expected a string, found the integer 1; write it in quotes",
        ),
        (
            '[sources.a]\nplugin = "${P:-}"',
            'sources.a.plugin: empty; name the kind of source, as in plugin = "http"',
        ),
        ("sources.a = 1", "sources.a: expected a table, found the integer 1; write [sources.a]"),
        (
            '[sources."Flash Talk"]\nplugin = "p"',
            (
                'sources."Flash Talk": a source\'s name is made of a-z, 0-9, _ and -, at most 64 of them; '
                'rename it to "flash-talk"'
            ),
        ),
        (
            '[sources.""]\nplugin = "p"',
            'sources."": a source\'s name is made of a-z, 0-9, _ and -, at most 64 of them; rename it',
        ),
        (f"{SOURCE}[models]\nm = []", "models.m: names no source; list at least one, best first"),
        (f'{SOURCE}[models]\nm = "b"', 'models.m: "b" names no source; expected "a"'),
        (
            '[sources.omnirt]\nplugin = "p"\n[models]\nm = ["omnrit"]',
            'models.m[0]: "omnrit" names no source; did you mean "omnirt"?',
        ),
        (
            '[models]\nm = "a"',
            'models.m: "a" names no source; no source is configured; add a table [sources.<name>]',
        ),
        (f'{SOURCE}[models]\nm = ["a", "a"]', 'models.m[1]: "a" is listed twice; remove one'),
        (
            f"{SOURCE}[models]\nm = 1",
            "models.m: expected a source's name or an array of them, found the integer 1",
        ),
        (
            f"{SOURCE}[models]\nm = [1]",
            "models.m[0]: expected a source's name, found the integer 1; write it in quotes",
        ),
        (
            f'{SOURCE}[models]\nqwen2.5 = "a"',
            (
                "models.qwen2: expected a source's name or an array of them, found a table; "
                'an id with a dot wants quotes: "qwen2.5"'
            ),
        ),
        (
            f'{SOURCE}[models]\n" " = "a"',
            'models." ": a model id is made of 1 to 200 printable characters; correct it',
        ),
        (f"{SOURCE}interval = 0", "sources.a.interval: 0 is out of range; expected 0.01 to 86400 seconds"),
        (
            f"{SOURCE}interval = -1.5",
            "sources.a.interval: -1.5 is out of range; expected 0.01 to 86400 seconds",
        ),
        (f"{SOURCE}interval = inf", "sources.a.interval: inf is no finite number; write one"),
        (
            f'{SOURCE}interval = "2"',
            'sources.a.interval: expected a number, found the string "2"; write it without quotes',
        ),
        (f"{SOURCE}timeout = 3601", "sources.a.timeout: 3601 is out of range; expected 0.01 to 3600 seconds"),
        (f"{SOURCE}ttl = nan", "sources.a.ttl: nan is no finite number; write one"),
        (
            f"{SOURCE}ttl = 1e9",
            "sources.a.ttl: 1000000000.0 is out of range; expected 0.01 to 2678400 seconds",
        ),
        (f"{SOURCE}rise = 0", "sources.a.rise: 0 is out of range; expected 1 to 1000 probes"),
        (f"{SOURCE}fall = 1001", "sources.a.fall: 1001 is out of range; expected 1 to 1000 probes"),
        (f"{SOURCE}fall = 2.0", "sources.a.fall: expected an integer, found the number 2.0"),
        (
            f'{SOURCE}depends_on = "b"',
            'sources.a.depends_on: expected an array of strings, found the string "b"; write it in brackets',
        ),
        (
            f"{SOURCE}max_age = -0.5",
            "sources.a.max_age: -0.5 is out of range; expected 0 to 86400 seconds",
        ),
        (
            f"{SOURCE}max_age = 86401",
            "sources.a.max_age: 86401 is out of range; expected 0 to 86400 seconds",
        ),
        (
            "[http]\nrefresh_floor = 0",
            "http.refresh_floor: 0 is out of range; expected 0.1 to 3600 seconds",
        ),
        (
            '[http]\nrefresh_floor = "1"',
            'http.refresh_floor: expected a number, found the string "1"; write it without quotes',
        ),
        ("ready = 1", "ready: expected a table, found the integer 1; write [ready]"),
        ('rollup = "best"', 'rollup: expected a table, found the string "best"; write [rollup]'),
        (f"{SOURCE}required = 1", "sources.a.required: expected a boolean, found the integer 1"),
        (
            f'{SOURCE}backend = ""',
            'sources.a.backend: "" is no name; write 1 to 128 printable characters, or remove the key',
        ),
        (
            f'{SOURCE}backend = "${{B}}"',
            'sources.a.backend: the variable B is not set; set it, or give a default as in "${B:-default}"',
        ),
    ],
)
def test_each_mistake_is_told_with_its_path_and_remedy(text, mistake):
    assert told(text) == [mistake]


def test_a_source_with_a_mistake_of_its_own_is_still_a_source_for_its_models():
    assert told('[sources.a]\ninterval = 0\n[models]\nm = "a"') == [
        "sources.a.interval: 0 is out of range; expected 0.01 to 86400 seconds",
        'sources.a.plugin: missing; name the kind of source, as in plugin = "http"',
    ]


def test_the_error_names_the_origin_and_every_mistake():
    with pytest.raises(ConfigError) as caught:
        read_text("[http\n", "test.toml", {})
    assert caught.value.origin == "test.toml"
    assert str(caught.value).startswith("test.toml has 1 mistake:\n  line 1, column 6: not TOML: expected")


def test_settings_show_nothing_that_came_from_the_environment():
    text = '[sources.a]\nplugin = "p"\nkey = "${K}"\n[views.v]\nkey = "${K}"\n[sinks.s]\nkey = "${K}"'
    assert "s3cret" not in repr(settings(text, {"K": "s3cret"}))
