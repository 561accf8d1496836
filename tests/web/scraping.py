"""Metrics of a daemon as it could be, for tests that read a scrape."""

from __future__ import annotations

import attrs
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from statusd import Node, Snapshot, Status, Transition, segment
from statusd.model.drains import Drain
from statusd.model.snapshot import Change
from statusd.model.stats import Stats
from statusd.web.edge.common import Common
from statusd.web.edge.limits import Limits
from statusd.web.metrics import Metrics, Vitals

NOW = 1_800_000_000.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def observed(status=Status.OK, *, age=3.0, lifetime=8.0, **rest):
    return Node(status=status, observed_at=NOW - age, expires_at=NOW - age + lifetime, **rest)


def tree(sources, models=("flashtalk",)):
    """Return a tree of the given nodes of sources, and healthy models."""
    return Node(
        status=Status.DEGRADED,
        children={
            "sources": Node(status=Status.DEGRADED, children=sources),
            "models": Node(
                status=Status.OK, children={segment(model): Node(status=Status.OK) for model in models}
            ),
            "plugins": Node(status=Status.OK, children={"takeoff": Node(status=Status.OK)}),
            "daemon": Node(status=Status.OK, children={"loop": Node(status=Status.OK)}),
        },
    )


SOURCES = {
    "inference": observed(),
    "omnirt": observed(Status.DOWN, age=1.5),
    "queue": Node(status=Status.UNKNOWN, reason="pending"),
    "vllm": Node(status=Status.OFF),
}


@attrs.define(kw_only=True)
class Scraped:
    """Metrics, and all that they read, to be changed by a test."""

    root: Node = attrs.field(factory=lambda: tree(SOURCES))
    stats: Stats = attrs.field(factory=Stats)
    now: float = NOW
    streams: int = 2
    dropped: dict = attrs.field(factory=lambda: {"webhook": 5})
    lag: float = 0.25
    drains: tuple = ()
    common: Common = attrs.field(factory=lambda: Common(limits=Limits(connections=512)))
    metrics: Metrics = attrs.field(init=False)

    def __attrs_post_init__(self):
        vitals = Vitals(
            version="0.1.0",
            started=NOW - 3600,
            now=lambda: self.now,
            streams=lambda: self.streams,
            dropped=lambda: self.dropped,
            lag=lambda: self.lag,
            drains=lambda: self.drains,
        )
        self.metrics = Metrics(self.snapshot, self.stats, vitals, self.common)
        self.metrics._exposition.cost = lambda: 0.0  # however slow the machine, a scrape is of now

    def snapshot(self):
        return Snapshot(root=self.root, revision=1, version=1, at=NOW)

    def move(self, path, after):
        """Let the node at `path` change to the status `after`; None: let it go."""
        moved = Transition(
            path=path, before=Status.OK, after=after, reason="", message="", at=NOW, revision=2
        )
        self.stats.take(Change(snapshot=self.snapshot(), transitions=(moved,)))

    def text(self, accept=""):
        return self.metrics.render(accept).body.decode()

    def samples(self, accept=""):
        """Return (name, labels as sorted pairs) -> value, of every sample in a scrape."""
        return read(self.text(accept), is_openmetrics=bool(accept))


def populated():
    """Return metrics in which every kind of series has a sample."""
    made = Scraped()
    for status in Status:
        made.stats.note("inference", status, 0.03)
    made.stats.note("omnirt", Status.DOWN, 2.0)
    made.move("sources/omnirt", Status.DOWN)
    made.move("models/flashtalk", None)
    traffic = made.common.traffic
    traffic.requests |= {("/health", "front", 200): 70, ("/events", "app", 503): 2, ("none", "app", 0): 1}
    traffic.took("/metrics", 0.004)
    traffic.limited["streams"] += 2
    traffic.accepted, traffic.connections, traffic.waiting = 60, 3, 1
    made.common.guard.failures["request"] += 1
    made.drains = (Drain(path="models/flashtalk", reason="new disks", since=NOW),)
    return made


def read(text, *, is_openmetrics=False):
    parse = openmetrics.text_string_to_metric_families if is_openmetrics else text_string_to_metric_families
    found = {}
    for family in parse(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found
