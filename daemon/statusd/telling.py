"""Keeps systemd's status line in step with the tree, and says what a reload does."""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs
import trio

from statusd.model.snapshot import Change, Snapshot
from statusd.systemd.notify import Notifier

TRIES: Final = 50
"""How often READY is sent until systemd's queue takes it."""
PAUSE: Final = 0.1
"""Seconds between two tries."""


@attrs.define(eq=False)
class StatusTeller:
    """Keeps systemd's status line in step with the tree.

    Attributes:
        notifier: where to.
    """

    notifier: Notifier
    _rollup: str = "starting"
    _remark: str = ""
    _is_ready: bool = False

    @property
    def line(self) -> str:
        """The status line."""
        return f"{self._rollup}; {self._remark}" if self._remark else self._rollup

    def take(self, change: Change) -> None:
        """Take what a revision brings; tells systemd when the line changes."""
        rollup = status_line(change.snapshot)
        if rollup != self._rollup:
            self._rollup = rollup
            if self._is_ready:
                self.notifier.status(self.line)

    async def ready(self, stop: trio.Event) -> None:
        """Say READY, again for a while where systemd's queue is full: without it the start, or a reload, would time out.

        Args:
            stop: the daemon stops, which cannot be taken back.
        """
        self._is_ready = True
        for _ in range(TRIES):
            if stop.is_set() or self.notifier.ready(self.line):
                return
            await trio.sleep(PAUSE)

    def reloading(self) -> None:
        """Say that a reload begins; `reloaded` must follow. Before it is ready, the daemon is said to start, and no more."""
        if self._is_ready:
            self.notifier.reloading()

    async def reloaded(self, stop: trio.Event, remark: str) -> None:
        """Say that a reload has ended, as `ready` does.

        Args:
            stop: as for `ready`.
            remark: what to add to the status line from now on.
        """
        self._remark = remark
        if self._is_ready:
            await self.ready(stop)


def status_line(snapshot: Snapshot) -> str:
    """Return the rollup in one line: ``degraded: 4 of 6 models connected; sources: 3 ok, 1 down, 2 off``."""
    models = snapshot.root.children["models"].children.values()
    sources = snapshot.root.children["sources"].children.values()
    connected = sum(node.status.is_connected for node in models)
    counts = Counter(node.status for node in sources)
    in_words = ", ".join(
        f"{counts[status]} {status}" for status in sorted(counts, key=lambda one: one.severity)
    )
    return f"{snapshot.root.status}: {connected} of {len(models)} models connected; sources: {in_words or 'none'}"
