"""Nodes out of what stands behind them: branches out of children, sources out of probes, models out of candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from statusd.model.basis import Basis
from statusd.model.judging import Judged, Judgement
from statusd.model.merge import Reading
from statusd.model.report import Json, Report
from statusd.model.rollup import BEST, WORST, Rule, decide
from statusd.model.status import Status
from statusd.model.tree import Node, join
from statusd.wording import standing

LISTED: Final = 5
"""How many children a rollup's message names before it only counts the rest."""

Rules = Mapping[str, Rule]
"""Path of a branch -> its rule, where that is not the usual one."""


def branch(children: Mapping[str, Node], rule: Rule = WORST) -> Node:
    """Return a node whose status is the rollup of `children`, as old as the oldest of them."""
    counted = {name: node for name, node in children.items() if node.counts and node.status is not Status.OFF}
    verdict = decide(rule, [node.status for node in counted.values()])
    names = tuple(counted)
    decided_by = tuple(names[place] for place in verdict.decided_by)
    observed = [node.observed_at for node in children.values() if node.observed_at is not None]
    expiring = [node.expires_at for node in children.values() if node.expires_at is not None]
    message = _summary(counted)
    if verdict.lacking:
        reason = "too_few"
        message = (
            f"The rule is {rule}, and {len(counted)} of the {len(children)} below count. {message}".rstrip()
        )
    elif decided_by:
        reason = counted[decided_by[0]].reason if verdict.status is not Status.OK else "ok"
    else:
        reason = "nothing_counts"
    return Node(
        status=verdict.status,
        reason=reason,
        message=message,
        children=children,
        rule=str(rule),
        decided_by=decided_by,
        observed_at=min(observed, default=None),
        expires_at=min(expiring, default=None),
        is_restored=any(node.is_restored for node in children.values()),
    )


def _summary(counted: Mapping[str, Node]) -> str:
    bad = [(name, node) for name, node in counted.items() if node.status is not Status.OK]
    if not bad:
        return ""
    bad.sort(key=lambda item: -item[1].status.severity)
    named = ", ".join(f"{name} ({node.status}, {node.reason})" for name, node in bad[:LISTED])
    rest = f" and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
    return f"{len(bad)} of {len(counted)} not ok: {named}{rest}."


def standing_report(judged: Judged, parent: str) -> Report:
    """Return what a node says: the report that counts, unless a failed `parent` makes it unknowable.

    Args:
        judged: what the probes came to.
        parent: the name of the failed source it depends on, or ``""``.
    """
    report, tally = judged.report, judged.tally
    if parent and report.status is not Status.OFF:
        message = f'It depends on the source "{parent}", which is down.'
        return Report.unknown("parent_down", message, facts=report.facts)
    if tally is None:
        return report
    rest = f": {judged.newest.message}" if judged.newest.message else "."
    return attrs.evolve(
        report,
        message=f"{tally.seen} of {tally.needed} probes say {standing(tally.status, tally.reason)}{rest}",
    )


@attrs.frozen(kw_only=True)
class _Origin:
    """What the nodes of one source share."""

    name: str
    reading: Reading
    parent: str
    rules: Rules

    def node(self, judged: Judged, children: Mapping[str, Node], *, counts: bool) -> Node:
        report = standing_report(judged, self.parent)
        return Node(
            status=report.status,
            reason=report.reason,
            message=report.message,
            facts=report.facts,
            children=children,
            counts=counts,
            source=self.name,
            measurements=judged.newest.measurements,
            payload=judged.newest.payload,
            basis=Basis(newest=judged.newest, tally=judged.tally, parent=self.parent),
            observed_at=judged.observed_at,
            expires_at=self.reading.expires_at,
            is_restored=self.reading.is_restored,
        )

    def children(self, parts: Mapping[tuple[str, ...], Judged], path: str) -> dict[str, Node]:
        """Return the nodes for `parts`; a place that only has places below it is their rollup.

        None of them counts: the source's own report is what sums them up.
        """
        below: dict[str, dict[tuple[str, ...], Judged]] = {}
        for (head, *rest), judged in parts.items():
            deeper = below.setdefault(head, {})
            if rest:
                deeper[tuple(rest)] = judged
        children: dict[str, Node] = {}
        for head, deeper in below.items():
            where = join(path, head)
            grandchildren = self.children(deeper, where)
            judged_here = parts.get((head,))
            if judged_here is not None:
                children[head] = self.node(judged_here, grandchildren, counts=False)
            else:
                children[head] = self._rolled_up(grandchildren, where)
        return children

    def _rolled_up(self, parts: Mapping[str, Node], path: str) -> Node:
        # By name: in which order an upstream lists its parts is no state, so it must not decide whom the message names.
        counting = {name: attrs.evolve(part, counts=True) for name, part in sorted(parts.items())}
        return attrs.evolve(
            branch(counting, self.rules.get(path, WORST)), children=parts, counts=False, source=self.name
        )


