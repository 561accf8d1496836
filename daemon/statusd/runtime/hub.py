"""The hub: the only owner of the state tree."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, TypeAlias

import attrs
import trio

from statusd.model.merge import Reading, expired, model_reports, source_node
from statusd.model.report import Report
from statusd.model.rollup import Candidate, branch, model_node
from statusd.model.snapshot import Snapshot
from statusd.model.tree import Node, Transition, graft, join, segment, settle
from statusd.plugin.context import Clock, SourceInfo

log = logging.getLogger(__name__)
INBOX: Final = 64
"""Observations that wait for the hub before a sender waits for room."""

ChangeListener: TypeAlias = Callable[[Snapshot, tuple[Transition, ...]], None]
"""Takes the newest snapshot and what changed its status since the one before."""


@attrs.frozen(kw_only=True)
class Tracked:
    """A source as the hub knows it.

    Attributes:
        info: name, plugin and backend.
        models: ids of the models it can serve.
        required: whether it takes part in rollups.
        first: what to show until its first probe has finished; for a source that is never probed, for good.
        patience: seconds within which its first probe must have finished.
    """

    info: SourceInfo
    models: tuple[str, ...]
    required: bool
    first: tuple[Report, ...]
    patience: float = math.inf


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


@attrs.frozen
class _Held:
    """A source with what it last said.

    Attributes:
        tracked: the source.
        reading: what it last said.
        deadline: seconds on the monotonic clock at which the reading turns stale.
        claims: what that means for each of its models.
    """

    tracked: Tracked
    reading: Reading
    deadline: float = math.inf
    claims: Mapping[str, Report] = attrs.field(init=False)

    @claims.default
    def _find_claims(self) -> Mapping[str, Report]:
        return model_reports(self.reading.reports, self.tracked.models)

    def node(self) -> Node:
        # A source that serves models counts through models/ only, where another source may stand in for it.
        return source_node(self.reading, counts=self.tracked.required and not self.tracked.models)

    def candidate(self, model: str) -> Candidate:
        claim, info = self.claims[model], self.tracked.info
        return Candidate(
            source=info.name,
            plugin=info.plugin,
            backend=info.backend,
            status=claim.status,
            reason=claim.reason,
            message=claim.message,
            label=claim.label,
            observed_at=self.reading.observed_at,
            expires_at=self.reading.expires_at,
            counts=self.tracked.required,
        )


class Hub:
    """Merges observations into the tree, one at a time, and lets readings expire.

    Args:
        sources: every configured source.
        models: model id -> names of the sources that can serve it, best first.
        statements: what the daemon's own parts have to say from the start.
        clock: the time.
    """

    def __init__(
        self,
        sources: Sequence[Tracked],
        models: Mapping[str, Sequence[str]],
        *,
        statements: Sequence[Statement] = (),
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._models = models
        began = clock.monotonic()
        self._held = {
            one.info.name: _Held(one, Reading(reports=one.first), began + one.patience) for one in sources
        }
        self._listeners: list[ChangeListener] = []
        self._send, self._receive = trio.open_memory_channel[Message](INBOX)
        now = clock.now()
        root = self._first_tree(statements)
        # Microseconds since 1970, so that revisions grow over restarts without anything kept on disk.
        revision = int(now * 1_000_000)
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
            with trio.move_on_at(min((held.deadline for held in self._held.values()), default=math.inf)):
                message = await self._receive.receive()
            if message is None:
                self._expire()
            elif isinstance(message, Observation):
                self._observe(message)
            elif isinstance(message, Statement):
                self._state(message)
            else:
                message.set()

    def _observe(self, observation: Observation) -> None:
        now, lifetime = self._clock.now(), observation.lifetime
        reading = Reading(reports=observation.reports, observed_at=now, expires_at=now + lifetime)
        tracked = self._held[observation.source].tracked
        self._hold(_Held(tracked, reading, self._clock.monotonic() + lifetime))

    def _expire(self) -> None:
        """Turn readings past their lifetime stale."""
        now = self._clock.monotonic()
        for held in [held for held in self._held.values() if held.deadline <= now]:
            if held.reading.observed_at is None:
                # Unknown it was and is, so there is no transition to tell it.
                log.warning("source %s: its first probe does not end", held.tracked.info.name)
            self._hold(_Held(held.tracked, expired(held.reading, "The last report is past its lifetime.")))

    def _hold(self, held: _Held) -> None:
        """Put what a source says now in place of what it said before."""
        name, models = held.tracked.info.name, held.tracked.models
        self._held[name] = held
        root = graft(self.snapshot.root, f"sources/{name}", held.node())
        for model in models:
            root = graft(root, join("models", segment(model)), self._model_node(model))
        self._publish(_rolled_up(root, "sources", *(("models",) if models else ())))

    def _state(self, statement: Statement) -> None:
        node = _stated(statement.report, self._clock.now())
        root = graft(self.snapshot.root, statement.path, node)
        self._publish(_rolled_up(root, statement.path.partition("/")[0]))

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
            for listener in self._listeners:
                listener(self.snapshot, settled.transitions)

    def _first_tree(self, statements: Sequence[Statement]) -> Node:
        now = self._clock.now()
        sources = {name: held.node() for name, held in self._held.items()}
        models = {segment(model): self._model_node(model) for model in self._models}
        parts: dict[str, dict[str, Node]] = {"plugins": {}, "daemon": {}}
        for statement in statements:
            wing, _, name = statement.path.partition("/")
            parts[wing][name] = _stated(statement.report, now)
        children = {"sources": sources, "models": models, **parts}
        return branch({name: branch(below) for name, below in children.items()})

    def _model_node(self, model: str) -> Node:
        return model_node([self._held[name].candidate(model) for name in self._models[model]])


def pending(*, is_configured: bool) -> Report:
    """Return what a source shows before its first probe has finished."""
    if is_configured:
        return Report.unknown("pending", "The first probe has not finished yet.")
    return Report.off(message="No address is configured.")


def _stated(report: Report, now: float) -> Node:
    return source_node(Reading(reports=(report,), observed_at=now), counts=True)


def _rolled_up(root: Node, *branches: str) -> Node:
    for name in branches:
        root = graft(root, name, branch(root.children[name].children))
    return branch(root.children)
