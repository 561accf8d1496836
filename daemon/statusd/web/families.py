"""The metrics there are: their names, kinds, labels and meanings, as docs/metrics.md lists them."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import attrs
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
)

Kind: TypeAlias = Literal["gauge", "counter", "histogram", "state set", "info"]


@attrs.frozen
class Family:
    """A metric.

    Attributes:
        name: as in the Prometheus text format, the suffixes of a histogram's series aside.
        kind: what its values mean.
        labels: names of its labels.
        meaning: one sentence, with the unit.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str

    @property
    def unit(self) -> str:
        """The unit, as OpenMetrics wants it."""
        return "seconds" if self.name.removesuffix("_total").endswith("_seconds") else ""

    def gauge(self) -> GaugeMetricFamily:
        """Return a gauge without samples."""
        return GaugeMetricFamily(self.name, self.meaning, labels=self.labels, unit=self.unit)

    def counter(self) -> CounterMetricFamily:
        """Return a counter without samples."""
        return CounterMetricFamily(self.name, self.meaning, labels=self.labels, unit=self.unit)

    def histogram(self) -> HistogramMetricFamily:
        """Return a histogram without samples."""
        return HistogramMetricFamily(self.name, self.meaning, labels=self.labels, unit=self.unit)

    def states(self) -> StateSetMetricFamily:
        """Return a state set without samples; the last label, which has the metric's own name, holds the state."""
        return StateSetMetricFamily(self.name, self.meaning, labels=self.labels[:-1])

    def info(self, **values: str) -> InfoMetricFamily:
        """Return an info metric."""
        return InfoMetricFamily(self.name.removesuffix("_info"), self.meaning, value=values)


NODE_STATUS: Final = Family(
    "statusd_node_status",
    "state set",
    ("path", "statusd_node_status"),
    "Whether a node has a status: 1 for the one it has, 0 for the others; an empty path is the whole tree.",
)
AGE: Final = Family(
    "statusd_reading_age_seconds",
    "gauge",
    ("source",),
    "Seconds since a source was last observed, at the time of the scrape; absent before the first time.",
)
LIFETIME: Final = Family(
    "statusd_reading_lifetime_seconds",
    "gauge",
    ("source",),
    "Seconds of age beyond which what was last observed of a source is stale.",
)
DURATION: Final = Family(
    "statusd_probe_duration_seconds",
    "histogram",
    ("source",),
    "Seconds that the probes of a source took, failed ones included.",
)
PROBES: Final = Family(
    "statusd_probes_total",
    "counter",
    ("source", "status"),
    "Finished probes of a source by what they found, before thresholds and dependencies.",
)
TRANSITIONS: Final = Family(
    "statusd_transitions_total",
    "counter",
    ("path", "to"),
    "Times that a node's status changed to this one, or that it went (gone).",
)
DRAIN_END: Final = Family(
    "statusd_drain_end_timestamp_seconds",
    "gauge",
    ("path",),
    "When what an operator has drained is in service again, in seconds since 1970; +Inf: once it is undrained.",
)
STREAMS: Final = Family("statusd_event_streams", "gauge", (), "Clients that follow /events now.")
DROPPED: Final = Family(
    "statusd_dropped_records_total",
    "counter",
    ("sink",),
    "Transitions that a sink was too slow for.",
)
UNLOGGED: Final = Family(
    "statusd_log_records_dropped_total",
    "counter",
    (),
    "Log records that were dropped, because they could not be written as fast as they came.",
)
REQUESTS: Final = Family(
    "statusd_http_requests_total",
    "counter",
    ("route", "stage", "code"),
    "Requests by endpoint, by what answered them (front or app) and by status code; none where there was none.",
)
REQUEST_DURATION: Final = Family(
    "statusd_http_request_duration_seconds",
    "histogram",
    ("route",),
    "Seconds that answers of the application took, waiting and sending included, event streams left out.",
)
CONNECTIONS: Final = Family("statusd_http_connections", "gauge", (), "Connections that are open.")
ACCEPTED: Final = Family("statusd_http_accepted_connections_total", "counter", (), "Connections accepted.")
HANDSHAKES: Final = Family(
    "statusd_http_failed_handshakes_total",
    "counter",
    (),
    "Connections whose client spoke no TLS, or another one, where TLS is wanted.",
)
WAITING: Final = Family(
    "statusd_http_waiting_requests", "gauge", (), "Requests that wait for a change or for probes now."
)
LIMIT: Final = Family(
    "statusd_http_limit", "gauge", ("bound",), "What a bound of [http.limits] is set to, in its own unit."
)
LIMITED: Final = Family(
    "statusd_http_limited_total",
    "counter",
    ("bound",),
    "Times that a bound of [http.limits] refused or ended something.",
)
FAILURES: Final = Family(
    "statusd_http_failures_total",
    "counter",
    ("what",),
    "Failures of a request, of a connection or of accepting one, each contained and logged.",
)
LAG: Final = Family(
    "statusd_loop_lag_seconds",
    "gauge",
    (),
    "Seconds by which the event loop woke too late, the worst of the last minute.",
)
BUILD: Final = Family(
    "statusd_build_info", "info", ("version", "python"), "1, with the versions of statusd and of its Python."
)
STARTED: Final = Family(
    "statusd_start_time_seconds", "gauge", (), "When statusd started, in seconds since 1970."
)
CPU: Final = Family(
    "process_cpu_seconds_total", "counter", (), "Seconds of processor time that the process has used."
)
MEMORY: Final = Family(
    "process_resident_memory_bytes", "gauge", (), "Bytes of memory that the process holds."
)
FILES: Final = Family("process_open_fds", "gauge", (), "File descriptors that the process has open.")
MAX_FILES: Final = Family("process_max_fds", "gauge", (), "File descriptors that the process may have open.")

FAMILIES: Final = (
    NODE_STATUS,
    AGE,
    LIFETIME,
    DURATION,
    PROBES,
    TRANSITIONS,
    DRAIN_END,
    REQUESTS,
    REQUEST_DURATION,
    CONNECTIONS,
    ACCEPTED,
    HANDSHAKES,
    WAITING,
    LIMIT,
    LIMITED,
    FAILURES,
    STREAMS,
    DROPPED,
    UNLOGGED,
    LAG,
    BUILD,
    STARTED,
    CPU,
    MEMORY,
    FILES,
    MAX_FILES,
)
"""All of them, in the order in which they are written."""
