"""Rollups: rules that give a branch its status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from statusd.model.report import Json, Report
from statusd.model.status import Status, best, worst
from statusd.model.tree import Node

LISTED: Final = 5
"""How many children a rollup's message names before it only counts the rest."""


def roll_up(children: Mapping[str, Node]) -> Report:
    """Return the worst status among the `children` that count; `off` ones take no part; none at all is `off`."""
    counted = {name: node for name, node in children.items() if node.counts and node.status is not Status.OFF}
    if not counted:
        return Report.off("nothing_counts")
    status = worst(node.status for node in counted.values())
    if status is Status.OK:
        return Report.ok()
    bad = {name: node for name, node in counted.items() if node.status is not Status.OK}
    reason = next(node.reason for node in bad.values() if node.status is status)
    message = f"{len(bad)} of {len(counted)} not ok: {_named(bad)}."
    return Report(status=status, reason=reason, message=message)


def branch(children: Mapping[str, Node]) -> Node:
    """Return a node whose status is the rollup of `children`, observed when the oldest of them was."""
    verdict = roll_up(children)
    observed = [node.observed_at for node in children.values() if node.observed_at is not None]
    return Node(
        status=verdict.status,
        reason=verdict.reason,
        message=verdict.message,
        children=children,
        observed_at=min(observed, default=None),
    )


@attrs.frozen(kw_only=True)
class Candidate:
    """One source that can serve a model, and what it last said about that model.

    Attributes:
        source: the source's name.
        plugin: its plugin's name.
        backend: what ``/models`` calls it.
        status, reason, message: as in a report.
        label: the word that ``/models`` shows as reason, or ``""``.
        observed_at: seconds since 1970, or None before any reading.
        expires_at: seconds since 1970, or None.
        counts: whether the model takes part in the rollup because of this source.
    """

    source: str
    plugin: str
    backend: str
    status: Status
    reason: str
    message: str = ""
    label: str = ""
    observed_at: float | None = None
    expires_at: float | None = None
    counts: bool = True

    def as_fact(self) -> dict[str, Json]:
        """Return the candidate as it stands in the model's facts."""
        return {
            "source": self.source,
            "plugin": self.plugin,
            "backend": self.backend,
            "status": self.status.value,
            "reason": self.reason,
            "label": self.label,
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


def model_node(candidates: Sequence[Candidate]) -> Node:
    """Return the node of a model: the best status of its candidates (at least one), and which one is selected."""
    selected = select(candidates)
    status = best(candidate.status for candidate in candidates)
    decided = next(candidate for candidate in candidates if candidate.status is status)
    return Node(
        status=status,
        reason=decided.reason,
        message=decided.message,
        facts={
            "backend": selected.backend,
            "source": selected.source,
            "candidates": [candidate.as_fact() for candidate in candidates],
        },
        counts=any(candidate.counts and candidate.status is not Status.OFF for candidate in candidates),
        observed_at=selected.observed_at,
        expires_at=selected.expires_at,
    )


def _named(bad: Mapping[str, Node]) -> str:
    worst_first = sorted(bad.items(), key=lambda item: -item[1].status.severity)
    shown = [f"{name} ({node.status}, {node.reason})" for name, node in worst_first[:LISTED]]
    rest = len(bad) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
