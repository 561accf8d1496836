"""What the connections of one server share."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import attrs
import trio

from statusd.web.edge.certificates import Certificates
from statusd.web.edge.front import Front
from statusd.web.edge.guard import Guard
from statusd.web.edge.limits import Limits
from statusd.web.edge.traffic import Traffic
from statusd.web.edge.wire import Send

Asgi: TypeAlias = Callable[[Any, Callable[[], Awaitable[Any]], Send], Awaitable[None]]


class Queue(enum.Enum):
    """Who waits for each other's turns; those in different queues do not."""

    PROBES = enum.auto()
    """What asks for probe endpoints, as health checks of HTTP/1.0 do."""
    OTHERS = enum.auto()
    """Other requests, and their parts."""
    HANDSHAKES = enum.auto()
    """TLS that begins."""
    PROBES_HANDSHAKES = enum.auto()
    """TLS that begins behind listeners for probe endpoints alone."""


@attrs.define(eq=False)
class Edge:
    """What the connections of one server share.

    All of it but `guard` and `traffic` may be replaced at any time: it is looked up for each connection and request.

    Attributes:
        app: the ASGI application.
        limits: bounds of a connection.
        guard: notes what fails.
        front: answers what needs no application; None = nothing does.
        probes_front: the same behind listeners for probe endpoints alone.
        traffic: counts.
        certificates: what connections with TLS begin with; None = there are none such.
        is_stopping: whether each connection is to end after the request that it is answering.
    """

    app: Asgi
    limits: Limits
    guard: Guard
    front: Front | None = None
    probes_front: Front | None = None
    traffic: Traffic = attrs.field(factory=Traffic)
    certificates: Certificates | None = None
    is_stopping: bool = False
    _turns: Mapping[Queue, trio.Lock] = attrs.field(
        factory=lambda: {queue: trio.Lock() for queue in Queue}, init=False
    )

    def front_for(self, *, is_probes_only: bool) -> Front | None:
        """Return what answers without the application behind listeners of one kind, or None."""
        return self.probes_front if is_probes_only else self.front

    async def turn(self, queue: Queue) -> None:
        """Return when it is somebody's turn to begin: one of each queue in a pass of the event loop.

        A thousand that begin in one pass would keep everybody waiting until the last of them has gone its first step.

        Args:
            queue: where to wait.
        """
        async with self._turns[queue]:
            pass
