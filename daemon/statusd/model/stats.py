"""Counting since the start: how long probes take, what they find, and how often nodes change their status."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

import attrs

from statusd.model.snapshot import Change
from statusd.model.status import Status

BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds: the upper bounds between which durations are told apart."""
GONE: Final = "gone"
"""What stands for the status of a node that went."""


@attrs.define(eq=False)
class Durations:
    """How long several of a kind took: the probes of one source, say.

    Attributes:
        seconds: all of them together.
    """

    seconds: float = 0.0
    _counts: list[int] = attrs.field(factory=lambda: [0] * (len(BUCKETS) + 1), init=False)

    def note(self, seconds: float) -> None:
        """Count one."""
        self.seconds += seconds
        self._counts[bisect_left(BUCKETS, seconds)] += 1

    def cumulative(self) -> Sequence[int]:
        """Return how many took no longer than each of `BUCKETS`, and last how many there were."""
        return tuple(accumulate(self._counts))


@attrs.define(eq=False)
class Stats:
    """What has been counted; as large as the configuration makes it, whatever upstreams report.

    Attributes:
        durations: name of a source -> how long its probes took.
        outcomes: (name of a source, status) -> probes that found it; every status of a source that was ever probed.
        transitions: (path, status or ``"gone"``) -> changes to it; of nodes that the configuration names.
    """

    durations: dict[str, Durations] = attrs.field(factory=dict, init=False)
    outcomes: dict[tuple[str, str], int] = attrs.field(factory=dict, init=False)
    transitions: Counter[tuple[str, str]] = attrs.field(factory=Counter, init=False)

    def note(self, source: str, status: Status, seconds: float) -> None:
        """Count one finished probe.

        Args:
            source: the name of a configured source.
            status: what the probe found, before thresholds and dependencies.
            seconds: how long it took.
        """
        if source not in self.durations:
            self.durations[source] = Durations()
            # From nought on, so that a rate sees the first one of each too.
            self.outcomes.update({(source, each.value): 0 for each in Status})
        self.durations[source].note(seconds)
        self.outcomes[source, status.value] += 1

    def keep(self, sources: Iterable[str], paths: Iterable[str]) -> None:
        """Forget all but these `sources` and the nodes at these `paths`: the configuration names no others any more."""
        known, shown = frozenset(sources), frozenset(paths)
        self.durations = {name: found for name, found in self.durations.items() if name in known}
        self.outcomes = {key: found for key, found in self.outcomes.items() if key[0] in known}
        for key in [key for key in self.transitions if key[0] not in shown]:
            del self.transitions[key]

    def take(self, change: Change) -> None:
        """Count its transitions; listens to the hub."""
        for transition in change.transitions:
            if is_configured(transition.path):
                after = GONE if transition.after is None else transition.after.value
                self.transitions[transition.path, after] += 1


def is_configured(path: str) -> bool:
    """Whether the configuration decides that there is a node at `path`; parts are an upstream's to name."""
    return path.count("/") <= 1
