"""The node that is explained, and what stands around it."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

import attrs

from statusd.model.basis import Basis
from statusd.model.rollup import Rule
from statusd.model.snapshot import Snapshot
from statusd.model.status import Status
from statusd.model.tree import Node, join
from statusd.plugin.context import SourceInfo
from statusd.web.phrases import counting


class Phase(Enum):
    """How far a source has come."""

    IDLE = auto()
    """There is nothing to probe: not configured, or what it needs has failed."""
    PENDING = auto()
    """The first probe has not finished."""
    OVERDUE = auto()
    """The first probe has not finished, and its time is up."""
    RESTORED = auto()
    """The first probe has not finished, and what an earlier run of the daemon left stands in for it."""
    OBSERVED = auto()
    """A probe has finished, and what it said stands."""
    SILENT = auto()
    """The newest probe to finish did so too long ago."""


@attrs.frozen(kw_only=True)
class Member:
    """One of those whose statuses make a rollup: a child, or a source that can serve the model.

    Attributes:
        name: the child's segment, or the source's name.
        status: how it is doing.
        reason: a word for that.
        counts: whether it takes part, where it is not off.
    """

    name: str
    status: Status
    reason: str
    counts: bool

    @property
    def takes_part(self) -> bool:
        """Whether the rule looks at it."""
        return self.counts and self.status is not Status.OFF


@attrs.frozen(kw_only=True)
class Subject:
    """The node that is explained.

    Attributes:
        snapshot: the tree.
        path: the node's.
        node: the node.
        info: the source behind it, or None.
        now: seconds since 1970.
    """

    snapshot: Snapshot
    path: str
    node: Node
    info: SourceInfo | None
    now: float

    @property
    def is_model(self) -> bool:
        """Whether sources that can serve it make its status."""
        return bool(self.node.rule) and self.node.basis is not None

    @property
    def is_part(self) -> bool:
        """Whether it is below the node of a source."""
        return self.node.basis is not None and not self.is_model and self.path.count("/") > 1

    @property
    def members(self) -> tuple[Member, ...]:
        """Those whose statuses make it, where it is a rollup, in order."""
        if not self.node.rule:
            return ()
        if self.is_model:
            return tuple(_candidate(fact) for fact in self.candidates)
        counted = counting(self.node)
        return tuple(
            Member(name=name, status=child.status, reason=child.reason, counts=name in counted)
            for name, child in self.node.children.items()
        )

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """The sources that can serve a model, as its facts have them."""
        found = self.node.facts.get("candidates")
        return found if isinstance(found, list) else []

    @property
    def is_rollup(self) -> bool:
        """Whether a rule has anything to decide; a model with one source just follows that."""
        if not self.is_model:
            return bool(self.node.rule)
        return len(self.candidates) > 1 or Rule.parse(self.node.rule).least > 1

    @property
    def phase(self) -> Phase:
        """How far its source has come."""
        if self.node.is_restored:
            return Phase.RESTORED
        at = self.source_node(self.node.source) or self.node
        basis = at.basis or self.node.basis
        # The source's own newest report: those about models and parts may say it in other words.
        reason = basis.newest.reason if basis is not None else at.reason
        is_stale = reason == "stale" and basis is not None and basis.newest.status is Status.UNKNOWN
        if self.node.observed_at is not None:
            # A plugin may say "stale" of itself; then the reading has time left.
            expires_at = self.node.expires_at
            return (
                Phase.SILENT
                if is_stale and expires_at is not None and expires_at <= self.now
                else Phase.OBSERVED
            )
        if is_stale:
            return Phase.OVERDUE
        return Phase.PENDING if reason == "pending" else Phase.IDLE

    @property
    def is_left_alone(self) -> bool:
        """Whether it is a part of a source whose newest probe failed, and failed too few times to count."""
        at = self.source_node(self.node.source)
        tally = at.basis.tally if at is not None and at.basis is not None else None
        return self.is_part and tally is not None and not tally.status.is_connected

    @property
    def waits_for(self) -> str:
        """The failed source because of which its own source counts as unknown, or ``""``."""
        basis = self.node.basis
        return basis.parent if basis is not None and is_known(basis) else ""

    def source_node(self, name: str) -> Node | None:
        """Return the node of the source `name`."""
        return self.snapshot.find(join("sources", name))


def is_known(basis: Basis) -> bool:
    """Whether a failed dependency matters: what is off stays off."""
    return basis.newest.status is not Status.OFF


def _candidate(fact: dict[str, Any]) -> Member:
    return Member(name=fact["source"], status=Status(fact["status"]), reason=fact["reason"], counts=True)
