"""What the connections of one server share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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


@attrs.define(eq=False)
class Edge:
    """What the connections of one server share.

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
    _turns: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def turn(self) -> None:
        """Return when it is a request's turn to begin: one a pass of the event loop.

        A thousand that begin in one pass would keep everybody waiting until the last of them has gone its first step.
        """
        async with self._turns:
            pass
