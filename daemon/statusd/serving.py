"""Puts together what is served over HTTP: the documents of views, the daemon's own, and what keeps them fresh."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

import attrs

from statusd import __version__
from statusd.config.http import HttpSettings
from statusd.model.snapshot import Snapshot
from statusd.model.stats import Stats
from statusd.model.tree import segment
from statusd.plugin.context import SourceInfo
from statusd.plugin.contracts import Document, View
from statusd.runtime.hub import Hub
from statusd.runtime.pulse import Pulse
from statusd.runtime.refreshing import Refresher
from statusd.systemd.logs import dropped as unlogged
from statusd.web.access import Access
from statusd.web.answering import Answers, Service
from statusd.web.app import create_app
from statusd.web.documents import Documents, Latest, OnViewFailed, Rendered
from statusd.web.edge.access_log import SampledLog
from statusd.web.edge.common import Common
from statusd.web.edge.front import Front
from statusd.web.edge.limits import Limits
from statusd.web.edge.shared import Edge
from statusd.web.edge.traffic import AccessLog, Traffic
from statusd.web.explain import render_explanation
from statusd.web.feed import Feed
from statusd.web.freshness import Freshness
from statusd.web.metrics import Metrics, Vitals
from statusd.web.openapi import render_openapi
from statusd.web.page import HEADERS, render_page
from statusd.web.readiness import render_ready
from statusd.web.site import RESERVED, Ask, Core, Site


@attrs.frozen(kw_only=True)
class Served:
    """What is served, as far as the configuration says.

    Attributes:
        documents: those of views.
        sources: every configured source, in order.
        models: model id -> names of the sources that can serve it.
        require: paths of the nodes without which the daemon is not ready.
        dropped: returns name of a sink -> transitions that it was too slow for.
        access: who may ask for what.
        common: bounds and counts, for the metrics.
    """

    documents: Documents
    sources: Sequence[SourceInfo]
    models: Mapping[str, Sequence[str]]
    require: Sequence[str]
    dropped: Callable[[], Mapping[str, int]]
    access: Access
    common: Common


@attrs.define(eq=False, kw_only=True)
class Running:
    """What there is to serve, whatever the configuration says.

    Attributes:
        hub: has the tree.
        stats: what has been counted of probes and nodes.
        pulse: whether the hub makes progress.
        refresher: has sources probed.
        feed: what revisions changed.
        started: seconds since 1970.
    """

    hub: Hub
    stats: Stats
    pulse: Pulse
    refresher: Refresher
    feed: Feed = attrs.field(init=False)
    started: float = attrs.field(factory=time.time)

    def __attrs_post_init__(self) -> None:
        self.feed = Feed(self.snapshot)
        self.hub.listen(self.feed.take)

    def snapshot(self) -> Snapshot:
        """Return the newest snapshot."""
        return self.hub.snapshot


def build_documents(
    views: Sequence[View], snapshot: Callable[[], Snapshot], on_view_failed: OnViewFailed
) -> Documents:
    """Return the documents of `views`.

    Raises:
        StartError: when two views, or a view and the daemon, claim one path.
    """
    return Documents(views, snapshot, reserved=RESERVED, on_view_failed=on_view_failed)


def build_service(served: Served, running: Running) -> Service:
    """Return what the application serves."""
    feed, pulse, documents = running.feed, running.pulse, served.documents
    vitals = Vitals(
        version=__version__,
        started=running.started,
        now=time.time,
        streams=lambda: feed.readers,
        dropped=served.dropped,
        lag=lambda: pulse.lag,
        unlogged=unlogged,
        drains=lambda: running.hub.drains,
    )
    metrics = Metrics(snapshot=running.snapshot, stats=running.stats, vitals=vitals, common=served.common)
    site = Site(
        documents,
        _core(served, running.snapshot, pulse, metrics, openapi=partial(_openapi, documents)),
        sources=served.sources,
        models={segment(model): names for model, names in served.models.items()},
        snapshot=running.snapshot,
    )
    freshness = Freshness(
        sources={source.name: source for source in served.sources},
        snapshot=running.snapshot,
        refresh=running.refresher.refresh,
    )
    return Service(site=site, feed=feed, freshness=freshness, snapshot=running.snapshot, access=served.access)


def build_access(http: HttpSettings) -> Access:
    """Return who may ask for what, as the table ``[http]`` says."""
    return Access(token=http.token, hosts=frozenset(http.hosts), origins=frozenset(http.cors_origins))


def build_common(http: HttpSettings, before: Common | None = None) -> Common:
    """Return bounds and counts, as the table ``[http]`` says.

    Args:
        http: the table.
        before: what goes on counting, if anything does.
    """
    given = attrs.asdict(http.limits)
    limits = Limits(**{name: value for name, value in given.items() if value is not None})
    if before is not None:
        return attrs.evolve(before, limits=limits)
    return Common(limits=limits, traffic=Traffic(log=build_log(http)))


def build_log(http: HttpSettings) -> AccessLog | None:
    """Return the access log that the table ``[http]`` wants, if it wants one."""
    return SampledLog(http.access_log) if http.access_log else None


def build_edge(service: Service, http: HttpSettings, common: Common) -> Edge:
    """Return what serves `service` as the table ``[http]`` says, within the bounds of `common`."""
    limits = common.limits

    def front(*, is_probes_only: bool) -> Front | None:
        if not http.front_stage:
            return None
        answers = Answers(
            service,
            patience=limits.waiting_time,
            most_waiting=limits.waiting,
            traffic=common.traffic,
        )
        return Front(
            answers,
            version=lambda: service.snapshot().version,
            now=service.now,
            is_probes_only=is_probes_only,
        )

    return Edge(
        create_app(service, limits, common.guard, common.traffic),
        limits,
        common.guard,
        front=front(is_probes_only=False),
        probes_front=front(is_probes_only=True),
        traffic=common.traffic,
    )


def refit(edge: Edge, service: Service, http: HttpSettings, common: Common) -> None:
    """Have `edge` serve within other bounds, or with or without the front stage, from now on."""
    other = build_edge(service, http, common)
    edge.limits, edge.app = other.limits, other.app
    edge.front, edge.probes_front = other.front, other.probes_front


def _core(
    served: Served,
    snapshot: Callable[[], Snapshot],
    pulse: Pulse,
    metrics: Metrics,
    *,
    openapi: Callable[[], Rendered],
) -> Core:
    sources = {source.name: source for source in served.sources}
    pages = Latest(snapshot, lambda newest: Rendered.of(render_page(newest), HEADERS))

    def ready(branch: str, ask: Ask) -> Document | None:
        return render_ready(snapshot(), branch, ask.query, served.require, ask.now)

    def explain(branch: str, ask: Ask) -> Document | None:
        return render_explanation(snapshot(), branch, sources, ask.now)

    def scrape(ask: Ask) -> Rendered:
        return Rendered.of(metrics.render(ask.accept), {"Vary": "Accept"})

    return Core(
        page=lambda _ask: pages.get(),
        live=partial(_live, pulse),
        ready=ready,
        explain=explain,
        metrics=scrape,
        openapi=lambda _ask: openapi(),
    )


@lru_cache(maxsize=1)
def _openapi(documents: Documents) -> Rendered:
    # When it is asked for, and once: it takes the event loop tens of milliseconds, and a reload has requests in flight.
    return render_openapi(documents.pages.values())


def _live(pulse: Pulse, _ask: Ask) -> Document:
    if pulse.is_alive:
        return Document(body=b"alive\n", content_type="text/plain; charset=utf-8")
    text = f"not alive: the tree has made no progress for {pulse.silence:.1f} s\n"
    return Document(body=text.encode(), status=503, content_type="text/plain; charset=utf-8")
