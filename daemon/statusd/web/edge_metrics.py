"""The metrics of connections and requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs
from prometheus_client.metrics_core import HistogramMetricFamily, Metric

from statusd.model.stats import BUCKETS, Durations
from statusd.web import families
from statusd.web.edge.common import Common
from statusd.web.edge.guard import WHAT
from statusd.web.edge.limits import Limits
from statusd.web.edge.traffic import FIXED, Traffic


def edge_metrics(common: Common) -> Iterator[Metric]:
    """Yield the metrics of connections and requests; strangers can make no series but of status codes and endpoints.

    Args:
        common: what has been counted.
    """
    yield from _requests(common.traffic)
    yield from _connections(common.traffic)
    yield from _bounds(common.limits, common.traffic.limited)
    failures = families.FAILURES.counter()
    for what, number in _from_nought(WHAT, common.guard.failures).items():
        failures.add_metric([what], number)
    yield failures


def _requests(traffic: Traffic) -> Iterator[Metric]:
    requests, durations = families.REQUESTS.counter(), families.REQUEST_DURATION.histogram()
    for (route, stage, status), number in traffic.requests.items():
        requests.add_metric([route, stage, str(status) if status else "none"], number)
    add_durations(durations, traffic.durations)
    yield requests
    yield durations


def _connections(traffic: Traffic) -> Iterator[Metric]:
    connections, waiting = families.CONNECTIONS.gauge(), families.WAITING.gauge()
    accepted, failed = families.ACCEPTED.counter(), families.HANDSHAKES.counter()
    connections.add_metric([], traffic.connections)
    accepted.add_metric([], traffic.accepted)
    failed.add_metric([], traffic.failed_handshakes)
    waiting.add_metric([], traffic.waiting)
    yield connections
    yield accepted
    yield failed
    yield waiting


def _bounds(limits: Limits, hits: Mapping[str, int]) -> Iterator[Metric]:
    values = attrs.asdict(limits)
    limit, limited = families.LIMIT.gauge(), families.LIMITED.counter()
    for bound, value in values.items():
        limit.add_metric([bound], value)
    for bound, number in _from_nought((*values, *FIXED), hits).items():
        limited.add_metric([bound], number)
    yield limit
    yield limited


def _from_nought(names: Iterable[str], counted: Mapping[str, int]) -> Mapping[str, int]:
    """Return `counted` with all of `names`, so that a rate sees the first one too."""
    return {**dict.fromkeys(names, 0), **counted}


def add_durations(family: HistogramMetricFamily, durations: Mapping[str, Durations]) -> None:
    """Add a histogram for each of `durations`, by the value of the one label that `family` has."""
    bounds = [*(repr(bound) for bound in BUCKETS), "+Inf"]
    for name, took in durations.items():
        buckets = list(zip(bounds, took.cumulative(), strict=True))
        family.add_metric([name], buckets, sum_value=took.seconds)
