"""What a configuration means, with its plugins at hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from statusd.config.common import COMMON_KEYS, MAX_INTERVAL, MIN_INTERVAL, TTL_INTERVALS
from statusd.config.findings import Fault, Findings
from statusd.config.http import HttpSettings
from statusd.config.mistakes import ConfigError, Mistake
from statusd.config.plugin_faults import plugin_faults
from statusd.config.ready import ReadySettings
from statusd.config.reload import ReloadSettings
from statusd.config.scan import secrets_in
from statusd.config.schema import keys_of, structure
from statusd.config.settings import PluginsSettings, Settings, SourceTable
from statusd.config.wording import CERTAIN, below, closest, quoted, suggestion
from statusd.errors import PluginError
from statusd.model.rollup import Rule
from statusd.plugin.context import SourceInfo, ViewContext
from statusd.plugin.contracts import Sink, Source, View
from statusd.plugin.registry import Catalogue, InstalledPlugin
from statusd.redaction import Redactor


@attrs.frozen(kw_only=True)
class SourceConfig:
    """A configured source.

    Attributes:
        name: its name.
        plugin: its plugin's name.
        interval: seconds between two probes.
        timeout: seconds for a whole probe.
        ttl: seconds that a report stays good, from when the next probe is due.
        required: whether it counts in the rollup of the whole tree.
        rise: good probes in a row after which what was bad counts as good.
        fall: bad probes in a row after which what was good counts as bad.
        depends_on: names of the sources without which it cannot work.
        max_age: seconds of age beyond which every request has it probed; None = only where a request asks for it.
        backend: what ``/models`` calls it.
        models: the ids that name it in ``[models]``, in that order.
        source_type: what to construct, or None where the plugin is at fault.
        options: keyword arguments for `source_type`, all but ``context``.
        fault: (reason, message) of the surroundings, because of which it must not be constructed, or None.
    """

    name: str
    plugin: str
    interval: float
    timeout: float
    ttl: float
    required: bool
    rise: int
    fall: int
    depends_on: tuple[str, ...]
    max_age: float | None
    backend: str
    models: tuple[str, ...] = ()
    source_type: type[Source] | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    fault: tuple[str, str] | None = None

    @property
    def made_of(self) -> object:
        """All that the source itself is made of; the rest is its pace, and its place in the tree."""
        return self.plugin, self.timeout, self.source_type, self.options, self.fault

    @property
    def info(self) -> SourceInfo:
        """The source as views and sinks see it."""
        return SourceInfo(
            name=self.name,
            plugin=self.plugin,
            backend=self.backend,
            required=self.required,
            interval=self.interval,
            timeout=self.timeout,
            rise=self.rise,
            fall=self.fall,
            depends_on=self.depends_on,
            max_age=self.max_age,
        )


@attrs.frozen(kw_only=True)
class Configuration:
    """A configuration without mistakes, ready to be put to work.

    Attributes:
        origin: the file, or what else it came from.
        http: the table ``[http]``.
        plugins: the table ``[plugins]``.
        sources: in the order of the file.
        models: model id -> names of its sources, best first, in the order of the file.
        ready: the table ``[ready]``.
        rollup: canonical path of a branch (``""`` = the whole tree) -> its rule, where the file gives it one.
        reload: the table ``[reload]``.
        view_context: what the daemon hands to views.
        views: view name -> keyword arguments, for every view of the catalogue.
        sinks: sink name -> keyword arguments, for every sink of the catalogue.
        secrets: every text form of every secret, for masking them.
        faults: (path, message) of everything in the surroundings that is not as the configuration says.
    """

    origin: str
    http: HttpSettings
    plugins: PluginsSettings
    sources: tuple[SourceConfig, ...]
    models: Mapping[str, tuple[str, ...]]
    ready: ReadySettings
    rollup: Mapping[str, Rule]
    reload: ReloadSettings
    view_context: ViewContext
    views: Mapping[str, Mapping[str, Any]] = attrs.field(repr=False)
    sinks: Mapping[str, Mapping[str, Any]] = attrs.field(repr=False)
    secrets: tuple[str, ...] = attrs.field(repr=False)
    faults: tuple[tuple[str, str], ...]


def resolve(settings: Settings, catalogue: Catalogue) -> Configuration:
    """Return the configuration that `settings` stand for.

    Args:
        settings: what the file says.
        catalogue: the loaded plugins.

    Raises:
        ConfigError: with every mistake, those of `settings` included.
    """
    # Those of a source whose plugin did not load are not read below, and are secrets all the same.
    resolution = _Resolution(settings, catalogue, secrets=[*secrets_in(settings)])
    sources = tuple(resolution.source(table) for table in settings.sources.values())
    context = ViewContext(
        sources=tuple(source.info for source in sources),
        models=tuple(settings.models),
        serving=settings.models,
    )
    views = resolution.tables("views", settings.views, catalogue.views, {"context": context})
    sinks = resolution.tables("sinks", settings.sinks, catalogue.sinks)
    faults = [*settings.faults, *resolution.faults, *plugin_faults(settings, catalogue)]
    if mistakes := (*settings.mistakes, *resolution.mistakes):
        redact = Redactor(resolution.secrets)
        raise ConfigError([Mistake(one.path, redact(one.message)) for one in mistakes], settings.origin)
    return Configuration(
        origin=settings.origin,
        http=settings.http,
        plugins=settings.plugins,
        sources=sources,
        models=settings.models,
        ready=settings.ready,
        rollup=settings.rollup,
        reload=settings.reload,
        view_context=context,
        views=views,
        sinks=sinks,
        secrets=tuple(sorted(set(resolution.secrets), key=lambda secret: (-len(secret), secret))),
        faults=tuple((fault.path, fault.message) for fault in faults),
    )


@attrs.define(eq=False)
class _Resolution:
    """One run of `resolve`: what it reads, and what all tables together brought to light."""

    settings: Settings
    catalogue: Catalogue
    mistakes: list[Mistake] = attrs.field(factory=list)
    faults: list[Fault] = attrs.field(factory=list)
    secrets: list[str] = attrs.field(factory=list)
    _models: dict[str, list[str]] = attrs.field(factory=dict, init=False)
    """Name of each source that is named in ``[models]`` -> the ids that name it."""

    def __attrs_post_init__(self) -> None:
        for model, names in self.settings.models.items():
            for name in names:
                self._models.setdefault(name, []).append(model)

    def source(self, table: SourceTable) -> SourceConfig:
        """Return the source of `table`; a fault of its plugin or of its secrets is noted in it."""
        path = below("sources", table.name)
        default, source_type, fault = Source.default_interval, None, None
        options: dict[str, Any] = {}
        try:
            declared = self.catalogue.source_type(table.plugin)
            default = _default_interval(declared)
            _expect_no_clash(declared)
            options, fault = self._structure(declared, table.options, path, also=COMMON_KEYS)
            source_type = declared
        except PluginError as error:
            fault = Fault(path=path, reason=error.reason, message=error.message)
            self.faults.append(fault)
        common = table.common
        interval = default if common.interval is None else common.interval
        ttl = TTL_INTERVALS * interval + common.timeout if common.ttl is None else common.ttl
        return SourceConfig(
            name=table.name,
            plugin=table.plugin,
            interval=interval,
            timeout=common.timeout,
            ttl=ttl,
            required=common.required,
            rise=common.rise,
            fall=common.fall,
            depends_on=common.depends_on,
            max_age=common.max_age,
            backend=table.plugin if common.backend is None else common.backend,
            models=tuple(self._models.get(table.name, ())),
            source_type=source_type,
            options=options,
            fault=None if fault is None else (fault.reason, fault.message),
        )

    def tables(
        self,
        path: str,
        tables: Mapping[str, Mapping[str, object]],
        known: Mapping[str, type[View | Sink]],
        internal: Mapping[str, object] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Return keyword arguments for each of the `known` views or sinks, from the tables below `path`."""
        for name in tables:
            if name not in known:
                self._unknown_table(path, name, known)
        arguments: dict[str, dict[str, Any]] = {}
        for name, declared in known.items():
            where = below(path, name)
            arguments[name] = {}
            try:
                arguments[name], _ = self._structure(declared, tables.get(name, {}), where, internal=internal)
            except PluginError as error:
                self.faults.append(Fault(path=where, reason=error.reason, message=error.message))
        return arguments

    def _structure(
        self, declared: type, table: Mapping[str, object], path: str, **known: Any
    ) -> tuple[dict[str, Any], Fault | None]:
        """Return keyword arguments for `declared`, and the first fault that its secrets met."""
        findings = Findings(environ=self.settings.environ)
        options = structure(declared, table, path, findings, **known)
        self.mistakes += findings.mistakes
        self.faults += findings.faults
        self.secrets += findings.secrets
        return options, findings.faults[0] if findings.faults else None

    def _unknown_table(self, path: str, name: str, known: Iterable[str]) -> None:
        """Take a table that no loaded plugin knows: a mistake, unless a plugin that is not loaded may explain it."""
        known = tuple(known)
        absent = [plugin.name for plugin in self.catalogue.plugins.values() if _may_be_missed(plugin)]
        what = path.removesuffix("s")
        if absent and closest(name, known, cutoff=CERTAIN) is None:
            message = (
                f"No loaded plugin brings a {what} {quoted(name)}; not loaded: {', '.join(sorted(absent))}."
            )
            self.faults.append(Fault(path=below(path, name), reason="plugin_missing", message=message))
            return
        remedy = suggestion(name, known, none=f"no plugin that is loaded brings any {what}; remove it")
        idle = sorted(plugin.name for plugin in self.catalogue.plugins.values() if _is_idle(plugin))
        if idle and closest(name, known) is None:
            remedy += f", or list the plugin that brings it in [plugins] enabled: {', '.join(idle)}"
        self.mistakes.append(Mistake(below(path, name), f"unknown {what}; {remedy}"))


