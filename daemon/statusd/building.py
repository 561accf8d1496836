"""Builds every part of the daemon from a configuration; nothing runs yet."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import EntryPoint
from typing import Final, TypeVar

import attrs
import trio

from statusd.config.resolve import Configuration, resolve
from statusd.config.scan import secrets_in
from statusd.config.settings import Settings, wanted_plugins
from statusd.model.report import Json, Report
from statusd.model.stats import Stats
from statusd.parts import Builder, BuiltSource, Net
from statusd.plugin.loading import load_plugins
from statusd.plugin.registry import Catalogue
from statusd.redaction import Redactor
from statusd.runtime.hub import Hub, Statement, Tracked
from statusd.runtime.pulse import Pulse
from statusd.runtime.refreshing import Refresher
from statusd.runtime.revisions import RevisionFile
from statusd.runtime.sinks import SinkRunner, log_transitions
from statusd.serving import Served, build_access, build_common, build_edge, build_service
from statusd.web.answering import Service
from statusd.web.edge.shared import Edge

T = TypeVar("T")
log = logging.getLogger(__name__)

_OURS: Final = ("http.", "views.", "sinks.", "plugins.enabled[", "plugins.disabled[", "ready.")
"""Where the faults stand that no source and no plugin has a node for."""


@attrs.frozen(kw_only=True)
class Plan:
    """A configuration held against the installed plugins: all that the daemon is built from.

    Attributes:
        configuration: what to run.
        catalogue: the plugins.
        environ: the variables, among them the directories that systemd made.
    """

    configuration: Configuration
    catalogue: Catalogue
    environ: Mapping[str, str] = attrs.field(factory=dict, repr=False)


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
    return Plan(configuration=configuration, catalogue=catalogue, environ=settings.environ)


@attrs.frozen(kw_only=True)
class Daemon:
    """Every part of the daemon, built and not yet running."""

    plan: Plan
    net: Net
    hub: Hub
    sources: tuple[BuiltSource, ...]
    sinks: tuple[SinkRunner, ...]
    stats: Stats
    pulse: Pulse
    refresher: Refresher
    service: Service
    edge: Edge


def build(plan: Plan) -> Daemon:
    """Build the daemon; call it inside a trio run.

    Raises:
        ConfigError: when options of a source, view or sink do not go together.
        StartError: when two views claim one path.
    """
    configuration = plan.configuration
    builder = Builder(configuration, plan.catalogue)
    sources = tuple(builder.source(config) for config in configuration.sources)
    views = builder.views()
    sinks = builder.sinks()
    builder.expect_no_mistakes()
    hub = _hub(plan, builder, sources)
    for sink in sinks:
        hub.listen(sink.take)

    def say_view_failed(view: str, path: str, message: str | None) -> None:
        failure = Report.degraded("view_failed", message) if message is not None else None
        owner = plan.catalogue.view_owners[view]
        with hub.inbox() as inbox, suppress(trio.WouldBlock):  # the log has it too
            inbox.send_nowait(builder.plugin_nodes.note(owner, f"view {view} at {path}", failure))

    stats, pulse, refresher = Stats(), Pulse(hub), Refresher(hub)
    hub.listen(stats.take)
    common = build_common(configuration.http)
    served = Served(
        views=views,
        sources=[config.info for config in configuration.sources],
        models=configuration.models,
        require=configuration.ready.require,
        dropped=lambda: {sink.sink.name: sink.dropped for sink in sinks},
        on_view_failed=say_view_failed,
        access=build_access(configuration.http),
        common=common,
    )
    service = build_service(served, hub, stats, pulse, refresher)
    return Daemon(
        plan=plan,
        net=builder.net,
        hub=hub,
        sources=sources,
        sinks=sinks,
        stats=stats,
        pulse=pulse,
        refresher=refresher,
        service=service,
        edge=build_edge(service, configuration.http, common),
    )


def _hub(plan: Plan, builder: Builder, sources: Iterable[BuiltSource]) -> Hub:
    configuration = plan.configuration
    tracked = [
        Tracked(
            info=built.config.info,
            models=built.config.models,
            first=built.first,
            patience=built.patience,
        )
        for built in sources
    ]
    statements = (_about(configuration), *builder.plugin_nodes.statements())
    revisions = RevisionFile.under_systemd(plan.environ)
    hub = Hub(
        tracked,
        configuration.models,
        statements=statements,
        rules=configuration.rollup,
        clock=builder.clock,
        first_revision=revisions.first(builder.clock.now()),
    )
    hub.listen(log_transitions)
    hub.listen(revisions.take)
    return hub


def _about(configuration: Configuration) -> Statement:
    """Return what to show about the configuration, with the faults that no source and no plugin shows."""
    sources = len(configuration.sources)
    facts: dict[str, Json] = {"origin": configuration.origin, "generation": 1, "sources": sources}
    faults = [f"{path}: {message}" for path, message in configuration.faults if path.startswith(_OURS)]
    for fault in faults:
        log.error("%s", fault)
    report = Report.degraded("config_fault", faults[0], facts=facts) if faults else Report.ok(facts=facts)
    return Statement(path="daemon/config", report=report)
