"""The border between a connection and the protocol that is spoken on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias

from statusd.web.patience import Patience

Message: TypeAlias = Any
"""Of ASGI."""
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Address: TypeAlias = tuple[str, int] | None

ROUTE: Final = "statusd.route"
"""Key of a request's scope under which the application leaves the name of the endpoint, for metrics."""
STREAM: Final = "statusd.stream"
"""Key of a request's scope under which the application leaves an asynchronous generator of what follows the header.

It is asked after the application has returned: an answer without an end then costs nothing of the application.
"""
PROBES_ONLY: Final = "statusd.probes_only"
"""Key of the scope's state: whether the connection came to a listener for probe endpoints alone."""
PATIENCE: Final = "statusd.patience"
"""Key of the scope's state: the `Patience` that the answers on the connection have in common."""


class Asker(Protocol):
    """Who has asked, as a request sees it: a connection, or one of several streams on it."""

    @property
    def peer(self) -> str:
        """The peer, as people write it; ``""`` when it has no address."""
        ...

    @property
    def refusal(self) -> int:
        """The status code that all but one request for a probe endpoint get; 0 = all are served."""
        ...

    async def deliver(self, send: Send, message: Message) -> None:
        """Await ``send(message)`` to its end, although the application may be cancelled meanwhile."""
        ...

    def endless(self) -> None:
        """Note that the answer has no end, so that no deadline is to end it."""
        ...


class Wire(Asker, Protocol):
    """The connection, as the protocol sees it."""

    is_tls: bool
    is_probes_only: bool
    patience: Patience

    @property
    def client(self) -> Address:
        """The peer's address, or None."""
        ...

    @property
    def server(self) -> Address:
        """Our own address, or None."""
        ...

    @property
    def is_last(self) -> bool:
        """Whether no further request is served after the one that is being answered."""
        ...

    async def write(self, data: bytes) -> None:
        """Send `data`; never raises for a client that is gone or slow, and then ends the connection."""
        ...

    def begun(self) -> None:
        """Note that the header of a request has begun to come."""
        ...

    def asked(self) -> None:
        """Note that the header of a request is complete."""
        ...

    def busy(self) -> None:
        """Note that requests are being answered, each of which has an end."""
        ...

    def idle(self) -> None:
        """Note that a request is answered and the next one may come."""
        ...

    def end(self) -> None:
        """Note that nothing more will be sent or understood."""
        ...
