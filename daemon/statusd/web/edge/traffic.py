"""What is counted of connections and requests, for the metrics; and the access log."""

from __future__ import annotations

from collections import Counter
from typing import Final, Protocol

import attrs

from statusd.model.stats import Durations

FRONT: Final = "front"
"""The stage that answered: the front stage."""
APP: Final = "app"
"""The stage that answered: the application."""


NOWHERE: Final = "none"
"""Stands for the route of a request that reached no endpoint."""

FIXED: Final = ("http2_frames", "http2_streams")
"""Bounds that are hit like those of `Limits`, and that nobody needs to set."""


@attrs.frozen(kw_only=True)
class Exchange:
    """A request and what it got.

    Attributes:
        client: the peer, as people write it; ``""`` when it has no address.
        method: as sent; ``""`` when no request was understood.
        target: as sent; likewise.
        version: of HTTP, such as ``1.1``; likewise.
        status: the status code; 0 = the client left before any.
        size: bytes of the body that were to be sent.
        seconds: from the complete header to the end of the answer.
        stage: `FRONT` or `APP`.
    """

    client: str
    method: str
    target: str
    version: str
    status: int
    size: int
    seconds: float
    stage: str


class AccessLog(Protocol):
    """Takes what was asked and answered."""

    def take(self, exchange: Exchange) -> None:
        """Write it, or leave it out; never raises, never blocks longer than a line in the log."""
        ...

    def close(self) -> None:
        """Say what is not said yet; the server stops."""
        ...


@attrs.define(eq=False)
class Traffic:
    """Counts.

    Attributes:
        requests: (route, stage, status code) -> how many were answered so.
        durations: route -> how long the application's answers took; event streams, which end when their client
            wants, are left out.
        limited: bound, as `Limits` or `FIXED` names it -> how often it ended or refused something.
        accepted: connections so far.
        connections: connections that are open.
        failed_handshakes: connections whose client did not begin TLS where it is wanted; those that took too long
            for it are in `limited`.
        streams: event streams that have a place, from before their answer begins.
        waiting: requests that wait for news or for probes.
        log: takes each request; None = there is no access log.
    """

    requests: Counter[tuple[str, str, int]] = attrs.field(factory=Counter)
    durations: dict[str, Durations] = attrs.field(factory=dict)
    limited: Counter[str] = attrs.field(factory=Counter)
    accepted: int = 0
    connections: int = 0
    failed_handshakes: int = 0
    streams: int = 0
    waiting: int = 0
    log: AccessLog | None = None

    def took(self, route: str, seconds: float) -> None:
        """Note how long an answer of the application took."""
        durations = self.durations.get(route)
        if durations is None:
            durations = self.durations[route] = Durations()
        durations.note(seconds)
