"""Ending in order at the first signal, at once at the second."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence
from typing import Final

import trio

from statusd.events import STOPPING, event

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
log = logging.getLogger(__name__)


async def stop_on_signal(
    stop: trio.Event,
    scope: trio.CancelScope,
    on_first: Callable[[], None] | None = None,
    *,
    signals: Sequence[signal.Signals] = SIGNALS,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Set `stop` at the first signal; cancel `scope` at the second.

    Args:
        stop: set once.
        scope: what a second signal cuts off.
        on_first: called at the first signal, before `stop` is set.
        signals: which ones.
        task_status: started once a signal no longer kills the process.
    """
    with trio.open_signal_receiver(*signals) as received:
        task_status.started()
        async for number in received:
            if stop.is_set():
                log.warning("second signal: stopping at once")
                scope.cancel()
                return
            name = signal.Signals(number).name
            log.info("%s: stopping", name, extra=event(STOPPING, signal=name))
            if on_first is not None:
                on_first()
            stop.set()


def outlast_further_ones(stop: trio.Event) -> None:
    """Have `SIGNALS` end the process while `stop_on_signal` does not run, unless it ends by itself already.

    Between the end of the daemon and that of the process, the log is written and the exit code still to come: a service
    manager, or an operator, who asks once more must not find the process killed.

    Args:
        stop: set once the process ends by itself.
    """

    def end(number: int, _frame: object) -> None:
        if not stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in SIGNALS:
        signal.signal(number, end)
