"""What an earlier process left, as a new one may start from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from statusd.errors import ReportError
from statusd.model.kept import Kept, KeptSource
from statusd.model.merge import Reading, expired, own_report
from statusd.model.status import Status
from statusd.model.tree import Since
from statusd.plugin.validation import checked_reports

OLDEST: Final = 600.0
"""Seconds of age beyond which a kept report says nothing about the present, unless its own lifetime lasts longer."""
AHEAD: Final = 60.0
"""Seconds by which a kept report may be of the future; by more the clock was set back, and its age is not known."""
TOO_OLD: Final = "The last report is from before statusd was started, and too old to go by."


@attrs.frozen
class Past:
    """What an earlier process left, looked at from now.

    Attributes:
        kept: what it left, or None for nothing.
        now: seconds since 1970.
    """

    kept: Kept | None
    now: float

    @property
    def revision(self) -> int:
        """The last one of which anything is known; -1 for none."""
        return -1 if self.kept is None else self.kept.revision

    def since(self) -> dict[str, Since]:
        """Return path -> how that node stood; what claims to be of the future is left out."""
        if self.kept is None:
            return {}
        return {
            path: Since(node.status, node.since)
            for path, node in self.kept.nodes.items()
            if 0 < node.since <= self.now
        }

    def reading(
        self, name: str, made_of: str, *, models: Iterable[str] = (), patience: float
    ) -> Reading | None:
        """Return what a source starts from, or None where it starts anew: nothing is known, or it is another one now.

        Args:
            name: the source's.
            made_of: the fingerprint of its configuration; ``""`` for one that never starts from anything.
            models: ids of the models it can serve.
            patience: seconds within which its first probe must have finished.
        """
        source = None if self.kept is None else self.kept.sources.get(name)
        if source is None or not made_of or source.made_of != made_of:
            return None
        try:
            reports = checked_reports([one.report() for one in source.reports], models=models)
        except ReportError:
            return None
        reading = Reading(
            reports=reports,
            observed_at=source.observed_at,
            expires_at=self.now + patience,
            is_restored=True,
        )
        own = own_report(reports)
        if own.status is Status.UNKNOWN and own.reason == "stale":
            return attrs.evolve(reading, expires_at=self._past_end(source))
        if self._is_too_old(source):
            stale = expired(reading, TOO_OLD)
            return attrs.evolve(stale, expires_at=self._past_end(source))
        return reading

    def _is_too_old(self, source: KeptSource) -> bool:
        age = self.now - source.observed_at
        return age < -AHEAD or (age > OLDEST and (source.expires_at or 0.0) <= self.now)

    def _past_end(self, source: KeptSource) -> float:
        """Return when it turned stale: never in the future."""
        return self.now if source.expires_at is None else min(source.expires_at, self.now)
