"""What the hub is told: sources and what they are found to be, what parts of the daemon say, another configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import attrs
import trio

from statusd.model.assembly import Origin, State
from statusd.model.drains import Drain
from statusd.model.judging import Thresholds
from statusd.model.merge import Reading
from statusd.model.nodes import Rules
from statusd.model.report import Report
from statusd.plugin.context import SourceInfo

INBOX: Final = 64
"""Observations that wait for the hub before a sender waits for room."""


@attrs.frozen(kw_only=True)
class Tracked:
    """A source as the hub knows it.

    Attributes:
        info: how it is configured.
        models: ids of the models it can serve.
        first: what to show until its first probe has finished; for a source that is never probed, for good.
        patience: seconds within which its first probe must have finished.
        restored: what an earlier process read, to be shown instead of `first`; None: there is nothing of the kind.
        made_of: the fingerprint of its configuration; ``""`` for one of which nothing is kept over restarts.
    """

    info: SourceInfo
    models: tuple[str, ...]
    first: tuple[Report, ...]
    patience: float = math.inf
    restored: Reading | None = None
    made_of: str = ""

    def origin(self) -> Origin:
        """Return its place in the tree."""
        info = self.info
        return Origin(
            name=info.name,
            plugin=info.plugin,
            backend=info.backend,
            models=self.models,
            required=info.required,
            thresholds=Thresholds(info.rise, info.fall),
            depends_on=info.depends_on,
            made_of=self.made_of,
        )

    def state(self) -> State:
        """Return its state before any probe."""
        if self.restored is not None:
            return State.restored(self.origin(), self.restored)
        return State.first(self.origin(), self.first)


@attrs.frozen(kw_only=True)
class Observation:
    """What a supervisor sends to the hub after each probe.

    Attributes:
        source: the source's name.
        reports: checked reports.
        lifetime: seconds from then after which they are stale.
        at: when the probe finished, in seconds on trio's clock; None: just now.
    """

    source: str
    reports: tuple[Report, ...]
    lifetime: float
    at: float | None = None


@attrs.frozen(kw_only=True)
class Statement:
    """What a part of the daemon says about itself; it stands until the next one.

    Attributes:
        path: below ``daemon`` or ``plugins``, such as ``"daemon/loop"``.
        report: what to show there.
    """

    path: str
    report: Report


@attrs.frozen(kw_only=True)
class Reconfiguration:
    """Another configuration: what the tree is made of from now on.

    Attributes:
        sources: every configured source.
        kept: names of those that go on as they are, with all that was read from them.
        models: model id -> names of the sources that can serve it, best first.
        rules: path of a branch -> its rollup rule.
        statements: about every plugin, and what else of the daemon has something new to say.
        gone: paths of what of the daemon has nothing to say any more.
        observations: what the others among `sources` have found already.
        turn: called in the very step in which the tree becomes another one; must be quick and must not raise.
    """

    sources: tuple[Tracked, ...]
    kept: frozenset[str]
    models: Mapping[str, Sequence[str]]
    rules: Rules
    statements: tuple[Statement, ...]
    gone: frozenset[str] = frozenset()
    observations: tuple[Observation, ...] = ()
    turn: Callable[[], None] = lambda: None


@attrs.frozen
class Draining:
    """What an operator has taken out of service: these places, and no others."""

    drains: tuple[Drain, ...]


Message: TypeAlias = Observation | Statement | Reconfiguration | Draining | trio.Event
"""What the hub's inbox takes; an event is set once everything before it has been merged."""
Inbox: TypeAlias = trio.MemorySendChannel[Message]
