"""Runs one source for ever: probe, report, wait."""

from __future__ import annotations

import random
from typing import NoReturn

import attrs
import trio

from statusd.runtime.hub import Inbox, Observation
from statusd.runtime.probing import Prober
from statusd.runtime.schedule import Schedule


@attrs.define(eq=False, kw_only=True)
class Supervisor:
    """Probes one source at its pace and sends what it finds to the hub.

    Attributes:
        prober: probes the source and contains its plugin.
        schedule: its pace.
        inbox: a sending end of the hub's; closed with the supervisor.
        chance: the randomness of phase and jitter.
        has_reported: set once the first probe has finished.
    """

    prober: Prober
    schedule: Schedule
    inbox: Inbox
    chance: random.Random = attrs.field(factory=random.Random)
    has_reported: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Probe for ever."""
        first = due = self.schedule.first_due(trio.current_time())
        task_status.started()
        async with self.inbox:
            while True:
                await trio.sleep_until(due)
                reports = await self.prober.probe()
                now = trio.current_time()
                if self.has_reported.is_set():
                    due = self.schedule.next_due(due, now, self.chance)
                else:
                    due = self.schedule.second_due(first, now, self.chance)
                await self.inbox.send(
                    Observation(
                        source=self.prober.name,
                        reports=reports,
                        lifetime=self.schedule.lifetime(due, now),
                    )
                )
                self.has_reported.set()
