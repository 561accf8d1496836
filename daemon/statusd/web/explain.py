"""``/explain``: why a node has its status, and what would change it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from statusd.model.snapshot import Snapshot
from statusd.model.status import Status
from statusd.plugin.context import SourceInfo
from statusd.plugin.contracts import Document
from statusd.web.because import because
from statusd.web.bodies import Instant, Path, Revision, Word, encode, timestamp
from statusd.web.outlook import outlook
from statusd.web.subject import Subject

Seconds: TypeAlias = Annotated[float, Meta(ge=0, description="Seconds.")]
Count: TypeAlias = Annotated[int, Meta(ge=1)]


class ReadingBody(msgspec.Struct, frozen=True, kw_only=True):
    """What the newest probe behind the node said, before thresholds and dependencies.

    Attributes:
        status, reason, message: what it said; past its lifetime ``unknown``, ``stale``.
        observed_at: when the probe finished; null before any has.
        age: seconds since then.
        expires_at: when it turns stale.
        expires_in: seconds until then; 0 when it has.
        interval: seconds between two probes.
        timeout: seconds for a whole probe.
        restored: whether it is of an earlier run, and stands in for the first probe of this one.
    """

    status: Status
    reason: Word
    message: str
    observed_at: Instant | None
    age: Seconds | None
    expires_at: Instant | None
    expires_in: Seconds | None
    interval: Seconds | None
    timeout: Seconds | None
    restored: bool


class TallyBody(msgspec.Struct, frozen=True, kw_only=True):
    """A change of status that ``rise`` or ``fall`` still waits for.

    Attributes:
        status, reason: what the newest probes say.
        seen: how many of them in a row.
        needed: how many it takes.
    """

    status: Status
    reason: Word
    seen: Count
    needed: Count


class ThresholdsBody(msgspec.Struct, frozen=True, kw_only=True):
    """How many probes in a row must agree.

    Attributes:
        rise: good ones, until what was bad counts as good.
        fall: bad ones, until what was good counts as bad.
        tally: where they are being counted.
    """

    rise: Count
    fall: Count
    tally: TallyBody | None


class DependencyBody(msgspec.Struct, frozen=True, kw_only=True):
    """The sources without which this one cannot work.

    Attributes:
        depends_on: their names.
        parent_down: the failed one because of which nothing certain is known.
    """

    depends_on: tuple[str, ...]
    parent_down: str | None


class MemberBody(msgspec.Struct, frozen=True, kw_only=True):
    """One of those whose statuses make a rollup: a child, or a source that can serve the model.

    Attributes:
        name: the child's segment, or the source's name.
        status, reason: how it is doing.
        counts: whether it takes part; what is off never does.
    """

    name: str
    status: Status
    reason: Word
    counts: bool


class ExplainedRollupBody(msgspec.Struct, frozen=True, kw_only=True):
    """The rule that gives a branch or a model its status.

    Attributes:
        rule: ``worst``, ``best`` or ``at_least(n)``.
        decided_by: those whose status it therefore is.
        children: all that it could look at.
    """

    rule: Annotated[str, Meta(pattern=r"^(worst|best|at_least\([0-9]+\))$")]
    decided_by: tuple[str, ...]
    children: tuple[MemberBody, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """``/explain``: why a node has its status, and what would change it.

    Attributes:
        revision: the one that last changed the state of this branch.
        path: the node.
        status, reason, message: how it is doing.
        because: why, in sentences for people.
        would_change: what would change it, likewise.
        source: the name of the source that says so; of a model, the selected one.
        reading: what that source's newest probe said.
        thresholds: how steady that source must be.
        dependency: what that source depends on.
        rollup: the rule, where the status comes from one.
    """

    revision: Revision
    path: Path
    status: Status
    reason: Word
    message: str
    because: tuple[str, ...]
    would_change: tuple[str, ...]
    source: str | None
    reading: ReadingBody | None
    thresholds: ThresholdsBody | None
    dependency: DependencyBody | None
    rollup: ExplainedRollupBody | None


def explain(
    snapshot: Snapshot, path: str, sources: Mapping[str, SourceInfo], now: float
) -> Explanation | None:
    """Return the explanation of the node at `path`; None when there is no such node.

    Args:
        snapshot: the tree.
        path: as in `Snapshot.find`; ``""`` is the whole tree.
        sources: name -> every configured source.
        now: seconds since 1970.
    """
    node = snapshot.find(path)
    if node is None:
        return None
    subject = Subject(snapshot=snapshot, path=path, node=node, info=sources.get(node.source), now=now)
    return Explanation(
        revision=node.revision,
        path=path,
        status=node.status,
        reason=node.reason,
        message=node.message,
        because=tuple(because(subject)),
        would_change=tuple(outlook(subject)),
        source=node.source or None,
        reading=_reading(subject),
        thresholds=_thresholds(subject),
        dependency=_dependency(subject),
        rollup=_rollup(subject),
    )


def render_explanation(
    snapshot: Snapshot, path: str, sources: Mapping[str, SourceInfo], now: float
) -> Document | None:
    """Return the document of ``/explain`` about the node at `path`; arguments as for `explain`."""
    explanation = explain(snapshot, path, sources, now)
    return None if explanation is None else Document(body=encode(explanation))


def _reading(subject: Subject) -> ReadingBody | None:
    node, info = subject.node, subject.info
    if node.basis is None:
        return None
    newest = node.basis.newest
    return ReadingBody(
        status=newest.status,
        reason=newest.reason,
        message=newest.message,
        observed_at=timestamp(node.observed_at),
        age=_seconds(None if node.observed_at is None else subject.now - node.observed_at),
        expires_at=timestamp(node.expires_at),
        expires_in=_seconds(None if node.expires_at is None else node.expires_at - subject.now),
        interval=None if info is None else info.interval,
        timeout=None if info is None else info.timeout,
        restored=node.is_restored,
    )


def _thresholds(subject: Subject) -> ThresholdsBody | None:
    basis, info = subject.node.basis, subject.info
    if basis is None or info is None:
        return None
    tally = basis.tally
    return ThresholdsBody(
        rise=info.rise,
        fall=info.fall,
        tally=None
        if tally is None
        else TallyBody(status=tally.status, reason=tally.reason, seen=tally.seen, needed=tally.needed),
    )


def _dependency(subject: Subject) -> DependencyBody | None:
    basis, info = subject.node.basis, subject.info
    if basis is None or info is None or not info.depends_on:
        return None
    return DependencyBody(depends_on=info.depends_on, parent_down=basis.parent or None)


def _rollup(subject: Subject) -> ExplainedRollupBody | None:
    node = subject.node
    if not node.rule:
        return None
    children = tuple(
        MemberBody(name=one.name, status=one.status, reason=one.reason, counts=one.counts)
        for one in subject.members
    )
    return ExplainedRollupBody(rule=node.rule, decided_by=node.decided_by, children=children)


def _seconds(value: float | None) -> float | None:
    """Return `value` to the millisecond, of a clock set back 0; None for what is no number of seconds."""
    return None if value is None or not math.isfinite(value) else round(max(value, 0.0), 3)
