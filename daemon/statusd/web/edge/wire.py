"""The border between a connection and the protocol that is spoken on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias

Message: TypeAlias = Any
"""Of ASGI."""
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Address: TypeAlias = tuple[str, int] | None

ROUTE: Final = "statusd.route"
"""Key of a request's scope under which the application leaves the name of the endpoint, for metrics."""
PROBES_ONLY: Final = "statusd.probes_only"
"""Key of the scope's state: whether the connection came to a listener for probe endpoints alone."""


class Wire(Protocol):
    """The connection, as the protocol sees it."""

    is_tls: bool
    is_probes_only: bool

    @property
    def client(self) -> Address:
        """The peer's address, or None."""
        ...

    @property
    def server(self) -> Address:
        """Our own address, or None."""
        ...

    @property
    def peer(self) -> str:
        """The peer, as people write it; ``""`` when it has no address."""
        ...

    @property
    def is_last(self) -> bool:
        """Whether no further request is served after the one that is being answered."""
        ...

    async def write(self, data: bytes) -> None:
        """Send `data`; never raises for a client that is gone or slow, and then ends the connection."""
        ...

    async def deliver(self, send: Send, message: Message) -> None:
        """Await ``send(message)`` to its end, although the application may be cancelled meanwhile."""
        ...

    def asked(self) -> None:
        """Note that the header of a request is complete."""
        ...

    def endless(self) -> None:
        """Note that the answer has no end, so that no deadline is to end it."""
        ...

    def idle(self) -> None:
        """Note that a request is answered and the next one may come."""
        ...

    def end(self) -> None:
        """Note that nothing more will be sent or understood."""
        ...
