"""What there is of the edge before there is anything to serve, so that also the metrics, which are served, know it."""

from __future__ import annotations

import attrs

from statusd.web.edge.guard import Guard
from statusd.web.edge.limits import Limits
from statusd.web.edge.traffic import Traffic


@attrs.frozen(kw_only=True)
class Common:
    """What all connections and the application have in common.

    Attributes:
        limits: bounds of a connection.
        guard: contains and counts failures.
        traffic: counts requests, connections and hits of bounds.
    """

    limits: Limits = attrs.field(factory=Limits)
    guard: Guard = attrs.field(factory=Guard)
    traffic: Traffic = attrs.field(factory=Traffic)
