"""The metrics: what the tree, the counters and the daemon's own parts say, read when somebody scrapes."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from statusd.model.drains import Drain
from statusd.model.snapshot import Snapshot
from statusd.model.stats import Stats
from statusd.model.status import Status
from statusd.model.tree import Node, join
from statusd.plugin.contracts import Document
from statusd.web import families
from statusd.web.edge.common import Common
from statusd.web.edge_metrics import add_durations, edge_metrics
from statusd.web.exposition import Exposition
from statusd.web.usage import usage


@attrs.frozen(kw_only=True)
class Vitals:
    """How the daemon itself does.

    Attributes:
        version: of statusd.
        started: seconds since 1970.
        now: returns the wall clock, in seconds since 1970.
        streams: returns how many clients follow the events.
        dropped: returns name of a sink -> transitions that it was too slow for.
        lag: returns the seconds by which the event loop is late.
        unlogged: returns how many log records were dropped.
        drains: returns what an operator has drained.
    """

    version: str
    started: float
    now: Callable[[], float]
    streams: Callable[[], int]
    dropped: Callable[[], Mapping[str, int]]
    lag: Callable[[], float]
    unlogged: Callable[[], int] = lambda: 0
    drains: Callable[[], Sequence[Drain]] = tuple


@attrs.frozen(eq=False)
class Metrics(Collector):
    """Renders ``/metrics``; there are as many series as the configuration makes, whatever upstreams report.

    Attributes:
        snapshot: returns the newest snapshot.
        stats: what has been counted.
        vitals: how the daemon itself does.
        common: what has been counted of connections and requests.
    """

    snapshot: Callable[[], Snapshot]
    stats: Stats
    vitals: Vitals
    common: Common
    _exposition: Exposition = attrs.field(init=False)

    @_exposition.default
    def _of_a_registry_of_its_own(self) -> Exposition:
        registry = CollectorRegistry()  # the library's default one is the whole process's
        registry.register(self)
        return Exposition(registry)

    def render(self, accept: str = "") -> Document:
        """Return all metrics as they are now; where that costs much, as they were a moment ago.

        Args:
            accept: the value of the request's ``Accept``; it decides between OpenMetrics and Prometheus's text format.
        """
        return self._exposition.document(accept)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its samples."""
        snapshot = self.snapshot()
        nodes = dict(_configured(snapshot.root))
        sources = snapshot.root.children.get("sources")
        yield _node_statuses(nodes)
        yield from _freshness(sources.children if sources is not None else {}, self.vitals.now())
        yield from _probes(self.stats)
        yield _transitions(nodes, self.stats.transitions)
        yield _drain_ends(self.vitals.drains())
        yield from edge_metrics(self.common)
        yield from _vitals(self.vitals)
        yield from usage()


def _configured(root: Node) -> Iterator[tuple[str, Node]]:
    """Yield (path, node) of what the configuration decides about: the root, its branches, and what is in these."""
    yield "", root
    for wing, branch in root.children.items():
        yield wing, branch
        for name, node in branch.children.items():
            yield join(wing, name), node


def _node_statuses(nodes: Mapping[str, Node]) -> Metric:
    family = families.NODE_STATUS.states()
    for path, node in nodes.items():
        family.add_metric([path], {status.value: status is node.status for status in Status})
    return family


def _freshness(sources: Mapping[str, Node], now: float) -> Iterator[Metric]:
    ages, lifetimes = families.AGE.gauge(), families.LIFETIME.gauge()
    for name, node in sources.items():
        if node.observed_at is not None:
            # The clock may have been set back since; nothing is younger than new.
            ages.add_metric([name], max(0.0, now - node.observed_at))
            if node.expires_at is not None:
                lifetimes.add_metric([name], node.expires_at - node.observed_at)
    yield ages
    yield lifetimes


def _probes(stats: Stats) -> Iterator[Metric]:
    durations, probes = families.DURATION.histogram(), families.PROBES.counter()
    add_durations(durations, stats.durations)
    for (source, status), number in stats.outcomes.items():
        probes.add_metric([source, status], number)
    yield durations
    yield probes


def _transitions(nodes: Iterable[str], counted: Mapping[tuple[str, str], int]) -> Metric:
    family = families.TRANSITIONS.counter()
    # From nought on, so that a rate sees the first one too.
    from_nought = {(path, status.value): 0 for path in nodes for status in Status}
    for (path, after), number in {**from_nought, **counted}.items():
        family.add_metric([path, after], number)
    return family


def _drain_ends(drains: Sequence[Drain]) -> Metric:
    family = families.DRAIN_END.gauge()
    for drain in drains:
        family.add_metric([drain.path], math.inf if drain.until is None else drain.until)
    return family


def _vitals(vitals: Vitals) -> Iterator[Metric]:
    streams, dropped, lag = families.STREAMS.gauge(), families.DROPPED.counter(), families.LAG.gauge()
    started = families.STARTED.gauge()
    streams.add_metric([], vitals.streams())
    for sink, number in vitals.dropped().items():
        dropped.add_metric([sink], number)
    lag.add_metric([], vitals.lag())
    started.add_metric([], vitals.started)
    yield streams
    yield dropped
    unlogged = families.UNLOGGED.counter()
    unlogged.add_metric([], vitals.unlogged())
    yield unlogged
    yield lag
    yield families.BUILD.info(version=vitals.version, python=platform.python_version())
    yield started
