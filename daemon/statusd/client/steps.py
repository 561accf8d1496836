"""What a script asks of the connection it runs on: the one border between the core and the two transports.

A script is a generator: it yields steps and is sent the bytes that a `Receive` brought, or has the fault of a step
thrown into it. It does no I/O and reads no clock but the one it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Generic, TypeAlias, TypeVar

import attrs

from statusd.client.faults import ClientError
from statusd.client.updates import Update


@attrs.frozen
class Connect:
    """Open a connection to the daemon.

    Attributes:
        until: when to give up, on the script's clock.
    """

    until: float


@attrs.frozen
class Send:
    """Send `data`.

    Attributes:
        data: all of it.
        until: when to give up, on the script's clock.
    """

    data: bytes
    until: float


@attrs.frozen
class Receive:
    """Wait for some bytes; none means that the other end has closed.

    Attributes:
        until: when to give up, on the script's clock.
    """

    until: float


@attrs.frozen
class Close:
    """Close the connection, if there is one."""


@attrs.frozen
class Pause:
    """Wait.

    Attributes:
        until: for how long, on the script's clock.
    """

    until: float


@attrs.frozen
class Emit:
    """Hand `update` to whoever follows the tree."""

    update: Update


Step: TypeAlias = Connect | Send | Receive | Close | Pause | Emit
T = TypeVar("T")
Script: TypeAlias = Generator[Step, bytes, T]


class Run(Generic[T]):
    """A script on its way: the step it waits for, and its result once there is none.

    Attributes:
        step: what to perform next, or None when the script has ended.
        result: what the script returned.
    """

    def __init__(self, script: Script[T]) -> None:
        self._script = script
        self.step: Step | None = None
        self.result: T | None = None
        self._advance(lambda: next(script))

    def give(self, answer: bytes = b"") -> None:
        """Go on with what the step brought.

        Raises:
            ClientError: from the script, which has then ended.
        """
        self._advance(lambda: self._script.send(answer))

    def fail(self, error: ClientError) -> None:
        """Go on with the fault of the step.

        Raises:
            ClientError: from the script, which has then ended.
        """
        self._advance(lambda: self._script.throw(error))

    def close(self) -> None:
        """End the script."""
        self.step = None
        self._script.close()

    def _advance(self, go_on: Callable[[], Step]) -> None:
        self.step = None
        try:
            self.step = go_on()
        except StopIteration as end:
            self.result = end.value
