"""The supervisor: probes one source for ever, at its pace and whenever somebody has a reason to."""

from __future__ import annotations

import random
from typing import Final, NoReturn, Protocol

import attrs
import trio

from statusd.model.merge import own_report
from statusd.model.report import Report
from statusd.model.status import Status
from statusd.runtime.messages import Inbox, Observation
from statusd.runtime.probing import Prober
from statusd.runtime.schedule import Schedule

JOIN: Final = 0.05
"""Seconds for which a probe that has begun is still fresh enough for somebody who asks for one."""
MERGE: Final = 0.25
"""Seconds beyond a probe's own deadline for what it found to arrive where it was asked for."""
BREATH: Final = 0.005
"""Seconds between the starts of two probes that the upstream's own changes cause."""


class Stats(Protocol):
    """Counts what probes find."""

    def note(self, source: str, status: Status, seconds: float) -> None:
        """Take one probe: what it said about the source itself, and how long it took."""
        ...


@attrs.define(eq=False)
class _Turn:
    """One probe, for those who wait for it.

    Attributes:
        is_asked_for: whether it runs because somebody asked for it.
        began: when, in seconds on trio's clock; infinite until then.
        done: set once the hub has been sent what it found.
    """

    is_asked_for: bool = False
    began: float = float("inf")
    done: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False, kw_only=True)
class Supervisor:
    """Probes one source and sends what it finds to the hub.

    Attributes:
        prober: probes the source and contains its plugin.
        schedule: its pace.
        inbox: a sending end of the hub's; closed with the supervisor.
        floor: seconds between the starts of two probes that `probe_now` causes.
        stats: counts its probes.
        chance: the randomness of phase and jitter.
        has_reported: set once the first probe has finished.
    """

    prober: Prober
    schedule: Schedule
    inbox: Inbox
    floor: float = 1.0
    stats: Stats | None = None
    chance: random.Random = attrs.field(factory=random.Random)
    has_reported: trio.Event = attrs.field(factory=trio.Event, init=False)
    _wake: trio.Event = attrs.field(factory=trio.Event, init=False)
    _turn: _Turn | None = attrs.field(default=None, init=False)  # that runs
    _next: _Turn = attrs.field(factory=_Turn, init=False)
    _due: float = attrs.field(default=float("inf"), init=False)
    _waiting: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _began: float = attrs.field(default=float("-inf"), init=False)
    _asked: float = attrs.field(default=float("-inf"), init=False)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Probe for ever; whoever waits for a probe when that ends is let go."""
        task_status.started()
        try:
            await self._probe_for_ever()
        finally:
            self.inbox.close()
            self._next.is_asked_for = True
            for turn in (self._turn, self._next):
                if turn is not None:
                    turn.done.set()

    async def _probe_for_ever(self) -> NoReturn:
        first = self._due = self.schedule.first_due(trio.current_time())
        while True:
            await self._until_due()
            began = trio.current_time()
            reports, took = await self._probe()
            now = trio.current_time()
            if self.has_reported.is_set():
                # One that ran early takes the place of the one that was due.
                self._due = self.schedule.next_due(min(self._due, began), now, self.chance)
            else:
                self._due = self.schedule.second_due(first, now, self.chance)
            lifetime = self.schedule.lifetime(self._due, now)
            await self.inbox.send(
                Observation(source=self.prober.name, reports=reports, lifetime=lifetime, at=now)
            )
            if self.stats is not None:
                self.stats.note(self.prober.name, own_report(reports).status, took)
            self.has_reported.set()
            self._end_turn()

    def alter(self, schedule: Schedule, floor: float) -> None:
        """Go on at another pace; one that is due sooner by it comes sooner.

        Args:
            schedule: the new pace.
            floor: seconds between the starts of two probes that `probe_now` causes.
        """
        self.floor = floor
        if schedule == attrs.evolve(self.schedule, position=schedule.position):
            return
        self.schedule = schedule
        if self.has_reported.is_set():
            now = trio.current_time()
            self._due = min(self._due, schedule.next_due(now, now, self.chance))
            self._waiting.deadline = min(self._waiting.deadline, self._due)

    def overdue(self, now: float) -> float:
        """Return by how many seconds it is late with its next observation; below zero while it is in time.

        Args:
            now: seconds on trio's clock.
        """
        return now - self._due - self.schedule.timeout

    def changed(self) -> None:
        """Probe soon: the upstream says that there is something new; what comes meanwhile is one further probe."""
        self._wake.set()

    async def probe_now(self) -> None:
        """Return once the hub has been sent what a probe found that began now, or just before.

        Whoever asks meanwhile shares it. Within `floor` of the last such probe none runs, and this returns at once.
        It waits no longer than a probe may take, also where one that began long ago must end first.
        """
        turn = self._turn
        if turn is None or trio.current_time() - turn.began > JOIN:
            turn = self._next
            if not turn.is_asked_for:
                if trio.current_time() - self._asked < self.floor:
                    return
                turn.is_asked_for = True
                self._wake.set()
        with trio.move_on_after(self.prober.timeout + MERGE):
            await turn.done.wait()

    async def _until_due(self) -> None:
        """Wait for the next turn: until it is due, or until somebody has a reason."""
        with trio.move_on_at(self._due) as self._waiting:
            await self._wake.wait()
            if not self._next.is_asked_for:
                await trio.sleep_until(self._began + BREATH)

    async def _probe(self) -> tuple[tuple[Report, ...], float]:
        """Probe once, as the next turn."""
        self._wake = trio.Event()
        turn, self._next = self._next, _Turn()
        turn.began = self._began = trio.current_time()
        if turn.is_asked_for:
            self._asked = turn.began
        self._turn = turn
        reports = await self.prober.probe()
        return reports, trio.current_time() - turn.began

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turn.done.set()
            self._turn = None
