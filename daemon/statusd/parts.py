"""What plugins bring: sources, views and sinks, each constructed and contained, and the probe clients of sources."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import attrs

from statusd.config.mistakes import ConfigError, Mistake
from statusd.config.resolve import Configuration, SourceConfig
from statusd.errors import OptionError
from statusd.model.report import Report
from statusd.net.http import HttpClient
from statusd.net.names import Resolver
from statusd.net.process import run_command
from statusd.net.redis import RedisServers
from statusd.net.tcp import TcpClient
from statusd.net.trace import Trace
from statusd.net.websocket import WebSocketClient
from statusd.plugin.context import Clock
from statusd.plugin.contracts import Source, View
from statusd.plugin.registry import Catalogue
from statusd.redaction import Redactor
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
        models: ids of every configured model.
    """

    models: tuple[str, ...] = ()
    _resolver: Resolver = attrs.field(factory=Resolver, init=False)
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
            all_models=self.models,
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

    @property
    def patience(self) -> float:
        """Seconds within which the first probe must have finished; endless where there is none."""
        return math.inf if self.prober is None else FIRST + self.config.timeout + self.config.ttl


@attrs.define(eq=False)
class Builder:
    """Constructs what plugins registered: contains what their constructors raise, collects the mistakes they find.

    Attributes:
        configuration: what to construct, and with which options.
        catalogue: what plugins registered.
        clock: the time, for every source.
        net: the probe clients.
        plugin_nodes: takes what could not be constructed.
    """

    configuration: Configuration
    catalogue: Catalogue
    clock: Clock = attrs.field(factory=SystemClock)
    net: Net = attrs.field(init=False)
    plugin_nodes: PluginNodes = attrs.field(init=False)
    _redactor: Redactor = attrs.field(init=False)
    _mistakes: list[Mistake] = attrs.field(factory=list, init=False)

    @net.default
    def _make_net(self) -> Net:
        return Net(tuple(self.configuration.models))

    @plugin_nodes.default
    def _make_plugin_nodes(self) -> PluginNodes:
        return PluginNodes(self.catalogue)

    @_redactor.default
    def _make_redactor(self) -> Redactor:
        return Redactor(self.configuration.secrets)

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
        context = self.configuration.view_context
        arguments = {name: {"context": context, **given} for name, given in self.configuration.views.items()}
        return tuple(self._built("view", self.catalogue.views, self.catalogue.view_owners, arguments))

    def sinks(self) -> tuple[SinkRunner, ...]:
        """Build every sink; one that cannot be constructed is left out."""
        arguments = self.configuration.sinks
        sinks = self._built("sink", self.catalogue.sinks, self.catalogue.sink_owners, arguments)
        return tuple(SinkRunner(sink) for sink in sinks)

    def expect_no_mistakes(self) -> None:
        """Want options that go together in all that was built.

        Raises:
            ConfigError: with those that do not.
        """
        if self._mistakes:
            raise ConfigError(self._mistakes, self.configuration.origin)

    def _built(
        self,
        kind: str,
        declared: Mapping[str, type[T]],
        owners: Mapping[str, str],
        arguments: Mapping[str, Mapping[str, Any]],
    ) -> Iterator[T]:
        """Yield each of the `declared` views or sinks; of one that is missing, the node of its owner says so."""
        for name, part_type in declared.items():
            made = self._contained(kind, name, partial(part_type, **arguments[name]))
            if isinstance(made, Report):
                self.plugin_nodes.note(owners[name], f"{kind} {name}", made)
            else:
                yield made

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
