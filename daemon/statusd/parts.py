"""What plugins bring: sources, views and sinks, each constructed and contained, and the probe clients of sources."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar
from weakref import WeakSet

import attrs

from statusd.config.mistakes import ConfigError, Mistake
from statusd.config.resolve import SourceConfig
from statusd.errors import OptionError
from statusd.events import CONFIG_FAULT, PLUGIN_FAILED, event
from statusd.model.report import Report
from statusd.net.http import HttpClient
from statusd.net.names import Resolver
from statusd.net.process import run_command
from statusd.net.redis import RedisClient, RedisServers
from statusd.net.tcp import TcpClient
from statusd.net.trace import Trace
from statusd.net.websocket import WebSocketClient
from statusd.planning import Plan
from statusd.plugin.context import Clock
from statusd.plugin.contracts import Sink, Source, View
from statusd.runtime.clock import SystemClock
from statusd.runtime.context import SourceContext, SourceLog
from statusd.runtime.hub import pending
from statusd.runtime.plugin_nodes import PluginNodes
from statusd.runtime.probing import Prober
from statusd.runtime.schedule import FIRST
from statusd.runtime.sinks import SinkRunner

T = TypeVar("T")
log = logging.getLogger(__name__)


@attrs.define(eq=False)
class Net:
    """The probe clients' shared parts, and one set of clients a source.

    Attributes:
        models: ids of every configured model; a reload may change them.
    """

    models: tuple[str, ...] = ()
    _resolver: Resolver = attrs.field(factory=Resolver, init=False)
    _redis: RedisServers = attrs.field(init=False)
    _http: WeakSet[HttpClient] = attrs.field(
        factory=WeakSet, init=False
    )  # a reload may give up what it has built

    @_redis.default
    def _make_redis(self) -> RedisServers:
        return RedisServers(self._resolver)

    def context(self, config: SourceConfig, trace: Trace, clock: Clock) -> SourceContext:
        """Return the context of one source."""
        http = HttpClient(self._resolver, trace)
        self._http.add(http)
        return SourceContext(
            name=config.name,
            plugin=config.plugin,
            models=config.models,
            every_model=lambda: self.models,
            timeout=config.timeout,
            clock=clock,
            log=SourceLog(config.name),
            http=http,
            websocket=WebSocketClient(self._resolver, trace),
            tcp=TcpClient(self._resolver, trace),
            redis=self._redis.client(trace, config.timeout),
            run_command=partial(run_command, trace=trace),
        )

    async def release(self, context: SourceContext) -> None:
        """Close the connections of one source."""
        if isinstance(context.http, HttpClient) and isinstance(context.redis, RedisClient):
            self._http.discard(context.http)
            await context.http.aclose()
            await context.redis.aclose()

    async def aclose(self) -> None:
        """Close every connection, and wait for the threads behind them to end."""
        for client in [*self._http]:
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
        context: what it was given, where its plugin was asked to construct it.
    """

    config: SourceConfig
    first: tuple[Report, ...]
    prober: Prober | None = None
    trace: Trace = attrs.field(factory=Trace)
    context: SourceContext | None = None

    def serve(self) -> None:
        """Have a source that went on serve the models that its present configuration says."""
        if self.prober is not None and self.context is not None:
            self.prober.models = self.context.models = self.config.models

    @property
    def patience(self) -> float:
        """Seconds within which the first probe must have finished; endless where there is none."""
        return math.inf if self.prober is None else FIRST + self.config.timeout + self.config.ttl


def goes_on(built: BuiltSource, config: SourceConfig) -> bool:
    """Whether a source can go on as it is under the configuration `config` of it: only its pace or its place differ.

    One that there is nothing to probe of is built anew: what was in the way may not be any more.
    """
    if built.prober is None or built.config.name != config.name:
        return False
    try:
        return bool(built.config.made_of == config.made_of)
    except Exception:  # noqa: BLE001  # containment: options may be of a plugin's own types
        return False


@attrs.frozen(kw_only=True)
class Parts:
    """What plugins brought for one configuration.

    Attributes:
        sources: every configured one, in order.
        views: in the order in which their plugins were loaded.
        sinks: name -> the sink, with its queue.
        plugin_nodes: says what became of each plugin.
    """

    sources: tuple[BuiltSource, ...]
    views: tuple[View, ...]
    sinks: Mapping[str, SinkRunner]
    plugin_nodes: PluginNodes


