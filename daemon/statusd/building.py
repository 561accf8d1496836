"""Builds every part of the daemon from a configuration; nothing runs yet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib.metadata import EntryPoint
from typing import Final, TypeVar

import attrs
import trio

from statusd.config.mistakes import ConfigError, Mistake
from statusd.config.resolve import Configuration, SourceConfig, resolve
from statusd.config.scan import secrets_in
from statusd.config.settings import Settings, wanted_plugins
from statusd.errors import OptionError
from statusd.model.report import Json, Report
from statusd.net.http import HttpClient
from statusd.net.names import Resolver
from statusd.net.process import run_command
from statusd.net.redis import RedisServers
from statusd.net.tcp import TcpClient
from statusd.net.trace import Trace
from statusd.net.websocket import WebSocketClient
from statusd.plugin.context import Clock
from statusd.plugin.contracts import Source, View
from statusd.plugin.loading import load_plugins
from statusd.plugin.registry import Catalogue
from statusd.redaction import Redactor
from statusd.runtime.clock import SystemClock
from statusd.runtime.context import SourceContext, SourceLog
from statusd.runtime.hub import Hub, Statement, Tracked, pending
from statusd.runtime.plugin_nodes import PluginNodes
from statusd.runtime.probing import Prober
from statusd.runtime.sinks import SinkRunner, log_transitions
from statusd.web.documents import Documents

T = TypeVar("T")
log = logging.getLogger(__name__)

_OURS: Final = ("views.", "sinks.", "plugins.enabled[", "plugins.disabled[")
"""Where the faults stand that no source and no plugin has a node for."""


@attrs.frozen(kw_only=True)
class Plan:
    """A configuration held against the installed plugins: all that the daemon is built from."""

    configuration: Configuration
    catalogue: Catalogue


def plan(
    settings: Settings, *, points: Iterable[EntryPoint] | None = None, redactor: Redactor | None = None
) -> Plan:
    """Load the plugins that `settings` want, and resolve the configuration against them.

    Args:
        settings: what the configuration says.
        points: the entry points to choose plugins from; by default the installed ones.
        redactor: learns the secrets, before any plugin's code runs.

    Raises:
        ConfigError: with every mistake in the configuration.
        StartError: when two plugins claim one name.
    """
    if redactor is not None:
        redactor.learn(secrets_in(settings))
    catalogue = load_plugins(wanted_plugins(settings), disabled=settings.plugins.disabled, points=points)
    configuration = resolve(settings, catalogue)
    if redactor is not None:
        redactor.learn(configuration.secrets)
    return Plan(configuration=configuration, catalogue=catalogue)


@attrs.define(eq=False)
class Net:
    """The probe clients' shared parts, and one set of clients a source."""

    _resolver: Resolver = attrs.field(factory=Resolver)
    _redis: RedisServers = attrs.field(init=False)
    _http: list[HttpClient] = attrs.field(factory=list, init=False)

    @_redis.default
    def _make_redis(self) -> RedisServers:
        return RedisServers(self._resolver)

    def context(self, config: SourceConfig, trace: Trace, clock: Clock) -> SourceContext:
        """Return the context of one source."""
        http = HttpClient(self._resolver, trace)
        self._http.append(http)
        return SourceContext(
            name=config.name,
            plugin=config.plugin,
            models=config.models,
            timeout=config.timeout,
            clock=clock,
            log=SourceLog(config.name),
            http=http,
            websocket=WebSocketClient(self._resolver, trace),
            tcp=TcpClient(self._resolver, trace),
            redis=self._redis.client(trace, config.timeout),
            run_command=partial(run_command, trace=trace),
        )

    async def aclose(self) -> None:
        """Close every connection, and wait for the threads behind them to end."""
        for client in self._http:
            await client.aclose()
        await self._redis.aclose()


@attrs.frozen(kw_only=True)
class BuiltSource:
    """A configured source, with its prober where there is anything to probe.

    Attributes:
        config: its configuration.
        first: what to show until it has reported.
        prober: None when it is `off`, or its plugin or a secret failed.
        trace: what its probe clients do.
    """

    config: SourceConfig
    first: tuple[Report, ...]
    prober: Prober | None = None
    trace: Trace = attrs.field(factory=Trace)


@attrs.frozen(kw_only=True)
class Daemon:
    """Every part of the daemon, built and not yet running."""

    plan: Plan
    net: Net
    hub: Hub
    sources: tuple[BuiltSource, ...]
    sinks: tuple[SinkRunner, ...]
    documents: Documents


def build(plan: Plan) -> Daemon:
    """Build the daemon; call it inside a trio run.

    Raises:
        ConfigError: when options of a source, view or sink do not go together.
        StartError: when two views claim one path.
    """
    configuration = plan.configuration
    builder = Builder(plan)
    sources = tuple(builder.source(config) for config in configuration.sources)
    views = builder.views()
    sinks = builder.sinks()
    builder.expect_no_mistakes()
    tracked = [
        Tracked(
            info=built.config.info,
            models=built.config.models,
            required=built.config.required,
            first=built.first,
        )
        for built in sources
    ]
    statements = (_about(configuration), *builder.plugin_nodes.statements())
    hub = Hub(tracked, configuration.models, statements=statements, clock=builder.clock)
    hub.listen(log_transitions)
    for sink in sinks:
        hub.listen(sink.take)

    def say_view_failed(view: str, path: str, message: str | None) -> None:
        failure = Report.degraded("view_failed", message) if message is not None else None
        owner = plan.catalogue.view_owners[view]
        with hub.inbox() as inbox, suppress(trio.WouldBlock):  # the log has it too
            inbox.send_nowait(builder.plugin_nodes.note(owner, f"view {view} at {path}", failure))

    documents = Documents(views, lambda: hub.snapshot, on_view_failed=say_view_failed)
    return Daemon(plan=plan, net=builder.net, hub=hub, sources=sources, sinks=sinks, documents=documents)


