"""The watchdog: feeds systemd's only while what the daemon is there for makes progress, and says what does not."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NoReturn, Protocol

import attrs
import trio

from statusd.events import STALLED, event
from statusd.runtime.supervisor import Supervisor

LOOK: Final = 1.0
"""Seconds between two looks at the signs, at most."""
PATIENCE: Final = 10.0
"""Seconds that a sign may be silent, where nothing else is said; each moves once a second when all is well."""
SHORTEST: Final = 0.02
"""Seconds between two pings at least, however small an interval is wanted."""
EXTENSION: Final = 5.0
"""Seconds by which a stop asks for more time, each second anew."""
log = logging.getLogger(__name__)


class Manager(Protocol):
    """What is told of the daemon's life: a ``systemd.notify.Notifier``; neither method blocks or raises."""

    def watchdog(self) -> bool:
        """Say that the daemon makes progress; False when it was not sent."""
        ...

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for time to stop beyond the usual one, in seconds from now; False when it was not sent."""
        ...

    def resend(self) -> bool:
        """Send what could not be sent before; True when nothing is left."""
        ...


@attrs.define(eq=False, kw_only=True)
class Watchdog:
    """Pings the service manager while every sign shows progress; without pings the manager restarts the daemon.

    The signs are read inside the process, so what clients do has no part in it; and it is a task of the event loop, so a
    loop that is blocked sends no ping. Each half of the interval is a ping, as sd_watchdog_enabled(3) recommends.

    Attributes:
        manager: is told.
        interval: seconds within which the manager wants a ping; None when it wants none: then stalls are only logged.
        signs: what must make progress -> returns the seconds since it last did.
        limits: name of a sign -> seconds that it may be silent, where not `PATIENCE`.
    """

    manager: Manager
    interval: float | None
    signs: Mapping[str, Callable[[], float]]
    limits: Mapping[str, float] = attrs.field(factory=dict)
    _stalled: frozenset[str] = attrs.field(default=frozenset(), init=False)

    @property
    def is_fed(self) -> bool:
        """Whether everything made progress when it was last looked at."""
        return not self._stalled

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Look and ping for ever; the first ping is sent at once."""
        half = LOOK if self.interval is None else max(self.interval / 2, SHORTEST)
        pause = half / math.ceil(half / LOOK)  # so that every ping falls on a look
        due = ping_due = trio.current_time()
        task_status.started()
        while True:
            now = trio.current_time()
            self.manager.resend()
            # A look that comes late, after a blocked step, finds signs that could not have moved: it is not their fault.
            self._look(now - due)
            if self.is_fed and now >= ping_due - pause / 2 and self._ping():
                ping_due = now + half
            due = now + pause
            await trio.sleep_until(due)

    def _ping(self) -> bool:
        """Ping where that is wanted; False when the manager's queue is full: the next look tries again."""
        return self.interval is None or self.manager.watchdog()

    def _look(self, late: float) -> None:
        """See which signs are silent for too long, and log what is new about that."""
        silent = {name: silence() - late for name, silence in self.signs.items()}
        stalled = {name for name, seconds in silent.items() if seconds > self.limits.get(name, PATIENCE)}
        for name in sorted(stalled - self._stalled):
            log.critical(
                "%s: no progress for %.0f s; %s",
                name,
                silent[name],
                "nobody watches over statusd that would restart it"
                if self.interval is None
                else f"unless that changes, systemd restarts statusd within {self.interval:g} s",
                extra=event(STALLED, reason=name),
            )
        for name in sorted(self._stalled - stalled):
            log.warning("%s: it makes progress again", name, extra=event(STALLED, reason=name))
        self._stalled = frozenset(stalled)


def schedule_silence(supervisors: Iterable[Supervisor], now: float) -> float:
    """Return for how many seconds no source has been probed although each should have been, twice over; else 0.

    A source whose plugin holds its probe is that source's own fault, and a restart would cost all the others; so every
    one must be late, by more than its interval and timeout again. Where all are of one kind, one plugin may be what holds
    them: then nothing can be told.

    Args:
        supervisors: of every source that is probed.
        now: seconds on trio's clock.
    """
    each = tuple(supervisors)
    if len({type(one.prober.source) for one in each}) < 2:
        return 0.0
    return max(0.0, min(one.overdue(now) - one.schedule.interval - one.schedule.timeout for one in each))


async def extend_stop(
    manager: Manager, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Ask for time while the daemon stops, until cancelled; a loop that is blocked asks for none.

    Args:
        manager: is asked.
        task_status: started once it was asked for the first time.
    """
    manager.extend_timeout(EXTENSION)
    task_status.started()
    while True:
        await trio.sleep(LOOK)
        manager.resend()
        manager.extend_timeout(EXTENSION)
