"""Builds every part of the daemon from a configuration; nothing runs yet."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import EntryPoint

import attrs
import trio

from statusd.config.mistakes import ConfigError, Mistake
from statusd.config.resolve import Configuration, SourceConfig, resolve
from statusd.config.scan import secrets_in
from statusd.config.settings import Settings, wanted_plugins
from statusd.errors import OptionError
from statusd.model.report import Report
from statusd.model.tree import segment
from statusd.net.http import HttpClient
from statusd.net.names import Resolver
from statusd.net.process import run_command
from statusd.net.redis import RedisServers
from statusd.net.tcp import TcpClient
from statusd.net.trace import Trace
from statusd.net.websocket import WebSocketClient
from statusd.plugin.contracts import Clock, Sink, Source, SourceInfo, View, ViewContext
from statusd.plugin.loading import load_plugins
from statusd.plugin.registry import Catalogue
from statusd.redaction import Redactor
from statusd.runtime.clock import SystemClock
from statusd.runtime.context import SourceContext, SourceLog
from statusd.runtime.hub import Hub, Statement, Tracked, pending
from statusd.runtime.probing import Prober
from statusd.runtime.sinks import SinkRunner, log_transitions
from statusd.web.documents import Documents

log = logging.getLogger(__name__)


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

    resolver: Resolver = attrs.field(factory=Resolver)
    redis: RedisServers = attrs.field(init=False)
    _http: list[HttpClient] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.redis = RedisServers(self.resolver)

    def context(self, config: SourceConfig, trace: Trace, clock: Clock) -> SourceContext:
        """Return the context of one source."""
        http = HttpClient(self.resolver, trace)
        self._http.append(http)
        return SourceContext(
            name=config.name,
            plugin=config.plugin,
            models=config.models,
            timeout=config.timeout,
            clock=clock,
            log=SourceLog(config.name),
            http=http,
            websocket=WebSocketClient(self.resolver, trace),
            tcp=TcpClient(self.resolver, trace),
            redis=self.redis.client(trace, config.timeout),
            run_command=partial(run_command, trace=trace),
        )

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._http:
            await client.aclose()
        self.redis.close()


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
    views: tuple[View, ...]
    sinks: tuple[SinkRunner, ...]
    documents: Documents


def build(plan: Plan, *, clock: Clock | None = None) -> Daemon:
    """Build the daemon; call it inside a trio run.

    Raises:
        ConfigError: when options of a source, view or sink do not go together.
        StartError: when two views claim one path.
    """
    clock = clock or SystemClock()
    net = Net()
    configuration = plan.configuration
    mistakes: list[Mistake] = []
    redactor = Redactor(configuration.secrets)
    sources = tuple(build_source(config, net, clock, redactor, mistakes) for config in configuration.sources)
    infos = tuple(_info(config) for config in configuration.sources)
    view_context = ViewContext(sources=infos, models=tuple(configuration.models))
    views = tuple(_views(plan, view_context, mistakes))
    sinks = tuple(SinkRunner(sink) for sink in _sinks(plan, mistakes))
    if mistakes:
        raise ConfigError(mistakes, configuration.origin)
    tracked = [
        Tracked(
            info=_info(built.config),
            models=built.config.models,
            required=built.config.required,
            first=built.first,
        )
        for built in sources
    ]
    hub = Hub(tracked, configuration.models, statements=tuple(_statements(plan)), clock=clock)
    hub.listen(log_transitions)
    for sink in sinks:
        hub.listen(sink.take)
    documents = Documents(
        views, lambda: hub.snapshot, on_view_failed=partial(_say_view_failed, hub, plan.catalogue)
    )
    return Daemon(plan=plan, net=net, hub=hub, sources=sources, views=views, sinks=sinks, documents=documents)


def build_source(
    config: SourceConfig, net: Net, clock: Clock, redactor: Redactor, mistakes: list[Mistake]
) -> BuiltSource:
    """Build one source; options that do not go together are added to `mistakes`, other faults become its report."""
    if config.fault is not None or config.source_type is None:
        reason, message = config.fault or ("plugin_failed", "The plugin registers no source type.")
        log.error("source %s: %s", config.name, message)
        return BuiltSource(config=config, first=(Report.unknown(reason, message),))
    trace = Trace()
    try:
        source: Source = config.source_type(context=net.context(config, trace, clock), **config.options)
        is_configured = bool(source.is_configured)
    except OptionError as error:
        mistakes.append(Mistake(f"sources.{config.name}.{error.option}", error.message))
        return BuiltSource(config=config, first=(Report.unknown("plugin_failed", error.message),))
    except BaseException as error:  # containment: a constructor is the plugin's code
        log.exception("source %s: its plugin raised while it was built", config.name)
        message = (
            f"The plugin raised {type(error).__name__} while the source was built; the log has the traceback."
        )
        return BuiltSource(config=config, first=(Report.unknown("plugin_failed", message),))
    prober = Prober(
        name=config.name,
        source=source,
        timeout=config.timeout,
        models=config.models,
        trace=trace,
        redact=redactor.value,
        log=SourceLog(config.name),
    )
    report = pending(is_configured=is_configured)
    return BuiltSource(
        config=config,
        first=prober.before_the_first(report) if is_configured else (report,),
        prober=prober if is_configured else None,
        trace=trace,
    )


def _info(config: SourceConfig) -> SourceInfo:
    return SourceInfo(name=config.name, plugin=config.plugin, backend=config.backend)


def _views(plan: Plan, context: ViewContext, mistakes: list[Mistake]) -> Iterator[View]:
    for name, view_type in plan.catalogue.views.items():
        try:
            yield view_type(context=context, **plan.configuration.views.get(name, {}))
        except OptionError as error:
            mistakes.append(Mistake(f"views.{name}.{error.option}", error.message))
        except BaseException:  # containment: a constructor is the plugin's code
            log.exception("view %s could not be built; its endpoints are missing", name)


def _sinks(plan: Plan, mistakes: list[Mistake]) -> Iterator[Sink]:
    for name, sink_type in plan.catalogue.sinks.items():
        try:
            yield sink_type(**plan.configuration.sinks.get(name, {}))
        except OptionError as error:
            mistakes.append(Mistake(f"sinks.{name}.{error.option}", error.message))
        except BaseException:  # containment: a constructor is the plugin's code
            log.exception("sink %s could not be built; it gets no transitions", name)


def _statements(plan: Plan) -> Iterator[Statement]:
    configuration = plan.configuration
    facts = {"origin": configuration.origin, "generation": 1, "sources": len(configuration.sources)}
    yield Statement(path="daemon/config", report=Report.ok(facts=facts))
    for plugin in plan.catalogue.plugins.values():
        about = {"distribution": plugin.distribution, "version": plugin.version}
        if plugin.error is not None:
            report = Report.unknown(plugin.error.reason, plugin.error.message, facts=about)
        elif plugin.registry is not None:
            report = Report.ok(facts=about)
        else:
            report = Report.off("plugin_disabled", "Installed and not enabled.", facts=about)
        yield Statement(path=f"plugins/{segment(plugin.name)}", report=report)


def _say_view_failed(hub: Hub, catalogue: Catalogue, view: str, _path: str, message: str | None) -> None:
    """Put a view's failure, or its recovery (`message` is None), on the node of its plugin."""
    plugin = catalogue.plugins[catalogue.view_owners[view]]
    about = {"distribution": plugin.distribution, "version": plugin.version}
    report = (
        Report.ok(facts=about) if message is None else Report.degraded("view_failed", message, facts=about)
    )
    with hub.inbox() as inbox, suppress(trio.WouldBlock):  # the log has it too
        inbox.send_nowait(Statement(path=f"plugins/{segment(plugin.name)}", report=report))