@attrs.define(eq=False)
class Builder:
    """Constructs what plugins registered: contains what their constructors raise, collects the mistakes they find.

    Attributes:
        plan: what to construct, and with which options.
        net: the probe clients.
        clock: the time, for every source.
        plugin_nodes: takes what could not be constructed.
    """

    plan: Plan
    net: Net = attrs.field(factory=Net)
    clock: Clock = attrs.field(factory=SystemClock)
    plugin_nodes: PluginNodes = attrs.field(init=False)
    _mistakes: list[Mistake] = attrs.field(factory=list, init=False)

    @plugin_nodes.default
    def _make_plugin_nodes(self) -> PluginNodes:
        return PluginNodes(self.plan.catalogue)

    def parts(self, plan: Plan | None = None, parts: Parts | None = None) -> Parts:
        """Return all that plugins bring; what an earlier configuration has in common with this one is kept.

        Args:
            plan: the earlier one.
            parts: what was built from it.

        Raises:
            ConfigError: with the options that do not go together.
        """
        kept = {one.config.name: one for one in parts.sources} if parts is not None else {}
        sources = tuple(self._kept_or_built(kept, config) for config in self.plan.configuration.sources)
        if plan is not None and parts is not None and _views_of(plan) == _views_of(self.plan):
            views = parts.views
        else:
            views = self.views()
        sinks = self._sinks(plan, parts)
        self.expect_no_mistakes()
        return Parts(sources=sources, views=views, sinks=sinks, plugin_nodes=self.plugin_nodes)

    def _kept_or_built(self, kept: Mapping[str, BuiltSource], config: SourceConfig) -> BuiltSource:
        old = kept.get(config.name)
        if old is not None and goes_on(old, config):
            return attrs.evolve(old, config=config)
        return self.source(config)

    def source(self, config: SourceConfig) -> BuiltSource:
        """Build a source; a fault of its surroundings or its constructor becomes its report."""
        if config.fault is not None or config.source_type is None:
            reason, message = config.fault or ("plugin_failed", "The plugin registers no source type.")
            told = event(CONFIG_FAULT, source=config.name, path=f"sources/{config.name}", reason=reason)
            log.error("source %s: %s", config.name, message, extra=told)
            return BuiltSource(config=config, first=(Report.unknown(reason, message),))
        trace = Trace()
        source_type, context = config.source_type, self.net.context(config, trace, self.clock)

        def construct() -> tuple[Source, bool]:
            source = source_type(context=context, **config.options)
            return source, bool(source.is_configured)

        made = self._contained("source", config.name, construct)
        if isinstance(made, Report):
            return BuiltSource(config=config, first=(made,), context=context)
        source, is_configured = made
        if not is_configured:
            return BuiltSource(config=config, first=(pending(is_configured=False),), context=context)
        prober = Prober(
            name=config.name,
            source=source,
            timeout=config.timeout,
            models=config.models,
            trace=trace,
            redact=self.plan.redactor.value,
            log=context.log,
        )
        first = prober.before_the_first(pending(is_configured=True))
        return BuiltSource(config=config, first=first, prober=prober, trace=trace, context=context)

    def views(self) -> tuple[View, ...]:
        """Build every view; one that cannot be constructed is left out."""
        configuration, catalogue = self.plan.configuration, self.plan.catalogue
        context = configuration.view_context
        arguments = {name: {"context": context, **given} for name, given in configuration.views.items()}
        return tuple(
            view for _, view in self._built("view", catalogue.views, catalogue.view_owners, arguments)
        )

    def _sinks(self, plan: Plan | None, parts: Parts | None) -> dict[str, SinkRunner]:
        """Build every sink that is not there already; one that cannot be constructed is left out."""
        catalogue, arguments = self.plan.catalogue, self.plan.configuration.sinks
        kept: dict[str, SinkRunner] = {}
        if plan is not None and parts is not None:
            kept = {
                name: runner
                for name, runner in parts.sinks.items()
                if _sink_of(plan, name) == _sink_of(self.plan, name)
            }
        declared = {name: kind for name, kind in catalogue.sinks.items() if name not in kept}
        built: dict[str, Sink] = dict(self._built("sink", declared, catalogue.sink_owners, arguments))
        made = {name: SinkRunner(sink) for name, sink in built.items()}
        return {name: one for name in catalogue.sinks if (one := kept.get(name) or made.get(name))}

    def expect_no_mistakes(self) -> None:
        """Want options that go together in all that was built.

        Raises:
            ConfigError: with those that do not.
        """
        if self._mistakes:
            raise ConfigError(self._mistakes, self.plan.configuration.origin)

    def _built(
        self,
        kind: str,
        declared: Mapping[str, type[T]],
        owners: Mapping[str, str],
        arguments: Mapping[str, Mapping[str, Any]],
    ) -> Iterator[tuple[str, T]]:
        """Yield name and object of each of the `declared` views or sinks; of a missing one, its owner's node says so."""
        for name, part_type in declared.items():
            made = self._contained(kind, name, partial(part_type, **arguments[name]))
            if isinstance(made, Report):
                self.plugin_nodes.note(owners[name], f"{kind} {name}", made)
            else:
                yield name, made

    def _contained(self, kind: str, name: str, construct: Callable[[], T]) -> T | Report:
        """Return what a plugin's code constructs, or the report that it did not."""
        try:
            return construct()
        except OptionError as error:
            self._mistakes.append(Mistake(f"{kind}s.{name}.{error.option}", error.message))
            return Report.unknown("plugin_failed", error.message)
        except BaseException as error:  # containment: a constructor may raise anything, or try to exit
            told = event(
                PLUGIN_FAILED, reason="plugin_failed", source=name if kind == "source" else "", part=name
            )
            log.exception("%s %s: its plugin raised while it was built", kind, name, extra=told)
            message = f"The plugin raised {type(error).__name__} while the {kind} was built; the log has the traceback."
            return Report.unknown("plugin_failed", message)


def _views_of(plan: Plan) -> object:
    """Return all that views are made of."""
    return plan.catalogue.views, plan.configuration.views, plan.configuration.view_context


def _sink_of(plan: Plan, name: str) -> object:
    """Return all that a sink is made of."""
    return plan.catalogue.sinks.get(name), plan.configuration.sinks.get(name)
