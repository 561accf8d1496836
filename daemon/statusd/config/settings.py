"""What a configuration says, as far as it can be known without any plugin."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from statusd.config.common import COMMON_KEYS, CommonKeys
from statusd.config.dependencies import expect_dependencies
from statusd.config.findings import Fault, Findings
from statusd.config.http import HttpSettings, read_http
from statusd.config.interpolate import BROKEN
from statusd.config.mistakes import Mistake
from statusd.config.models import read_models
from statusd.config.places import Places
from statusd.config.ready import ReadySettings, read_ready
from statusd.config.reload import ReloadSettings
from statusd.config.rollup import read_rollup
from statusd.config.schema import structure
from statusd.config.tables import inner_table
from statusd.config.wording import below, described, quoted, suggestion
from statusd.model.rollup import Rule
from statusd.plugin.options import option

SOURCE_NAME: Final = re.compile(r"[a-z0-9_-]+")
MAX_NAME: Final = 64
"""Characters of a source's name."""


def _names(_instance: object, _attribute: object, names: Sequence[str]) -> None:
    for name in names:
        if not name.strip():
            raise ValueError("holds an empty name; remove it")


@attrs.frozen
class PluginsSettings:
    """The table ``[plugins]``.

    Attributes:
        enabled: plugins to load although no source names them.
        disabled: plugins not to load, built-in or not.
    """

    enabled: tuple[str, ...] = option(
        (), help="Plugins to load although no source names them, for their views or sinks.", validator=_names
    )
    disabled: tuple[str, ...] = option(
        (), help="Plugins not to load, built-in ones included.", validator=_names
    )


@attrs.frozen(kw_only=True)
class SourceTable:
    """One table ``[sources.<name>]``.

    Attributes:
        name: the source's name.
        plugin: its plugin's name.
        common: the keys that every source has.
        options: the plugin's own keys, as the file has them.
    """

    name: str
    plugin: str
    common: CommonKeys
    options: Mapping[str, object] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Settings:
    """A configuration before its plugins are loaded; its text form shows nothing that may be secret.

    Attributes:
        origin: the file, or what else the text came from.
        http: the table ``[http]``.
        plugins: the table ``[plugins]``.
        sources: by name, in the order of the file.
        models: model id -> names of the sources that can serve it, best first, in the order of the file.
        ready: the table ``[ready]``.
        rollup: canonical path of a branch -> its rule.
        reload: the table ``[reload]``.
        views, sinks: the tables ``[views.<name>]`` and ``[sinks.<name>]``, by name.
        environ: where the variables that secrets name are looked up.
        mistakes: what is wrong so far; `resolve` raises them together with those that only plugins can tell.
        faults: what in the surroundings is not as ``[http]`` says.
        secrets: every text form of every secret of ``[http]``.
    """

    origin: str
    http: HttpSettings = attrs.field(factory=HttpSettings)
    plugins: PluginsSettings = attrs.field(factory=PluginsSettings)
    sources: Mapping[str, SourceTable] = attrs.field(factory=dict)
    models: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    ready: ReadySettings = attrs.field(factory=ReadySettings)
    rollup: Mapping[str, Rule] = attrs.field(factory=dict)
    reload: ReloadSettings = attrs.field(factory=ReloadSettings)
    views: Mapping[str, Mapping[str, object]] = attrs.field(factory=dict, repr=False)
    sinks: Mapping[str, Mapping[str, object]] = attrs.field(factory=dict, repr=False)
    environ: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    mistakes: tuple[Mistake, ...] = ()
    faults: tuple[Fault, ...] = ()
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)


def wanted_plugins(settings: Settings) -> set[str]:
    """Return the names of the plugins to load besides the built-in ones: what sources and ``enabled`` name."""
    return {source.plugin for source in settings.sources.values()} | set(settings.plugins.enabled)


