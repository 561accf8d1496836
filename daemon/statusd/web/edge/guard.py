"""Containment of connections: whatever one raises ends that one, is logged once with its cause, and counted."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from statusd.errors import place_of

log = logging.getLogger("statusd.web")

QUIET: Final = 60.0
"""Seconds in which the same failure is counted and not logged again: a client must not be able to fill the disk."""

WHAT: Final = ("accept", "connection", "request")
"""What is guarded, as metrics name it."""

KINDS: Final = 100
"""How many kinds of failures are told apart before the memory of them starts anew."""


@attrs.define(eq=False)
class _Kind:
    logged_at: float
    unlogged: int = 0


@attrs.define(eq=False)
class Guard:
    """Contains, logs and counts failures.

    Attributes:
        failures: what failed -> how often.
    """

    clock: Callable[[], float] = time.monotonic
    failures: Counter[str] = attrs.field(factory=Counter)
    _kinds: dict[tuple[str, str, str], _Kind] = attrs.field(factory=dict, init=False)

    async def run(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Await `work` and let no exception of it out; cancellation passes, and a client that left is no failure.

        Args:
            what: names the work in the log, such as ``"connection"``.
            work: a function that returns what is to be awaited.
        """
        try:
            await work()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except* Exception as group:  # noqa: BLE001  # containing a connection is this file's purpose
            self.note(what, group)

    def note(self, what: str, error: BaseException) -> None:
        """Count `error`, and log it with its traceback unless the same was logged within the last minute."""
        self.failures[what] += 1
        cause = root_cause(error)
        key = (what, type(cause).__name__, place_of(cause))
        now = self.clock()
        kind = self._kinds.get(key)
        if kind is not None and now - kind.logged_at < QUIET:
            kind.unlogged += 1
            return
        more = (
            f" (and {kind.unlogged} like it before, not logged)" if kind is not None and kind.unlogged else ""
        )
        if len(self._kinds) >= KINDS:
            self._kinds.clear()
        self._kinds[key] = _Kind(now)
        log.error("A %s failed: %s%s; the daemon goes on.", what, type(cause).__name__, more, exc_info=error)


def root_cause(error: BaseException) -> BaseException:
    """Return the first exception that is no group, looking into groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
