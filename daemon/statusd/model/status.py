"""The five statuses and their order."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Status(StrEnum):
    """How a node is doing, best to worst; `OFF` (not configured or disabled) stands outside the order."""

    OK = "ok"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    DOWN = "down"
    OFF = "off"

    @property
    def severity(self) -> int:
        """Place in the order, 0 = ok; `unknown` outranks `degraded`: silence never looks healthier than a warning."""
        return _SEVERITY[self]

    @property
    def is_connected(self) -> bool:
        """Whether a backend in this status can serve (``connected`` in ``/models``)."""
        return self in {Status.OK, Status.DEGRADED}


_SEVERITY = {Status.OFF: -1, Status.OK: 0, Status.DEGRADED: 1, Status.UNKNOWN: 2, Status.DOWN: 3}


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst of `statuses`; `off` takes no part, and none at all is `off`."""
    return max(statuses, key=lambda status: status.severity, default=Status.OFF)


def best(statuses: Iterable[Status]) -> Status:
    """Return the best of `statuses`; `off` takes no part, and none at all is `off`."""
    counted = [status for status in statuses if status is not Status.OFF]
    return min(counted, key=lambda status: status.severity, default=Status.OFF)
