"""Builds every part of the daemon from a plan; nothing runs yet."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final

import attrs
import trio

from statusd.config.mistakes import Mistake
from statusd.events import CONFIG_FAULT, event
from statusd.model.drains import Drain
from statusd.model.kept import fingerprint
from statusd.model.report import Json, Report
from statusd.model.stats import Stats
from statusd.parts import Builder, BuiltSource, Net, Parts
from statusd.planning import Plan
from statusd.runtime.drain_file import NODE as DRAINS
from statusd.runtime.drain_file import DrainFile
from statusd.runtime.draining import Drains
from statusd.runtime.hub import Hub
from statusd.runtime.keeping import Keeper
from statusd.runtime.messages import Draining, Statement, Tracked
from statusd.runtime.plugin_nodes import PluginNodes
from statusd.runtime.pulse import Pulse
from statusd.runtime.refreshing import Refresher
from statusd.runtime.restoring import Past
from statusd.runtime.revisions import RevisionFile
from statusd.runtime.sinks import log_transitions
from statusd.serving import (
    Running,
    Served,
    build_access,
    build_common,
    build_documents,
    build_edge,
    build_service,
)
from statusd.sources import Sources
from statusd.web.answering import Service
from statusd.web.documents import Documents
from statusd.web.edge.common import Common
from statusd.web.edge.shared import Edge

CONFIG: Final = "daemon/config"
log = logging.getLogger(__name__)

_OURS: Final = ("http.", "views.", "sinks.", "plugins.enabled[", "plugins.disabled[", "ready.")
"""Where the faults stand that no source and no plugin has a node for."""


@attrs.define(eq=False)
class ViewFaults:
    """Shows on the nodes of plugins which of their views fail.

    Attributes:
        hub: has the nodes.
        plan: says whose each view is.
        nodes: says what stands on the nodes.
        is_shown: whether the tree is that of `plan`; while it is not, what happens is only noted.
    """

    hub: Hub
    plan: Plan
    nodes: PluginNodes
    is_shown: bool = True

    def __call__(self, view: str, path: str, message: str | None, /) -> None:
        """Take that a view fails, or works again; see `OnViewFailed`."""
        failure = Report.degraded("view_failed", message) if message is not None else None
        owner = self.plan.catalogue.view_owners[view]
        statement = self.nodes.note(owner, f"view {view} at {path}", failure)
        if self.is_shown:
            with self.hub.inbox() as inbox, suppress(trio.WouldBlock):  # the log has it too
                inbox.send_nowait(statement)


@attrs.define(eq=False, kw_only=True)
class Daemon:
    """Every part of the daemon, built and not yet running.

    Attributes:
        plan: what it was built from; a reload replaces it, as the next five.
        parts: what plugins brought.
        documents: those of the views.
        faults: shows which of them fail.
        common: bounds and counts.
        generation: how many configurations there have been.
        net: the probe clients.
        keeper: keeps the tree over restarts.
        revisions: sees to it that revisions only grow, over restarts, too.
        drains: what operators have taken out of service.
        running: what there is to serve.
        sources: those that are probed.
        service: what is served.
        edge: what serves it.
        nursery: where runs what ends with the daemon.
    """

    plan: Plan
    parts: Parts
    documents: Documents
    faults: ViewFaults
    common: Common
    generation: int = 1
    net: Net
    keeper: Keeper
    revisions: RevisionFile
    drains: Drains
    running: Running
    sources: Sources
    service: Service
    edge: Edge
    nursery: trio.Nursery = attrs.field(init=False)

    @property
    def hub(self) -> Hub:
        """The only owner of the tree."""
        return self.running.hub


def build(plan: Plan) -> Daemon:
    """Build the daemon; call it inside a trio run.

    Raises:
        ConfigError: when options of a source, view or sink do not go together.
        StartError: when two views claim one path.
    """
    configuration = plan.configuration
    net = Net(tuple(configuration.models))
    builder = Builder(plan, net)
    parts = builder.parts()
    keeper = Keeper.under_systemd(plan.environ, builder.clock)
    drain_file = DrainFile.under_systemd(plan.environ)
    revisions = RevisionFile.under_systemd(plan.environ)
    hub = _hub(builder, parts, keeper, drain_file, revisions)
    for sink in parts.sinks.values():
        hub.listen(sink.take)
    stats, refresher = Stats(), Refresher(hub)
    hub.listen(stats.take)
    running = Running(hub=hub, stats=stats, pulse=Pulse(hub), refresher=refresher)
    faults = ViewFaults(hub, plan, parts.plugin_nodes)
    documents = build_documents(parts.views, running.snapshot, faults)
    common = build_common(configuration.http)
    service = build_service(served(plan, parts, documents, common), running)
    return Daemon(
        plan=plan,
        parts=parts,
        documents=documents,
        faults=faults,
        common=common,
        net=net,
        keeper=keeper,
        revisions=revisions,
        drains=_drains(drain_file, builder, hub),
        running=running,
        sources=Sources(stats, refresher),
        service=service,
        edge=build_edge(service, configuration.http, common),
    )


def served(plan: Plan, parts: Parts, documents: Documents, common: Common) -> Served:
    """Return what is served, as far as `plan` says."""
    configuration = plan.configuration
    return Served(
        dropped=lambda: {name: sink.dropped for name, sink in parts.sinks.items()},
        documents=documents,
        sources=[config.info for config in configuration.sources],
        models=configuration.models,
        require=configuration.ready.require,
        access=build_access(configuration.http),
        common=common,
    )


def tracked(built: BuiltSource, past: Past | None = None) -> Tracked:
    """Return a source as the hub knows it.

    Args:
        built: the source.
        past: what an earlier process left, for it to start from.
    """
    config, made_of = built.config, ""
    if built.prober is not None:  # else what it shows is said by the configuration alone
        made_of = fingerprint(config.plugin, config.models, config.options, built.prober.redact)
    restored = None
    if past is not None:
        restored = past.reading(config.name, made_of, models=config.models, patience=built.patience)
    return Tracked(
        info=config.info,
        models=config.models,
        first=built.first,
        patience=built.patience,
        restored=restored,
        made_of=made_of,
    )


def _hub(
    builder: Builder, parts: Parts, keeper: Keeper, drain_file: DrainFile, revisions: RevisionFile
) -> Hub:
    plan = builder.plan
    configuration = plan.configuration
    past, drains = keeper.read(), drain_file.read(builder.clock.now())
    sources = [tracked(built, past) for built in parts.sources]
    keeper.began(past, sum(one.restored is not None for one in sources))
    hub = Hub(
        sources,
        configuration.models,
        statements=(
            about(plan, 1),
            keeper.statement(),
            Statement(path=DRAINS, report=drain_file.report()),
            *parts.plugin_nodes.statements(),
        ),
        rules=configuration.rollup,
        clock=builder.clock,
        first_revision=max(revisions.first(builder.clock.now()), past.revision + 1),
        drains=drains,
        known=past.since(),
    )
    revisions.reach(hub.snapshot.revision)
    hub.listen(log_transitions)
    hub.listen(revisions.take)
    return hub


def _drains(drain_file: DrainFile, builder: Builder, hub: Hub) -> Drains:
    async def apply(drains: tuple[Drain, ...]) -> None:
        await hub.send(Draining(drains))

    return Drains(
        hub.drains,
        file=drain_file,
        clock=builder.clock,
        snapshot=lambda: hub.snapshot,
        apply=apply,
    )


def about(plan: Plan, generation: int) -> Statement:
    """Return what to show about the configuration, with the faults that no source and no plugin shows; logs these.

    Args:
        plan: the configuration.
        generation: how many there have been, with this one.
    """
    configuration, facts = plan.configuration, facts_about(plan, generation)
    faults = [f"{path}: {message}" for path, message in configuration.faults if path.startswith(_OURS)]
    for fault in faults:
        log.error("%s", fault, extra=event(CONFIG_FAULT, path=CONFIG, reason="config_fault"))
    report = Report.degraded("config_fault", faults[0], facts=facts) if faults else Report.ok(facts=facts)
    return Statement(path=CONFIG, report=report)


def faults_of(plan: Plan, parts: Parts) -> list[Mistake]:
    """Return what is not as the configuration says, and does not keep the daemon from running.

    Args:
        plan: the configuration.
        parts: what was built from it.
    """
    found = [Mistake(path, message) for path, message in plan.configuration.faults]
    known = {".".join(fault.path.split(".", 2)[:2]) for fault in found}  # of a source, or of one of its keys
    for built in parts.sources:
        path = f"sources.{built.config.name}"
        if built.prober is None and built.first[0].reason != "not_configured" and path not in known:
            found.append(Mistake(path, built.first[0].message))
    return found


def facts_about(plan: Plan, generation: int) -> dict[str, Json]:
    """Return the facts of the configuration's node; see `about`."""
    configuration = plan.configuration
    return {
        "origin": configuration.origin,
        "generation": generation,
        "sources": len(configuration.sources),
    }
