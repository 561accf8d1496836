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
