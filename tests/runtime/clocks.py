"""Clocks for tests."""

import attrs
import trio


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
