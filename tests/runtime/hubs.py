"""Hubs at work, for tests."""

import math

import attrs
import trio

from statusd import SourceInfo
from statusd.runtime.hub import Hub, pending
from statusd.runtime.messages import Observation, Tracked
from tests.runtime.clocks import TrioClock


def tracked(name, *, first=None, models=(), patience=math.inf, **info):
    """A source of which nothing is known yet."""
    return Tracked(
        info=SourceInfo(name=name, plugin="p", backend=name, **info),
        models=models,
        first=(first or pending(is_configured=True),),
        patience=patience,
    )


@attrs.define
class Running:
    """A running hub, and what it told its listeners."""

    hub: Hub
    changes: list = attrs.field(factory=list)

    def take(self, change):
        """Listen."""
        assert change.snapshot is self.hub.snapshot
        self.changes.append(change)

    @property
    def transitions(self):
        """Of each change: (revision, transitions)."""
        return [(change.snapshot.revision, change.transitions) for change in self.changes]

    async def send(self, message):
        """Send a message and return the snapshot after it."""
        async with self.hub.inbox() as inbox:
            await inbox.send(message)
        await self.hub.settled()
        return self.hub.snapshot

    async def observe(self, name, *given_reports, lifetime=8.0):
        """Say what a probe found and return the snapshot after it."""
        return await self.send(Observation(source=name, reports=given_reports, lifetime=lifetime))


async def start(nursery, sources, models=None, *, clock=None, **rest):
    """Return a running hub with a listener."""
    running = Running(Hub(sources, models or {}, clock=clock or TrioClock(), **rest))
    running.hub.listen(running.take)
    await nursery.start(running.hub.run)
    return running


@attrs.define
class SetClock:
    """A wall clock that somebody sets."""

    wall: float = 1_800_000_000.0

    def now(self):
        """Return the wall clock, in seconds since 1970."""
        return self.wall

    def monotonic(self):
        """Return trio's clock, in seconds."""
        return trio.current_time()
