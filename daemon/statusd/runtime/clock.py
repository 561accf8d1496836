"""The time: the wall clock for people, trio's for everything that waits."""

from __future__ import annotations

import time

import attrs
import trio


@attrs.define(eq=False)
class SystemClock:
    """The wall clock as set on this machine, and trio's own monotonic one."""

    def now(self) -> float:
        """Return the wall clock, in seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Return trio's clock, in seconds; only inside a trio run."""
        return trio.current_time()


@attrs.define(eq=False)
class TrioClock:
    """A wall clock that follows trio's, so that a mock clock moves both.

    Attributes:
        epoch: seconds since 1970 when trio's clock shows `origin`.
        origin: what trio's clock showed then.
    """

    epoch: float = 1_800_000_000.0
    origin: float = attrs.field(factory=trio.current_time)

    def now(self) -> float:
        """Return the wall clock, in seconds since 1970."""
        return self.epoch + trio.current_time() - self.origin

    def monotonic(self) -> float:
        """Return trio's clock, in seconds."""
        return trio.current_time()
