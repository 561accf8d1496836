"""The hub: the only owner of the state tree."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, TypeAlias

import attrs
import trio

from statusd.model.assembly import Assembly, Origin, State
from statusd.model.judging import Thresholds
from statusd.model.merge import Reading
from statusd.model.nodes import Rules
from statusd.model.report import Report
from statusd.model.snapshot import Change, Snapshot
from statusd.model.tree import Node, settle
from statusd.plugin.context import Clock, SourceInfo

log = logging.getLogger(__name__)
INBOX: Final = 64
"""Observations that wait for the hub before a sender waits for room."""

ChangeListener: TypeAlias = Callable[[Change], None]
"""Takes what each revision brings."""


@attrs.frozen(kw_only=True)
class Tracked:
    """A source as the hub knows it.

    Attributes:
        info: how it is configured.
        models: ids of the models it can serve.
        first: what to show until its first probe has finished; for a source that is never probed, for good.
        patience: seconds within which its first probe must have finished.
    """

    info: SourceInfo
    models: tuple[str, ...]
    first: tuple[Report, ...]
    patience: float = math.inf

    def state(self) -> State:
        """Return its state before any probe."""
        info = self.info
        origin = Origin(
            name=info.name,
            plugin=info.plugin,
            backend=info.backend,
            models=self.models,
            required=info.required,
            thresholds=Thresholds(info.rise, info.fall),
            depends_on=info.depends_on,
        )
        return State.first(origin, self.first)


@attrs.frozen(kw_only=True)
class Observation:
    """What a supervisor sends to the hub after each probe.

    Attributes:
        source: the source's name.
        reports: checked reports.
        lifetime: seconds from now after which they are stale.
    """

    source: str
    reports: tuple[Report, ...]
    lifetime: float


@attrs.frozen(kw_only=True)
class Statement:
    """What a part of the daemon says about itself; it stands until the next one.

    Attributes:
        path: below ``daemon`` or ``plugins``, such as ``"daemon/loop"``.
        report: what to show there.
    """

    path: str
    report: Report


Message: TypeAlias = Observation | Statement | trio.Event
"""What the hub's inbox takes; an event is set once everything before it has been merged."""
Inbox: TypeAlias = trio.MemorySendChannel[Message]


class Hub:
    """Merges observations into the tree, one at a time, and lets readings expire.

    Args:
        sources: every configured source.
        models: model id -> names of the sources that can serve it, best first.
        statements: what the daemon's own parts have to say from the start.
        rules: path of a branch -> its rollup rule, where that is not the usual one.
        clock: the time.
        first_revision: of the first tree; by default microseconds since 1970.
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
    ) -> None:
        self._clock = clock
        began, now = clock.monotonic(), clock.now()
        self._deadlines = {one.info.name: began + one.patience for one in sources}
        self._assembly = Assembly([one.state() for one in sources], models, rules)
        self._listeners: list[ChangeListener] = []
        self._send, self._receive = trio.open_memory_channel[Message](INBOX)
        root = self._assembly.tree({statement.path: statement.report for statement in statements})
        # Microseconds since 1970, so that revisions grow over restarts.
        revision = int(now * 1_000_000) if first_revision is None else first_revision
        settled = settle(None, root, revision=revision, now=now)
        self.snapshot = Snapshot(root=settled.root, revision=revision, version=1, at=now)
        """The newest snapshot; replaced, never changed."""

    def inbox(self) -> Inbox:
        """Return a sending end of the hub's own, one for each sender to close."""
        return self._send.clone()

    def listen(self, listener: ChangeListener) -> None:
        """Call `listener` after each change of state, in the hub's task; it must be quick and must not raise."""
        self._listeners.append(listener)

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
            if message is None:
                self._expire()
            elif isinstance(message, Observation):
                self._observe(message)
            elif isinstance(message, Statement):
                path, report = message.path, message.report
                self._publish(self._assembly.state_at(self.snapshot.root, path, report))
            else:
                message.set()

    def _observe(self, observation: Observation) -> None:
        now, lifetime = self._clock.now(), observation.lifetime
        self._deadlines[observation.source] = self._clock.monotonic() + lifetime
        reading = Reading(reports=observation.reports, observed_at=now, expires_at=now + lifetime)
        self._take(self._assembly.state(observation.source).after(reading))

    def _expire(self) -> None:
        """Turn readings past their lifetime stale."""
        now = self._clock.monotonic()
        for name in [name for name, deadline in self._deadlines.items() if deadline <= now]:
            self._deadlines[name] = math.inf
            state = self._assembly.state(name)
            if state.reading.observed_at is None:
                # Unknown it was and is, so there is no transition to tell it.
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
