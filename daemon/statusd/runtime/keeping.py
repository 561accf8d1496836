"""Keeps the tree over restarts: reads at the start what an earlier process left, and writes what stands, in a thread."""

from __future__ import annotations

import errno
import logging
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import attrs
import trio

from statusd.events import RESTORED, STATE_NOT_KEPT, STATE_SET_ASIDE, event
from statusd.files import read_at_most, set_aside, write_atomically
from statusd.model.assembly import State
from statusd.model.kept import MOST_BYTES, Kept, KeptError, decode, encode, kept_of
from statusd.model.report import Json, Report
from statusd.model.snapshot import Change, Snapshot
from statusd.plugin.context import Clock
from statusd.runtime.hub import Hub
from statusd.runtime.messages import Statement
from statusd.runtime.restoring import Past

PATH: Final = "daemon/state"
FILE: Final = "snapshot"
SET_ASIDE: Final = "state_set_aside"
NOT_KEPT: Final = "state_not_kept"

PAUSE: Final = 1.0
"""Seconds between two writes at least, however much changes."""
RATE: Final = 128 * 1024.0
"""Bytes a second that are written on average at most, where that lets `REFRESH` be kept: a large tree of which
something changes all the time must not wear out the disk."""
REFRESH: Final = 60.0
"""Seconds after which it is written although no state has changed, since readings have become newer."""
RETRY: Final = 10.0
"""Seconds after which it is tried again where it could not be written."""
PATIENCE: Final = 30.0
"""Seconds that a write may take before it counts as one that could not be done."""
LAST: Final = 1.0
"""Seconds for the last write, at the end; a disk that does not answer holds nobody up for longer."""
log = logging.getLogger(__name__)

_REMEDIES: Final = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or raise the quota",
    errno.EROFS: "the file system is read-only: the unit wants StateDirectory=statusd",
    errno.EACCES: "it must belong to the user that statusd runs as, as with StateDirectory=statusd",
    errno.EPERM: "it must belong to the user that statusd runs as, as with StateDirectory=statusd",
    errno.ENOENT: "the directory is not there any more: make it again, or restart statusd under systemd",
    errno.ETIMEDOUT: "the disk does not answer",
    errno.EFBIG: "the tree has become too large for it: what do the sources report in their facts?",
}


