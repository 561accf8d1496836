"""The hub: the only owner of the state tree."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, TypeAlias

import attrs
import trio

from statusd.model.merge import Reading, expired, model_reports, source_node
from statusd.model.report import Report
from statusd.model.rollup import Candidate, branch, model_node
from statusd.model.snapshot import Snapshot
from statusd.model.status import Status
from statusd.model.tree import Node, Transition, graft, join, segment, settle
from statusd.plugin.contracts import Clock, SourceInfo

INBOX: Final = 64
"""Observations that wait for the hub before a sender waits for room."""

Listener = Callable[[Snapshot, tuple[Transition, ...]], None]
log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Tracked:
    """A source as the hub knows it.

    Attributes:
        info: name, plugin and backend.
        models: ids of the models it can serve.
        required: whether it takes part in rollups.
        first: what to show until its first probe has finished; for a source that is never probed, for good.
    """

    info: SourceInfo
    models: tuple[str, ...]
    required: bool
    first: tuple[Report, ...]


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
        self._sources = {tracked.info.name: tracked for tracked in sources}
        self._models = models
        self._readings = {name: Reading(reports=tracked.first) for name, tracked in self._sources.items()}
        self._claims = {
            name: model_reports(tracked.first, tracked.models) for name, tracked in self._sources.items()
        }
        self._expiries: list[tuple[float, int, str]] = []
        self._turns: dict[str, int] = dict.fromkeys(self._sources, 0)
        self._listeners: list[Listener] = []
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

    def listen(self, listener: Listener) -> None:
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
            deadline = self._expiries[0][0] if self._expiries else float("inf")
            message = None
            with trio.move_on_at(deadline):
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
        name = observation.source
        now = self._clock.now()
        self._turns[name] += 1
        deadline = self._clock.monotonic() + observation.lifetime
        heapq.heappush(self._expiries, (deadline, self._turns[name], name))
        reading = Reading(reports=observation.reports, observed_at=now, expires_at=now + observation.lifetime)
        self._replace(name, reading)

    def _expire(self) -> None:
        """Turn readings past their lifetime stale; entries of readings replaced meanwhile are dropped."""
        now = self._clock.monotonic()
        while self._expiries and self._expiries[0][0] <= now:
            _, turn, name = heapq.heappop(self._expiries)
            if turn == self._turns[name]:
                self._replace(name, expired(self._readings[name], "The last report is past its lifetime."))

    def _replace(self, name: str, reading: Reading) -> None:
        tracked = self._sources[name]
        self._readings[name] = reading
        self._claims[name] = model_reports(reading.reports, tracked.models)
        root = graft(self.snapshot.root, f"sources/{name}", self._source_node(name))
        for model in tracked.models:
            root = graft(root, join("models", segment(model)), self._model_node(model))
        self._publish(_rolled_up(root, "sources", *(("models",) if tracked.models else ())))

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
        sources = {name: self._source_node(name) for name in self._sources}
        models = {segment(model): self._model_node(model) for model in self._models}
        parts: dict[str, dict[str, Node]] = {"plugins": {}, "daemon": {}}
        for statement in statements:
            wing, _, name = statement.path.partition("/")
            parts[wing][name] = _stated(statement.report, now)
        children = {"sources": sources, "models": models, **parts}
        return branch({name: branch(below) for name, below in children.items()})

    def _source_node(self, name: str) -> Node:
        tracked = self._sources[name]
        # A source that serves models counts through models/ only, where another source may stand in for it.
        counts = tracked.required and not tracked.models
        return source_node(self._readings[name], counts=counts)

    def _model_node(self, model: str) -> Node:
        return model_node([self._candidate(name, model) for name in self._models[model]])

    def _candidate(self, name: str, model: str) -> Candidate:
        tracked = self._sources[name]
        claim = self._claims[name][model]
        reading = self._readings[name]
        return Candidate(
            source=name,
            plugin=tracked.info.plugin,
            backend=tracked.info.backend,
            status=claim.status,
            reason=claim.reason,
            message=claim.message,
            label=claim.label,
            observed_at=reading.observed_at,
            expires_at=reading.expires_at,
            counts=tracked.required,
        )


def pending(*, is_configured: bool) -> Report:
    """Return what a source shows before its first probe has finished."""
    if is_configured:
        return Report.unknown("pending", "The first probe has not finished yet.")
    return Report(status=Status.OFF, reason="not_configured", message="No address is configured.")


def _stated(report: Report, now: float) -> Node:
    return Node(
        status=report.status,
        reason=report.reason,
        message=report.message,
        facts=report.facts,
        observed_at=now,
    )


def _rolled_up(root: Node, *branches: str) -> Node:
    for name in branches:
        root = graft(root, name, branch(root.children[name].children))
    return branch(root.children)
