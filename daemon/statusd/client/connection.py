"""The one border between the client's core and its two transports, blocking sockets and trio's streams.

The core is written once, as coroutines over a `Connection`. On blocking sockets they wait in the calls themselves and
never suspend, so that `run` needs no event loop.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeVar

from statusd.client.address import Address

READ_SIZE: Final = 64 * 1024
"""Bytes that are read at once."""

T = TypeVar("T")


class Connection(Protocol):
    """Connects to a daemon as often as it takes, one connection at a time.

    Attributes:
        address: of the daemon.
        until: when `connect`, `send` and `receive` give up, on the clock of `now`.
    """

    address: Address
    until: float

    @property
    def is_closed(self) -> bool:
        """Whether it was closed for good."""

    def now(self) -> float:
        """Return the seconds of this transport's clock."""

    async def connect(self) -> None:
        """Connect, instead of any connection there is.

        Raises:
            ClientError: when it could not be done in time, as all that follow.
        """

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""

    async def receive(self) -> bytes:
        """Wait for some bytes; none means that the other end has closed."""

    async def sleep(self, until: float) -> None:
        """Wait until then, or until `close`."""

    def drop(self) -> None:
        """Close the connection that there is, at once: there is nobody to say goodbye to."""

    def close(self) -> None:
        """Close for good, which ends what waits here, in whichever task or thread."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what `coroutine` returns, which waits in blocking calls only."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("a blocking transport suspended")
