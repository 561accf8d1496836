"""Whatever a configuration holds: ConfigError or a configuration, and no message that shows a secret."""

from __future__ import annotations

import datetime as dt

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statusd.config import ConfigError, resolve
from statusd.config.interpolate import expand_values
from statusd.config.settings import read_settings
from statusd.plugin.registry import catalogue

SECRET = "s33dedSecret"
ENVIRON = {"SEED": SECRET, "URL": f"http://user:{SECRET}@host/", "N": "4"}

# A secret comes by a variable, by a URL's userinfo or as the misplaced value of a key that is a secret.
hidden = st.sampled_from(
    [
        "${SEED}",
        "${URL}",
        "x${SEED}y",
        "${N:-${SEED}}",
        "${UNSET:-${SEED}}",
        "${SEED:-d}",
        f"http://{SECRET}@h",
        f"redis://:{SECRET}@h",
        f"http://u:{SECRET}@${{N}}",
        "ftp://u:${SEED}@h",
        "${SEED",
    ]
)
harmless = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["everything", "wanting", "a", "m", "page", ":80", "http://h", "tcp"]),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.sampled_from([dt.date(2026, 1, 1), dt.time(1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]),
)
keys = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["env", "file", "credential", "a", "b", "m", "page", "journal", "token", "api_key", "url"]
    ),
)
scalars = st.one_of(hidden, harmless)


def nested(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
        max_leaves=5,
    )


anything = nested(scalars)
# The names of plugins and backends are shown to everybody: that is what they are for.
name = nested(harmless)
secrets = st.one_of(
    st.just(SECRET),
    anything,
    st.fixed_dictionaries({"env": st.sampled_from(["SEED", "URL", "UNSET", SECRET])}),
)
sources = st.fixed_dictionaries(
    {},
    optional={
        "plugin": st.one_of(st.sampled_from(["everything", "everything", "wanting", "none"]), name),
        "backend": name,
        "api_key": secrets,
        "token": secrets,
        "password": secrets,
        **{
            key: st.one_of(anything, scalars)
            for key in (
                "url",
                "mirrors",
                "text",
                "number",
                "ratio",
                "flag",
                "choice",
                "names",
                "pair",
                "headers",
                "unit",
                "interval",
                "timeout",
                "ttl",
                "required",
                "rise",
                "depends_on",
                "max_age",
            )
        },
    },
)
# Where statusd listens and who may ask is shown to everybody, as it is once it is sound; a token or a key never.
http = st.fixed_dictionaries(
    {},
    optional={
        "token": secrets,
        "tls": st.one_of(
            anything, st.fixed_dictionaries({}, optional={"certificate": secrets, "key": secrets})
        ),
        "limits": st.one_of(anything, st.dictionaries(st.sampled_from(["streams", "connections"]), anything)),
        **{
            key: st.one_of(anything, scalars, st.lists(scalars, max_size=3))
            for key in (
                "bind",
                "bind_probes",
                "refresh_floor",
                "front_stage",
                "socket_mode",
                "hosts",
                "cors_origins",
                "access_log",
            )
        },
    },
)
paths = st.one_of(
    hidden,
    keys,
    st.builds("{}/{}".format, st.sampled_from(["sources", "models", "plugins", "model", ""]), keys),
    st.sampled_from(["models/${SEED}", "${SEED}/models", "a//${SEED}", "a/${SEED}:", f"models//{SECRET}@h"]),
)
tables = st.fixed_dictionaries(
    {},
    optional={
        "http": st.one_of(anything, http),
        "plugins": st.one_of(anything, st.fixed_dictionaries({"enabled": name, "disabled": name})),
        "sources": st.one_of(anything, st.dictionaries(st.sampled_from(["a", "b", "B"]), sources)),
        "models": st.one_of(anything, st.dictionaries(keys, anything)),
        "ready": st.one_of(anything, st.fixed_dictionaries({"require": st.lists(paths)})),
        "rollup": st.one_of(anything, st.dictionaries(paths, scalars)),
        "views": st.one_of(anything, st.fixed_dictionaries({"page": anything})),
        "sinks": st.one_of(
            anything, st.fixed_dictionaries({"journal": st.fixed_dictionaries({"token": secrets})})
        ),
        "other": anything,
    },
)


@settings(
    deadline=None,
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tables)
def test_any_table_resolves_or_is_told_as_mistakes_and_no_secret_shows(plugins, table):
    found = []
    expanded = expand_values(table, ENVIRON, "", found)
    read = read_settings(expanded, "test.toml", ENVIRON)
    known = catalogue({name: one for name, one in plugins.items() if name[0] != "_"})
    try:
        outcome = resolve(read, known)
    except ConfigError as error:
        outcome = error
    shown = [repr(read), repr(outcome), str(outcome), *map(str, found)]
    if isinstance(outcome, ConfigError):
        assert outcome.mistakes
        assert all(one.message.isprintable() and one.path.isprintable() for one in outcome.mistakes)
    else:
        for source in outcome.sources:
            if source.source_type is not None and source.fault is None:
                source.source_type(context=None, **source.options)
    assert not any(SECRET in text for text in shown)