def _may_be_missed(plugin: InstalledPlugin) -> bool:
    """Whether `plugin` failed to load or was told not to; a stranger's that nobody names is not missed."""
    return plugin.error is not None or (plugin.is_builtin and not plugin.is_enabled)


def _is_idle(plugin: InstalledPlugin) -> bool:
    """Whether `plugin` is a stranger's, and merely not named: it may bring what nobody knows."""
    return plugin.error is None and not plugin.is_builtin and not plugin.is_enabled


def _default_interval(declared: type[Source]) -> float:
    interval: object = declared.default_interval
    if isinstance(interval, bool) or not isinstance(interval, int | float):
        raise _wrong_default(declared)
    if not MIN_INTERVAL <= interval <= MAX_INTERVAL:
        raise _wrong_default(declared)
    return float(interval)


def _wrong_default(declared: type[Source]) -> PluginError:
    return PluginError(
        "plugin_failed",
        f"{declared.__qualname__}.default_interval is no number of seconds "
        f"from {MIN_INTERVAL:g} to {MAX_INTERVAL:g}; the plugin must be corrected.",
    )


def _expect_no_clash(declared: type[Source]) -> None:
    for key in keys_of(declared):
        if key.name in COMMON_KEYS:
            raise PluginError(
                "plugin_failed",
                f"{declared.__qualname__} declares the key {quoted(key.name)}, which every source has already; "
                f"the plugin must give it another name.",
            )