def _about(configuration: Configuration) -> Statement:
    """Return what to show about the configuration, with the faults that no source and no plugin shows."""
    sources = len(configuration.sources)
    facts: dict[str, Json] = {"origin": configuration.origin, "generation": 1, "sources": sources}
    faults = [f"{path}: {message}" for path, message in configuration.faults if path.startswith(_OURS)]
    for fault in faults:
        log.error("%s", fault)
    report = Report.degraded("config_fault", faults[0], facts=facts) if faults else Report.ok(facts=facts)
    return Statement(path="daemon/config", report=report)


@attrs.define(eq=False)
class Builder:
    """Constructs what plugins registered: contains what their constructors raise, collects the mistakes they find.

    Attributes:
        plan: what to build from.
        clock: the time, for every source.
        net: the probe clients.
        plugin_nodes: takes what could not be constructed.
    """

    plan: Plan
    clock: Clock = attrs.field(factory=SystemClock)
    net: Net = attrs.field(factory=Net)
    plugin_nodes: PluginNodes = attrs.field(init=False)
    _redactor: Redactor = attrs.field(init=False)
    _mistakes: list[Mistake] = attrs.field(factory=list, init=False)

    @plugin_nodes.default
    def _make_plugin_nodes(self) -> PluginNodes:
        return PluginNodes(self.plan.catalogue)

    @_redactor.default
    def _make_redactor(self) -> Redactor:
        return Redactor(self.plan.configuration.secrets)

    def source(self, config: SourceConfig) -> BuiltSource:
        """Build a source; a fault of its surroundings or its constructor becomes its report."""
        if config.fault is not None or config.source_type is None:
            reason, message = config.fault or ("plugin_failed", "The plugin registers no source type.")
            log.error("source %s: %s", config.name, message)
            return BuiltSource(config=config, first=(Report.unknown(reason, message),))
        trace = Trace()
        source_type, context = config.source_type, self.net.context(config, trace, self.clock)

        def construct() -> tuple[Source, bool]:
            source = source_type(context=context, **config.options)
            return source, bool(source.is_configured)

        made = self._contained("source", config.name, construct)
        if isinstance(made, Report):
            return BuiltSource(config=config, first=(made,))
        source, is_configured = made
        if not is_configured:
            return BuiltSource(config=config, first=(pending(is_configured=False),))
        prober = Prober(
            name=config.name,
            source=source,
            timeout=config.timeout,
            models=config.models,
            trace=trace,
            redact=self._redactor.value,
            log=context.log,
        )
        first = prober.before_the_first(pending(is_configured=True))
        return BuiltSource(config=config, first=first, prober=prober, trace=trace)

    def views(self) -> tuple[View, ...]:
        """Build every view; one that cannot be constructed is left out."""
        configuration, catalogue = self.plan.configuration, self.plan.catalogue
        made = (
            self._part(
                "view",
                name,
                catalogue.view_owners[name],
                partial(view_type, context=configuration.view_context, **configuration.views[name]),
            )
            for name, view_type in catalogue.views.items()
        )
        return tuple(view for view in made if view is not None)

    def sinks(self) -> tuple[SinkRunner, ...]:
        """Build every sink; one that cannot be constructed is left out."""
        configuration, catalogue = self.plan.configuration, self.plan.catalogue
        made = (
            self._part(
                "sink", name, catalogue.sink_owners[name], partial(sink_type, **configuration.sinks[name])
            )
            for name, sink_type in catalogue.sinks.items()
        )
        return tuple(SinkRunner(sink) for sink in made if sink is not None)

    def expect_no_mistakes(self) -> None:
        """Want options that go together in all that was built.

        Raises:
            ConfigError: with those that do not.
        """
        if self._mistakes:
            raise ConfigError(self._mistakes, self.plan.configuration.origin)

    def _part(self, kind: str, name: str, owner: str, construct: Callable[[], T]) -> T | None:
        """Return a view or sink; None after saying on its plugin's node that it is missing."""
        made = self._contained(kind, name, construct)
        if not isinstance(made, Report):
            return made
        self.plugin_nodes.note(owner, f"{kind} {name}", made)
        return None

    def _contained(self, kind: str, name: str, construct: Callable[[], T]) -> T | Report:
        """Return what a plugin's code constructs, or the report that it did not."""
        try:
            return construct()
        except OptionError as error:
            self._mistakes.append(Mistake(f"{kind}s.{name}.{error.option}", error.message))
            return Report.unknown("plugin_failed", error.message)
        except BaseException as error:  # containment: a constructor may raise anything, or try to exit
            log.exception("%s %s: its plugin raised while it was built", kind, name)
            message = f"The plugin raised {type(error).__name__} while the {kind} was built; the log has the traceback."
            return Report.unknown("plugin_failed", message)
