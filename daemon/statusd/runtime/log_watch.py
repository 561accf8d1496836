"""The log's node: whether records had to be dropped, because they could not be written as fast as they came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn

import attrs
import trio

from statusd.model.report import Report
from statusd.runtime.messages import Inbox, Statement

PATH: Final = "daemon/log"
LOOK: Final = 5.0
"""Seconds between two looks at the number."""
REMEMBER: Final = 60.0
"""Seconds for which the node stays degraded after the last record was dropped."""
FINE: Final = Report.ok()
LOST: Final = Report.degraded(
    "records_dropped",
    "More log records came than could be written, or the journal hangs: some are lost, and "
    "statusd_log_records_dropped_total counts them.",
)


@attrs.define(eq=False)
class LogWatch:
    """Looks at how many records were dropped.

    Attributes:
        inbox: a sending end of the hub's; closed with the watch.
        dropped: returns how many were, since the start.
    """

    inbox: Inbox
    dropped: Callable[[], int]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Look for ever."""
        said, known, last = FINE, self.dropped(), float("-inf")
        async with self.inbox:
            await self._say(said)
            task_status.started()
            while True:
                await trio.sleep(LOOK)
                now, number = trio.current_time(), self.dropped()
                if number != known:
                    known, last = number, now
                report = LOST if now - last < REMEMBER else FINE
                if report is not said:
                    said = report
                    await self._say(report)

    async def _say(self, report: Report) -> None:
        await self.inbox.send(Statement(path=PATH, report=report))