def read_settings(
    table: Mapping[str, object],
    origin: str,
    environ: Mapping[str, str],
    bind: Sequence[str] | None = None,
) -> Settings:
    """Return what the top-level `table` says, with its mistakes.

    Args:
        table: the whole configuration, strings expanded.
        origin: the file, or what else it came from.
        environ: where the variables that secrets name are looked up.
        bind: addresses that replace those of ``[http]``.
    """
    findings = Findings(environ=environ)
    for name in table:
        if name not in _TABLES:
            findings.mistake(below("", name), f"unknown key; {suggestion(name, _TABLES)}")
    http = read_http(inner_table(table, "http", findings), findings, bind)
    plugins = _plugins(inner_table(table, "plugins", findings), findings)
    sources = _tables(table, "sources", findings)
    read = [_source(name, source, findings) for name, source in sources.items()]
    # Those with mistakes are named too, or each mistake in a source would be one in its models, dependents and paths again.
    outer = table.get("sources")
    named = outer.keys() if isinstance(outer, dict) else ()
    expect_dependencies(sources, named, findings)
    served = inner_table(table, "models", findings)
    models = read_models(served, named, findings)
    places = Places(sources=named, models=served)
    ready = read_ready(inner_table(table, "ready", findings), places, findings)
    rollup = read_rollup(inner_table(table, "rollup", findings), places, findings)
    reload = _reload(inner_table(table, "reload", findings), findings)
    views = _tables(table, "views", findings)
    sinks = _tables(table, "sinks", findings)
    return Settings(
        origin=origin,
        http=http,
        plugins=plugins,
        sources={source.name: source for source in read if source is not None},
        models=models,
        ready=ready,
        rollup=rollup,
        reload=reload,
        views=views,
        sinks=sinks,
        environ=environ,
        mistakes=tuple(findings.mistakes),
        faults=tuple(findings.faults),
        secrets=tuple(findings.secrets),
    )


_TABLES: Final = ("http", "plugins", "sources", "models", "ready", "rollup", "reload", "views", "sinks")


def _tables(table: Mapping[str, object], name: str, findings: Findings) -> dict[str, dict[str, Any]]:
    """Return the tables below the table `name`."""
    outer = inner_table(table, name, findings)
    # The outer table's own mistake is taken above; what is left are those of the inner ones.
    inner = {key: inner_table(outer, key, findings, name) for key in outer}
    return {key: value for key, value in inner.items() if isinstance(outer[key], dict)}


def _plugins(table: Mapping[str, object], findings: Findings) -> PluginsSettings:
    before = len(findings.mistakes)
    options = structure(PluginsSettings, table, "plugins", findings)
    plugins = PluginsSettings(**options) if len(findings.mistakes) == before else PluginsSettings()
    for name in sorted(set(plugins.enabled) & set(plugins.disabled)):
        findings.mistake("plugins.enabled", f"{quoted(name)} is listed in plugins.disabled too; remove one")
    return plugins


def _reload(table: Mapping[str, object], findings: Findings) -> ReloadSettings:
    before = len(findings.mistakes)
    options = structure(ReloadSettings, table, "reload", findings)
    return ReloadSettings(**options) if len(findings.mistakes) == before else ReloadSettings()


def _source(name: str, table: Mapping[str, object], findings: Findings) -> SourceTable | None:
    """Return the source, or None when it cannot be told which plugin it wants."""
    path = below("sources", name)
    before = len(findings.mistakes)
    if not SOURCE_NAME.fullmatch(name) or len(name) > MAX_NAME:
        findings.mistake(path, _wrong_name(name))
    common = structure(CommonKeys, {k: v for k, v in table.items() if k in _COMMON}, path, findings)
    plugin = _plugin(table.get("plugin"), below(path, "plugin"), findings)
    if not plugin:
        return None
    is_sound = len(findings.mistakes) == before
    return SourceTable(
        name=name,
        plugin=plugin,
        common=CommonKeys(**common) if is_sound else CommonKeys(),
        options={key: value for key, value in table.items() if key not in COMMON_KEYS},
    )


def _plugin(value: object, path: str, findings: Findings) -> str:
    """Return the name of a source's plugin, ``""`` when it has a mistake."""
    if value is None:
        findings.mistake(path, 'missing; name the kind of source, as in plugin = "http"')
    elif isinstance(value, str):
        if name := str(value).strip():
            return name
        findings.mistake(path, 'empty; name the kind of source, as in plugin = "http"')
    elif value is not BROKEN:
        findings.mistake(path, f"expected a string, found {described(value)}; write it in quotes")
    return ""


_COMMON: Final = COMMON_KEYS - {"plugin"}


def _wrong_name(name: str) -> str:
    folded = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:MAX_NAME]
    remedy = f"rename it to {quoted(folded)}" if folded else "rename it"
    return f"a source's name is made of a-z, 0-9, _ and -, at most {MAX_NAME} of them; {remedy}"
