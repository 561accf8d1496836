"""The reminder: an hourly record of what is still not ok, so that a fault of last week is in the log of today."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, NoReturn

import attrs
import trio

from statusd.events import STILL_NOT_OK, event
from statusd.model.snapshot import Snapshot
from statusd.model.status import Status
from statusd.model.tree import Node
from statusd.wording import standing

PERIOD: Final = 3600.0
"""Seconds between two reminders."""
NAMED: Final = 20
"""Nodes that one reminder names at most; the others are counted."""
BRANCHES: Final = ("models", "sources", "plugins", "daemon")
"""Where to look: their children are what was configured, and what the daemon says about itself."""
log = logging.getLogger(__name__)

_FINE: Final = frozenset({Status.OK, Status.OFF})


@attrs.define(eq=False)
class Reminder:
    """Says every hour what is still not ok; says nothing while all is well.

    Attributes:
        snapshot: returns the newest snapshot.
        period: seconds between two reminders.
    """

    snapshot: Callable[[], Snapshot]
    period: float = PERIOD

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Remind for ever, the first time after one period."""
        task_status.started()
        while True:
            await trio.sleep(self.period)
            remind(self.snapshot())


def remind(snapshot: Snapshot) -> None:
    """Write one record about every node that is still not ok, and none when there is no such node.

    It has the level of a warning: what a transition to it was worth has been said when it came.
    """
    found = sorted(still_not_ok(snapshot), key=lambda pair: (-pair[1].status.severity, pair[1].since))
    if not found:
        return
    named = "; ".join(_phrase(path, node) for path, node in found[:NAMED])
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    worst_path, worst = found[0]
    extra = event(
        STILL_NOT_OK,
        source=worst.source,
        path=worst_path,
        after=worst.status,
        reason=worst.reason,
        revision=snapshot.revision,
        paths=" ".join(path for path, _ in found[:NAMED]),
        nodes=str(len(found)),
    )
    log.warning("still not ok: %s%s", named, more, extra=extra)


def still_not_ok(snapshot: Snapshot) -> Iterator[tuple[str, Node]]:
    """Yield (path, node) for each model, source and node of the daemon's own that counts, and is neither ok nor off."""
    for branch in BRANCHES:
        parent = snapshot.root.children.get(branch)
        for name, node in parent.children.items() if parent is not None else ():
            if node.counts and node.status not in _FINE:
                yield f"{branch}/{name}", node


def _phrase(path: str, node: Node) -> str:
    since = datetime.fromtimestamp(node.since, UTC)
    return f"{path} is {standing(node.status, node.reason)} since {since:%Y-%m-%dT%H:%M:%SZ}"
