"""Delivering transitions: one line each to the log, and to every sink at its own pace."""

from __future__ import annotations

import logging
from collections import Counter, deque
from typing import Final

import attrs
import trio

from statusd.events import PLUGIN_FAILED, TRANSITION, Event, event
from statusd.model.snapshot import Change, Snapshot
from statusd.model.status import Status
from statusd.model.tree import Transition
from statusd.plugin.contracts import Sink
from statusd.wording import standing

QUEUE: Final = 1000
"""Transitions that wait for a slow sink; beyond it the oldest are dropped."""
LEAVE: Final = 5.0
"""Seconds in which a sink that is not wanted any more may take what waits for it."""
PARTS: Final = 20
"""Lines that one report may cause about the parts of its source: an upstream must not be able to fill the disk."""
log = logging.getLogger(__name__)
transitions_log = logging.getLogger("statusd.transitions")

_LEVELS: Final = {
    Status.OK: logging.INFO,
    Status.OFF: logging.INFO,
    Status.DEGRADED: logging.WARNING,
    Status.UNKNOWN: logging.WARNING,
    Status.DOWN: logging.ERROR,
}


def log_transitions(change: Change) -> None:
    """Write one line a transition; what counts in no rollup is never more than information.

    Of a source's parts, whose number an upstream decides, the first ones are named and the others counted.
    """
    parts: Counter[str] = Counter()
    for transition in change.transitions:
        if _is_part(transition):
            source = _source_of(transition)
            parts[source] += 1  # a reload or a drain may change those of several sources at once
            if parts[source] > PARTS:
                continue
        transitions_log.log(
            _level(transition), "%s", as_line(transition), extra=_event(transition, change.snapshot)
        )
    for source, number in parts.items():
        if number > PARTS:
            more = event(
                None, source=source.partition("/")[2], path=source, revision=change.snapshot.revision
            )
            transitions_log.info("%s: %d more parts changed", source, number - PARTS, extra=more)


def _event(transition: Transition, snapshot: Snapshot) -> dict[str, Event]:
    kind, _, rest = transition.path.partition("/")
    if kind == "sources":
        source = rest.partition("/")[0]
    else:
        node = snapshot.find(transition.path)
        source = node.source if node is not None else ""
    return event(
        TRANSITION,
        source=source,
        path=transition.path or "/",  # as people name the whole tree; an empty field would be none
        before=transition.before or "new",
        after=transition.after or "gone",
        reason=transition.reason or "gone",
        revision=transition.revision,
    )


def _is_part(transition: Transition) -> bool:
    return transition.path.startswith("sources/") and transition.path.count("/") > 1


def _source_of(part: Transition) -> str:
    return "/".join(part.path.split("/")[:2])


def _level(transition: Transition) -> int:
    if transition.after is None or not transition.counts:
        return logging.INFO
    return _LEVELS[transition.after]


def as_line(transition: Transition) -> str:
    """Return a transition as one line for people."""
    where = transition.path or "statusd"
    before = transition.before or "new"
    if transition.after is None:
        return f"{where}: {before} -> gone"
    message = f": {transition.message}" if transition.message else ""
    return f"{where}: {before} -> {standing(transition.after, transition.reason)}{message}"


@attrs.define(eq=False)
class SinkRunner:
    """Feeds one sink from a bounded queue, and contains its faults.

    Attributes:
        sink: the sink.
        dropped: transitions that it was too slow for.
    """

    sink: Sink
    dropped: int = 0
    _queue: deque[Transition] = attrs.field(factory=deque)
    _wake: trio.Event = attrs.field(factory=trio.Event)
    _is_failing: bool = False
    _is_leaving: bool = False
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def take(self, change: Change) -> None:
        """Queue its transitions; never waits."""
        for transition in change.transitions:
            if len(self._queue) >= QUEUE:
                self._queue.popleft()
                self.dropped += 1
                if self.dropped == 1:
                    log.warning(
                        "sink %s is too slow: the oldest transitions are dropped",
                        self.sink.name,
                        extra=event(None, sink=self.sink.name),
                    )
            self._queue.append(transition)
        self._wake.set()

    def leave(self) -> None:
        """Take no more: have `run` end once all that was taken is handed over, or the time for that is over."""
        self._is_leaving = True
        self._scope.deadline = trio.current_time() + LEAVE  # also for what it is busy with already
        self._wake.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hand the transitions over, one after another, until `leave`."""
        task_status.started()
        with self._scope:
            while not (self._is_leaving and not self._queue):
                await self._wake.wait()
                self._wake = trio.Event()
                while self._queue:
                    await self._deliver(self._queue.popleft())

    async def _deliver(self, transition: Transition) -> None:
        try:
            await self.sink.consume(transition)
        except BaseException:  # containment: a sink may raise anything, or try to exit
            # The daemon's cancellation passes here, a plugin's own does not.
            await trio.lowlevel.checkpoint_if_cancelled()
            if not self._is_failing:
                log.exception(
                    "sink %s failed; later failures of it are not logged until it recovers",
                    self.sink.name,
                    extra=event(PLUGIN_FAILED, sink=self.sink.name, reason="plugin_failed"),
                )
            self._is_failing = True
        else:
            self._is_failing = False
