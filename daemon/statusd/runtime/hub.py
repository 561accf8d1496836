"""The hub: the only owner of the state tree."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeAlias

import trio

from statusd.model.assembly import Assembly, State
from statusd.model.drains import Drain
from statusd.model.merge import Reading
from statusd.model.nodes import Rules
from statusd.model.report import Report
from statusd.model.snapshot import Change, Snapshot
from statusd.model.tree import Node, Since, settle
from statusd.plugin.context import Clock
from statusd.runtime.messages import (
    INBOX,
    Draining,
    Inbox,
    Message,
    Observation,
    Reconfiguration,
    Statement,
    Tracked,
)

log = logging.getLogger(__name__)

ChangeListener: TypeAlias = Callable[[Change], None]
"""Takes what each revision brings."""


class Hub:
    """Merges observations into the tree, one at a time, and lets readings expire.

    Args:
        sources: every configured source.
        models: model id -> names of the sources that can serve it, best first.
        statements: what the daemon's own parts have to say from the start.
        rules: path of a branch -> its rollup rule, where that is not the usual one.
        clock: the time.
        first_revision: of the first tree; by default microseconds since 1970.
        drains: what an operator has taken out of service.
        known: path -> how that node stood for an earlier process.
    """

    def __init__(
        self,
        sources: Sequence[Tracked],
        models: Mapping[str, Sequence[str]],
        *,
        statements: Sequence[Statement] = (),
        rules: Rules | None = None,
        clock: Clock,
        first_revision: int | None = None,
        drains: Sequence[Drain] = (),
        known: Mapping[str, Since] | None = None,
    ) -> None:
        self._clock = clock
        began, now = clock.monotonic(), clock.now()
        self._deadlines = {one.info.name: began + one.patience for one in sources}
        self.drains = tuple(drains)
        """What an operator has taken out of service; replaced, never changed."""
        self._assembly = Assembly([one.state() for one in sources], models, rules, self.drains)
        self._statements = {statement.path: statement.report for statement in statements}
        self._listeners: list[ChangeListener] = []
        self._send, self._receive = trio.open_memory_channel[Message](INBOX)
        root = self._assembly.tree(self._statements)
        # Microseconds since 1970, so that revisions grow over restarts.
        revision = int(now * 1_000_000) if first_revision is None else first_revision
        settled = settle(None, root, revision=revision, now=now, known=known)
        self.snapshot = Snapshot(root=settled.root, revision=revision, version=1, at=now)
        """The newest snapshot; replaced, never changed."""
        self.merged_at = -math.inf
        """When it was last done with a message, in seconds on trio's clock."""

    def inbox(self) -> Inbox:
        """Return a sending end of the hub's own, one for each sender to close."""
        return self._send.clone()

    def listen(self, listener: ChangeListener) -> None:
        """Call `listener` after each change of state, in the hub's task; it must be quick and must not raise."""
        self._listeners.append(listener)

    def unlisten(self, listener: ChangeListener) -> None:
        """Call `listener` no longer."""
        self._listeners.remove(listener)

    async def send(self, message: Message) -> None:
        """Return once `message`, and everything sent before it, has been merged."""
        await self._send.send(message)
        await self.settled()

    def states(self) -> Mapping[str, State]:
        """Return what each source has come to, in the very tree of the newest snapshot."""
        return self._assembly.states()

    async def settled(self) -> None:
        """Return once everything sent so far has been merged."""
        barrier = trio.Event()
        await self._send.send(barrier)
        await barrier.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Take observations and let readings expire, for ever."""
        task_status.started()
        while True:
            message = None
            with trio.move_on_at(min(self._deadlines.values(), default=math.inf)):
                message = await self._receive.receive()
            match message:
                case None:
                    self._expire()
                case Observation():
                    reading = self._read(message)
                    self._take(self._assembly.state(message.source).after(reading))
                case Statement():
                    self._statements[message.path] = message.report
                    self._publish(self._assembly.state_at(self.snapshot.root, message.path, message.report))
                case Reconfiguration():
                    self._reconfigure(message)
                case Draining():
                    self.drains = message.drains
                    self._assembly.drain(message.drains)
                    self._publish(self._assembly.tree(self._statements))
                case trio.Event():
                    message.set()
            if message is not None:
                self.merged_at = trio.current_time()

    def _read(self, observation: Observation) -> Reading:
        """Return what was observed, and begin its lifetime."""
        monotonic, lifetime = self._clock.monotonic(), observation.lifetime
        ago = 0.0 if observation.at is None else max(0.0, monotonic - observation.at)
        self._deadlines[observation.source] = monotonic - ago + lifetime
        at = self._clock.now() - ago
        return Reading(reports=observation.reports, observed_at=at, expires_at=at + lifetime)

    def _reconfigure(self, new: Reconfiguration) -> None:
        """Build the tree of another configuration; what it has in common with the old one goes on."""
        began = self._clock.monotonic()
        self._deadlines = {
            one.info.name: self._deadlines[one.info.name]
            if one.info.name in new.kept
            else began + one.patience
            for one in new.sources
        }
        states = {
            one.info.name: self._assembly.state(one.info.name).moved(one.origin())
            if one.info.name in new.kept
            else one.state()
            for one in new.sources
        }
        for observation in new.observations:
            states[observation.source] = states[observation.source].after(self._read(observation))
        own = {
            path: report
            for path, report in self._statements.items()
            if not path.startswith("plugins/") and path not in new.gone
        }
        self._statements = own | {statement.path: statement.report for statement in new.statements}
        self._assembly = Assembly(states.values(), new.models, new.rules, self.drains)
        new.turn()
        self._publish(self._assembly.tree(self._statements))

    def _expire(self) -> None:
        """Turn readings past their lifetime stale."""
        now = self._clock.monotonic()
        for name in [name for name, deadline in self._deadlines.items() if deadline <= now]:
            self._deadlines[name] = math.inf
            state = self._assembly.state(name)
            if state.reading.observed_at is None or state.reading.is_restored:
                # Where it was unknown it still is, so there may be no transition to tell it.
                log.warning("source %s: its first probe does not end", name)
            self._take(state.expired())

    def _take(self, state: State) -> None:
        """Put what a source has come to in place of what it was."""
        self._publish(self._assembly.put(self.snapshot.root, state))

    def _publish(self, root: Node) -> None:
        old = self.snapshot
        now = self._clock.now()
        settled = settle(old.root, root, revision=old.revision + 1, now=now)
        self.snapshot = Snapshot(
            root=settled.root,
            revision=old.revision + 1 if settled.is_change else old.revision,
            version=old.version + 1,
            at=now,
        )
        if settled.is_change:
            change = Change(snapshot=self.snapshot, transitions=settled.transitions, nodes=settled.nodes)
            for listener in self._listeners:
                listener(change)


def pending(*, is_configured: bool) -> Report:
    """Return what a source shows before its first probe has finished."""
    if is_configured:
        return Report.unknown("pending", "The first probe has not finished yet.")
    return Report.off(message="No address is configured.")
