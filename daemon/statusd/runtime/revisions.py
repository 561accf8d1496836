"""Revisions that only grow, also when the clock was set back while the daemon did not run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

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

    @classmethod
    def under_systemd(cls, environ: Mapping[str, str]) -> RevisionFile:
        """Return the one in ``$STATE_DIRECTORY`` (systemd.exec(5)), where there is such a directory."""
        first = environ.get("STATE_DIRECTORY", "").partition(":")[0]
        return cls(Path(first, FILE) if first else None)

    def first(self, now: float) -> int:
        """Return the first revision of this process: microseconds since 1970, or above all that were before.

        Args:
            now: seconds since 1970.
        """
        revision = max(int(now * 1_000_000), self._read() + 1)
        self.reach(revision)
        return revision

    def reach(self, revision: int) -> None:
        """Note that the tree is at `revision`; writes the file where it is about to be overtaken."""
        if self.path is None or revision < self._reserved:
            return
        self._reserved = revision + RESERVED
        try:
            write_atomically(self.path, b"%d\n" % self._reserved)
        except OSError as error:
            log.warning(
                "%s cannot be written (%s): revisions follow the clock alone",
                self.path,
                error.strerror,
                extra=event(STATE_NOT_KEPT, file=str(self.path)),
            )
            self.path = None

    def take(self, change: Change) -> None:
        """Take what a revision brings; a listener of the hub."""
        self.reach(change.snapshot.revision)

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
