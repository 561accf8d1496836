"""Runs a supervisor a source, and lets each of them come, go, or change its pace while the others go on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs
import trio

from statusd.config.resolve import SourceConfig
from statusd.model.stats import Stats
from statusd.parts import BuiltSource
from statusd.runtime.lag import SOURCE_TASK
from statusd.runtime.messages import Inbox
from statusd.runtime.refreshing import Refresher
from statusd.runtime.schedule import Schedule
from statusd.runtime.supervisor import Supervisor
from statusd.runtime.watching import Watcher

FIRST_CHANCE: Final = 0.5
"""Seconds for which everybody waits until sources whose first probe has begun have reported."""
END: Final = 1.0
"""Seconds in which a source that is not wanted any more must end; one that refuses to is left behind."""
log = logging.getLogger(__name__)


@attrs.define(eq=False, kw_only=True)
class Probed:
    """A source that is probed.

    Attributes:
        built: the source.
        supervisor: probes it.
    """

    built: BuiltSource
    supervisor: Supervisor
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def name(self) -> str:
        """The source's name."""
        return self.built.config.name

    async def run(self) -> None:
        """Probe it, and listen to it where it has something to listen to, until `stop`."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    task = f"{SOURCE_TASK}{self.name}"
                    nursery.start_soon(self.supervisor.run, name=task)
                    source = self.supervisor.prober.source
                    if Watcher.can_watch(source):
                        log = self.supervisor.prober.log
                        watcher = Watcher(source=source, changed=self.supervisor.changed, log=log)
                        nursery.start_soon(watcher.run, name=task)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """End it; return once it has ended, or refused to."""
        self._scope.cancel()
        with trio.move_on_after(END):
            await self._ended.wait()
            return
        log.error("source %s: its plugin refuses to end; it is left behind, and a restart ends it", self.name)


@attrs.define(eq=False)
class Sources:
    """All sources that are probed.

    Attributes:
        stats: counts probes.
        refresher: learns which sources can be probed on request.
        nursery: where they run.
    """

    stats: Stats
    refresher: Refresher
    nursery: trio.Nursery = attrs.field(init=False)
    _running: dict[str, Probed] = attrs.field(factory=dict, init=False)

    def __iter__(self) -> Iterator[Supervisor]:
        return (probed.supervisor for probed in self._running.values())

    def start(self, built: Iterable[tuple[int, BuiltSource]], inbox: Inbox, floor: float) -> list[Probed]:
        """Begin to probe those of the sources that can be; `adopt` makes them part of all.

        Args:
            built: each with its place among all, for the time of its first probe.
            inbox: where to send what they find; closed.
            floor: seconds between the starts of two probes that requests cause.
        """
        started = []
        with inbox:
            for position, one in built:
                if one.prober is not None:
                    schedule = schedule_of(one.config, position)
                    supervisor = Supervisor(
                        prober=one.prober,
                        schedule=schedule,
                        inbox=inbox.clone(),
                        floor=floor,
                        stats=self.stats,
                    )
                    started.append(Probed(built=one, supervisor=supervisor))
        for probed in started:
            self.nursery.start_soon(probed.run, name=f"{SOURCE_TASK}{probed.name}")
        return started

    def adopt(self, started: Iterable[Probed]) -> None:
        """Count those that have been started among all."""
        self._running |= {probed.name: probed for probed in started}
        self.refresher.know(self)

    async def stop(self, names: Iterable[str]) -> None:
        """End the sources `names`."""
        leaving = [self._running.pop(name) for name in names if name in self._running]
        self.refresher.know(self)
        async with trio.open_nursery() as nursery:
            for probed in leaving:
                nursery.start_soon(probed.stop)

    def alter(self, kept: Iterable[BuiltSource], floor: float) -> None:
        """Have the sources `kept` go on as their present configuration says."""
        for built in kept:
            probed = self._running[built.config.name]
            is_new = probed.built.config.models != built.config.models
            probed.built = built
            probed.supervisor.alter(schedule_of(built.config, 0), floor)
            if is_new:
                probed.supervisor.changed()  # what it says of a new model is not known yet


def schedule_of(config: SourceConfig, position: int) -> Schedule:
    """Return the pace of a source.

    Args:
        config: the source.
        position: its place among all.
    """
    return Schedule(interval=config.interval, timeout=config.timeout, ttl=config.ttl, position=position)


async def first_chance(started: Sequence[Probed]) -> None:
    """Return once each of `started` has reported, or has had the time for it; a hung one costs that time, once."""
    now = trio.current_time()
    # First probes are staggered: where there are very many, the last one begins almost a second after the first.
    last = max((probed.supervisor.schedule.first_due(now) for probed in started), default=now)
    with trio.move_on_at(last + FIRST_CHANCE):
        for probed in started:
            await probed.supervisor.has_reported.wait()
