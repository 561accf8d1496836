"""The pulse: whether the hub makes progress, and how late the event loop is."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Final

import attrs
import trio

from statusd.runtime.hub import Hub

PERIOD: Final = 1.0
"""Seconds between two beats."""
PATIENCE: Final = 5.0
"""Seconds without progress after which the hub no longer counts as alive; a beat takes a millisecond when all is well."""
REMEMBER: Final = 60.0
"""Seconds for which a late wakeup is remembered, so that whoever asks once a minute misses none."""


@attrs.define(eq=False)
class Pulse:
    """Sends a barrier through the hub once a second, and wakes once a second to see how late that is.

    Make it and ask it inside a trio run. A hub that has ended, hangs, or whose inbox is full lets no barrier through.
    Only one barrier is ever under way, so a hub that hangs is not made to hang with more.

    Attributes:
        hub: the hub.
    """

    hub: Hub
    _progress: float = attrs.field(factory=trio.current_time, init=False)
    _due: float = attrs.field(default=float("inf"), init=False)
    _late: deque[tuple[float, float]] = attrs.field(
        factory=lambda: deque(maxlen=round(REMEMBER / PERIOD) + 1), init=False
    )

    @property
    def silence(self) -> float:
        """Seconds since the hub last let a barrier through, or was done with what stands before it in the queue.

        So a hub that has more to do than it can counts as alive: a restart would not make it less. Before the first
        barrier it is the seconds since the pulse was made.
        """
        return trio.current_time() - max(self._progress, self.hub.merged_at)

    @property
    def is_alive(self) -> bool:
        """Whether the hub has made progress within `PATIENCE`.

        When the loop itself stood still for longer, it says no until the next barrier is through, a moment later.
        """
        return self.silence <= PATIENCE

    @property
    def lag(self) -> float:
        """The seconds by which the loop woke too late, the worst within `REMEMBER`; what is overdue now counts."""
        now = trio.current_time()
        recent = (late for at, late in self._late if now - at <= REMEMBER)
        return max(0.0, now - self._due, *recent)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Beat for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_hub)
            task_status.started()
            await self._watch_loop()

    async def _watch_hub(self) -> None:
        while True:
            with suppress(
                trio.BrokenResourceError, trio.ClosedResourceError
            ):  # a closed inbox is no progress
                await self.hub.settled()
                self._progress = trio.current_time()
            await trio.sleep(PERIOD)

    async def _watch_loop(self) -> None:
        while True:
            self._due = trio.current_time() + PERIOD
            await trio.sleep_until(self._due)
            now = trio.current_time()
            self._late.append((now, now - self._due))
