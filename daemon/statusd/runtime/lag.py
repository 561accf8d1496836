"""The lag watch: notices when a task keeps the event loop from running, and names it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Final, NoReturn

import attrs
import trio

from statusd.events import LOOP_BLOCKED, Event, event
from statusd.model.report import Report
from statusd.runtime.messages import Inbox, Statement

THRESHOLD: Final = 0.25
"""Seconds a single step of a task may take before it is called blocking."""
REMEMBER: Final = 60.0
"""Seconds for which the node stays degraded after the last blocking step."""
PATH: Final = "daemon/loop"
SOURCE_TASK: Final = "source "
"""How the name of a task that supervises a source begins; the source's own name follows."""
FINE: Final = Report.ok(message="The event loop runs freely.")
log = logging.getLogger(__name__)


@attrs.define(eq=False)
class LagWatch(trio.abc.Instrument):
    """Times every step of every task; `run` reports the ones that took too long.

    Attributes:
        inbox: a sending end of the hub's; closed with the watch.
    """

    inbox: Inbox
    _began: float = float("inf")  # the watch is put on in the middle of a step, which it cannot time
    _culprit: str = ""
    _worst: float = 0.0
    _noticed: trio.Event = attrs.field(factory=trio.Event)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  # the instrument's signature
        """Start the watch on one step."""
        self._began = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note the step's task when it took too long."""
        took = time.perf_counter() - self._began
        if took >= THRESHOLD and took > self._worst:
            self._worst, self._culprit = took, culprit_of(task)
            self._noticed.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Watch for ever; the node is degraded until a minute has passed without a blocking step."""
        trio.lowlevel.add_instrument(self)
        try:
            async with self.inbox:
                await self.inbox.send(Statement(path=PATH, report=FINE))
                task_status.started()
                while True:
                    await self._noticed.wait()
                    await self._until_quiet()
                    await self.inbox.send(Statement(path=PATH, report=FINE))
        finally:
            trio.lowlevel.remove_instrument(self)

    async def _until_quiet(self) -> None:
        """Report each blocking step, log each culprit once, and return after a minute without."""
        logged: set[str] = set()
        while self._noticed.is_set():
            culprit, worst = self._culprit, self._worst
            self._noticed, self._worst = trio.Event(), 0.0
            if culprit not in logged:
                extra = _event(culprit, worst)
                log.warning("%s blocked the event loop for %.2f s", culprit, worst, extra=extra)
                logged.add(culprit)
            await self.inbox.send(Statement(path=PATH, report=_blocked(culprit)))
            with trio.move_on_after(REMEMBER):
                await self._noticed.wait()


def _blocked(culprit: str) -> Report:
    return Report.degraded(
        "loop_blocked",
        f"{culprit} kept everything else waiting; what blocks belongs into a plain probe, or into context.in_thread.",
        facts={"culprit": culprit},
    )


def _event(culprit: str, seconds: float) -> dict[str, Event]:
    source = culprit.removeprefix(SOURCE_TASK) if culprit.startswith(SOURCE_TASK) else ""
    return event(
        LOOP_BLOCKED,
        source=source,
        path=PATH,
        reason="loop_blocked",
        culprit=culprit,
        seconds=f"{seconds:.2f}",
    )


def source_tasks(task: trio.lowlevel.Task) -> Iterator[str]:
    """Yield the names of the tasks below `task` that statusd named after a source."""
    for nursery in tuple(task.child_nurseries):
        for child in tuple(nursery.child_tasks):
            if child.name.startswith(SOURCE_TASK):
                yield child.name
            else:
                yield from source_tasks(child)


def culprit_of(task: trio.lowlevel.Task) -> str:
    """Return the name of the nearest task above `task`, itself included, that statusd named after a source."""
    current: trio.lowlevel.Task | None = task
    while current is not None:
        if current.name.startswith(SOURCE_TASK):
            return current.name
        nursery = current.parent_nursery
        current = nursery.parent_task if nursery is not None else None
    return f"the task {task.name}"