def source_node(
    name: str, reading: Reading, judgement: Judgement, *, counts: bool, parent: str = "", rules: Rules
) -> Node:
    """Return the node of a source with its parts below it.

    Args:
        name: the source's.
        reading: what its newest probe reported.
        judgement: what its probes came to.
        counts: whether the source takes part in the rollup of ``sources``.
        parent: the failed source it depends on, or ``""``.
        rules: of branches below it.
    """
    origin = _Origin(name=name, reading=reading, parent=parent, rules=rules)
    path = join("sources", name)
    parts = {tuple(part.split("/")): judged for part, judged in judgement.parts.items()}
    return origin.node(judgement.own, origin.children(parts, path), counts=counts)


def statement_node(report: Report) -> Node:
    """Return the node of what a part of the daemon says about itself: true until it says otherwise, so without age."""
    return Node(status=report.status, reason=report.reason, message=report.message, facts=report.facts)


@attrs.frozen(kw_only=True)
class Candidate:
    """One source that can serve a model, and what it last said about that model.

    Attributes:
        source: the source's name.
        plugin: its plugin's name.
        backend: what ``/models`` calls it.
        report: what it says about the model.
        basis: what that was made of.
        reading: the probe it comes from.
        counts: whether the model takes part in the rollup because of this source.
    """

    source: str
    plugin: str
    backend: str
    report: Report
    basis: Basis
    reading: Reading
    counts: bool = True

    @property
    def status(self) -> Status:
        """How the model is doing there."""
        return self.report.status

    def as_fact(self) -> dict[str, Json]:
        """Return the candidate as it stands in the model's facts."""
        return {
            "source": self.source,
            "plugin": self.plugin,
            "backend": self.backend,
            "status": self.status.value,
            "reason": self.report.reason,
            "label": self.report.label,
        }


def select(candidates: Sequence[Candidate]) -> Candidate:
    """Return the first connected candidate; if none, the first that is not `off`; else the first."""
    for candidate in candidates:
        if candidate.status.is_connected:
            return candidate
    for candidate in candidates:
        if candidate.status is not Status.OFF:
            return candidate
    return candidates[0]


def model_node(candidates: Sequence[Candidate], rule: Rule = BEST) -> Node:
    """Return the node of a model: its candidates' rollup (one at least), and which of them is selected."""
    selected = select(candidates)
    verdict = decide(rule, [candidate.status for candidate in candidates])
    deciding = [candidates[place] for place in verdict.decided_by] or [selected]
    report = deciding[0].report
    if verdict.lacking:
        serving = sum(candidate.status is not Status.OFF for candidate in candidates)
        report = Report.down("too_few", f"The rule is {rule}, and {serving} of its sources are configured.")
    return Node(
        status=verdict.status,
        reason=report.reason,
        message=report.message,
        facts={
            "backend": selected.backend,
            "source": selected.source,
            "candidates": [candidate.as_fact() for candidate in candidates],
        },
        counts=any(candidate.counts and candidate.status is not Status.OFF for candidate in candidates),
        source=selected.source,
        rule=str(rule),
        decided_by=tuple(candidate.source for candidate in deciding) if verdict.decided_by else (),
        basis=selected.basis,
        observed_at=selected.reading.observed_at,
        expires_at=selected.reading.expires_at,
        is_restored=selected.reading.is_restored,
    )