@attrs.define(eq=False, kw_only=True)
class Keeper:
    """Keeps the tree in a file.

    Attributes:
        path: the file; None: there is no place for it, and nothing is kept.
        clock: the time.
        restored: how many sources have started from what was kept.
    """

    path: Path | None
    clock: Clock
    restored: int = attrs.field(default=0, init=False)
    _aside: str = attrs.field(
        default="", init=False
    )  # the sentence about what was set aside, while that is there
    _fault: OSError | None = attrs.field(default=None, init=False)
    _shown: Report | None = attrs.field(default=None, init=False)
    _version: int = attrs.field(default=-1, init=False)
    _pause: float = attrs.field(default=PAUSE, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _disk: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)

    @classmethod
    def under_systemd(cls, environ: Mapping[str, str], clock: Clock) -> Keeper:
        """Return the one for ``$STATE_DIRECTORY`` (systemd.exec(5)), where there is such a directory."""
        first = environ.get("STATE_DIRECTORY", "").partition(":")[0]
        return cls(path=Path(first, FILE) if first else None, clock=clock)

    def read(self) -> Past:
        """Return what an earlier process left; what cannot be used is set aside and told, and never in the way."""
        return Past(None if self.path is None else self._read(self.path), self.clock.now())

    def _read(self, path: Path) -> Kept | None:
        try:
            return decode(read_at_most(path, MOST_BYTES))
        except FileNotFoundError:
            return None
        except KeptError as error:
            self._set_aside(path, str(error))
        except OSError as error:
            known = {errno.EFBIG: "It is too large.", errno.EINVAL: "It is no regular file."}
            self._set_aside(path, known.get(error.errno or 0, f"It cannot be read: {error.strerror}."))
        return None

    def _set_aside(self, path: Path, why: str) -> None:
        try:
            aside = set_aside(path)
        except OSError as error:
            log.warning(
                "%s cannot be used: %s Nor can it be set aside (%s).",
                path,
                why,
                error.strerror,
                extra=event(STATE_SET_ASIDE, path=PATH, reason=SET_ASIDE),
            )
            return
        self._aside = f"What was kept of the last run cannot be used: {why} Look at {aside}, or remove it."
        log.warning("%s", self._aside, extra=event(STATE_SET_ASIDE, path=PATH, reason=SET_ASIDE))

    def began(self, past: Past, restored: int) -> None:
        """Take that so many sources have started from `past`."""
        self.restored = restored
        if past.kept is not None:
            at = datetime.fromtimestamp(min(past.kept.saved_at, past.now), UTC)
            text = "%d of %d sources start from what was kept at %s, until they have reported"
            kept = len(past.kept.sources)
            log.info(text, restored, kept, f"{at:%Y-%m-%d %H:%M:%S} UTC", extra=event(RESTORED, path=PATH))

    def statement(self) -> Statement:
        """Return what to show about it."""
        return Statement(path=PATH, report=self._report())

    def _report(self) -> Report:
        if self.path is None:
            message = "Nothing is kept over restarts: there is no $STATE_DIRECTORY. The unit wants StateDirectory=statusd."
            return Report.off(message=message)
        facts: dict[str, Json] = {"directory": os.fspath(self.path.parent), "restored": self.restored}
        if self._fault is not None:
            return Report.degraded(NOT_KEPT, _not_kept(self.path, self._fault), facts=facts)
        if self._aside:
            return Report.degraded(SET_ASIDE, self._aside, facts=facts)
        return Report.ok(facts=facts)

    def take(self, change: Change) -> None:  # noqa: ARG002  # a listener; what changed is found in the newest snapshot
        """Take that a state has changed; a listener of the hub."""
        self._news.set()

    async def run(
        self, hub: Hub, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Write what stands whenever it has changed, for ever, and once more at the end."""
        self._shown = self._report()
        if self.path is None:
            task_status.started()
            await trio.sleep_forever()
        hub.listen(self.take)
        task_status.started()
        try:
            while True:
                self._news = trio.Event()
                began = trio.current_time()
                await self._keep(self.path, hub)
                await self._tell(hub)
                await trio.sleep_until(began + (self._pause if self._fault is None else RETRY))
                with trio.move_on_at(began + REFRESH if self._fault is None else -math.inf):
                    await self._news.wait()
        finally:
            hub.unlisten(self.take)
            with trio.move_on_after(LAST, shield=True):
                await self._keep(self.path, hub)

    async def _keep(self, path: Path, hub: Hub) -> None:
        """Write the newest snapshot, where it is not there yet; the loop goes on meanwhile."""
        snapshot, states, now = hub.snapshot, hub.states(), self.clock.now()
        if snapshot.version == self._version and not self._aside:
            return
        error = OSError(errno.ETIMEDOUT, f"not written within {PATIENCE:g} s")
        with trio.move_on_after(PATIENCE):
            write = partial(_write, path, snapshot, states, now)
            outcome = await trio.to_thread.run_sync(write, limiter=self._disk, abandon_on_cancel=True)
            if not isinstance(outcome, OSError):
                self._written(snapshot, outcome)
                return
            error = outcome
        if self._fault is None or self._fault.errno != error.errno:
            extra = event(STATE_NOT_KEPT, path=PATH, reason=NOT_KEPT)
            log.warning("%s", _not_kept(path, error), extra=extra)
        self._fault = error

    def _written(self, snapshot: Snapshot, written: _Written) -> None:
        self._version = snapshot.version
        self._pause = min(max(PAUSE, written.size / RATE), REFRESH)
        if self._fault is not None:
            log.info("What stands is kept in %s again.", written.path)
            self._fault = None
        if not written.has_damaged:
            self._aside = ""  # somebody has looked at it, and removed it

    async def _tell(self, hub: Hub) -> None:
        report = self._report()
        if report != self._shown:
            self._shown = report
            with hub.inbox() as inbox, suppress(trio.BrokenResourceError):
                await inbox.send(Statement(path=PATH, report=report))


@attrs.frozen
class _Written:
    """What a write came to.

    Attributes:
        path: the file.
        size: its bytes.
        has_damaged: whether what was set aside is still beside it.
    """

    path: Path
    size: int
    has_damaged: bool


def _write(path: Path, snapshot: Snapshot, states: Mapping[str, State], now: float) -> _Written | OSError:
    """Write what stands, or return why it could not be done; runs in a thread, and touches nothing that changes."""
    try:
        data = encode(kept_of(snapshot, states, now=now))
        if len(data) > MOST_BYTES:
            return OSError(errno.EFBIG, f"{len(data)} bytes are more than {MOST_BYTES}")
        write_atomically(path, data)
    except OSError as error:
        return error
    return _Written(path, len(data), os.path.lexists(path.with_name(f"{path.name}.damaged")))


def _not_kept(path: Path, error: OSError) -> str:
    remedy = _REMEDIES.get(error.errno or 0, "look at the disk")
    return f"What stands cannot be kept in {path.parent} ({error.strerror or type(error).__name__}): {remedy}. After a restart it would be lost."
