"""Revisions that only grow, also when the clock was set back while the daemon did not run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

import attrs
import trio

from statusd.events import STATE_NOT_KEPT, event
from statusd.files import read_at_most, write_atomically
from statusd.model.snapshot import Change

log = logging.getLogger(__name__)

FILE: Final = "revision"
RESERVED: Final = 10_000_000
"""Revisions written down ahead, so that the file is written once in so many changes and a crash loses none."""

GREATEST: Final = 1 << 52
"""Well below what every JSON reader takes for an exact integer (RFC 8259, section 6)."""


@attrs.define(eq=False)
class RevisionFile:
    """Keeps, in a file, a revision that no process has reached yet.

    Attributes:
        path: the file; None: nothing is kept, and only the clock sees to it that revisions grow.
    """

    path: Path | None
    _reserved: int = 0
    _reached: int = 0
    _wanted: trio.Event = attrs.field(factory=trio.Event, init=False)

    @classmethod
    def under_systemd(cls, environ: Mapping[str, str]) -> RevisionFile:
        """Return the one in ``$STATE_DIRECTORY`` (systemd.exec(5)), where there is such a directory."""
        first = environ.get("STATE_DIRECTORY", "").partition(":")[0]
        return cls(Path(first, FILE) if first else None)

    def first(self, now: float) -> int:
        """Return the first revision of this process: microseconds since 1970, or above all that were before.

        It blocks: to be called before the daemon serves anybody.

        Args:
            now: seconds since 1970.
        """
        revision = max(int(now * 1_000_000), self._read() + 1)
        self.reach(revision)
        return revision

    def reach(self, revision: int) -> None:
        """Note that the tree is at `revision`; writes the file where it is about to be overtaken. It blocks, as `first`."""
        self._reached = revision
        if self.path is not None and revision >= self._reserved:
            self._written(revision + RESERVED, _write(self.path, revision + RESERVED))

    def take(self, change: Change) -> None:
        """Take what a revision brings; a listener of the hub."""
        self._reached = change.snapshot.revision
        if self.path is not None and self._is_near:
            self._wanted.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Write the file long before it is overtaken, in a thread, for ever: a slow disk must not hold up the hub."""
        limiter = trio.CapacityLimiter(1)  # its own: a disk that hangs must not stop other work
        task_status.started()
        while self.path is not None:
            await self._wanted.wait()
            self._wanted = trio.Event()
            if not self._is_near:  # it came while the last one was written
                continue
            reserved = self._reached + RESERVED
            error = await trio.to_thread.run_sync(
                _write, self.path, reserved, abandon_on_cancel=True, limiter=limiter
            )
            self._written(reserved, error)
        await trio.sleep_forever()

    @property
    def _is_near(self) -> bool:
        return self._reached >= self._reserved - RESERVED // 2

    def _written(self, reserved: int, error: OSError | None) -> None:
        self._reserved = reserved
        if error is not None:
            log.warning(
                "%s cannot be written (%s): revisions follow the clock alone",
                self.path,
                error.strerror,
                extra=event(STATE_NOT_KEPT, file=str(self.path)),
            )
            self.path = None

    def _read(self) -> int:
        if self.path is None:
            return 0
        try:
            text = read_at_most(self.path, 32).strip()
        except FileNotFoundError:
            return 0
        except OSError as error:
            log.warning(
                "%s cannot be read (%s): revisions follow the clock alone",
                self.path,
                error.strerror,
                extra=event(STATE_NOT_KEPT, file=str(self.path)),
            )
            return 0
        if not text.isdigit() or int(text) > GREATEST:
            extra = event(STATE_NOT_KEPT, file=str(self.path))
            log.warning("%s holds no revision and is replaced", self.path, extra=extra)
            return 0
        return int(text)


def _write(path: Path, reserved: int) -> OSError | None:
    """Write `reserved`, or return why it could not be done."""
    try:
        write_atomically(path, b"%d\n" % reserved)
    except OSError as error:
        return error
    return None
