"""Turning what a probe reported into the nodes and candidates it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from statusd.model.report import Report
from statusd.model.rollup import roll_up
from statusd.model.status import Status, worst
from statusd.model.tree import Node


@attrs.frozen(kw_only=True)
class Reading:
    """The reports of one probe, with their freshness.

    Attributes:
        reports: at most one about the source itself, the others about its parts and models.
        observed_at: when the probe finished, in seconds since 1970, or None when nothing was observed.
        expires_at: when the reading turns stale, in seconds since 1970, or None for never.
    """

    reports: tuple[Report, ...]
    observed_at: float | None = None
    expires_at: float | None = None


def own_report(reports: Sequence[Report]) -> Report:
    """Return the report about the source itself; without one, the worst of the others stands for it."""
    for report in reports:
        if not report.path and report.model is None:
            return report
    status = worst(report.status for report in reports)
    decided = next((report for report in reports if report.status is status), None)
    if decided is None:
        return Report.unknown("bad_report", "The probe returned no report.")
    return Report(status=status, reason=decided.reason, message=decided.message)


def model_reports(reports: Sequence[Report], models: Iterable[str]) -> dict[str, Report]:
    """Return a report for each of `models`; one that no report names follows the source's own."""
    named = {report.model: report for report in reports if report.model is not None}
    own = own_report(reports)
    following = Report(status=own.status, reason=own.reason, message=own.message)
    return {model: named.get(model, following) for model in models}


def source_node(reading: Reading, *, counts: bool) -> Node:
    """Return the node of a source with its parts below it.

    Args:
        reading: what its last probe reported.
        counts: whether the source takes part in the rollup of ``sources``.
    """
    parts = {tuple(report.path.split("/")): report for report in reading.reports if report.path}
    return _node(own_report(reading.reports), reading, _children(parts, reading), counts=counts)


def expired(reading: Reading, message: str) -> Reading:
    """Return what remains of a reading past its lifetime: every status unknown/stale, no payloads, no labels."""
    stale = tuple(
        attrs.evolve(report, status=Status.UNKNOWN, reason="stale", message=message, label="", payload=None)
        for report in reading.reports
    )
    return attrs.evolve(reading, reports=stale)


def _children(parts: Mapping[tuple[str, ...], Report], reading: Reading) -> dict[str, Node]:
    """Return the nodes for `parts`; a place that only has places below it is their rollup.

    None of them counts: the source's own report is what sums them up.
    """
    below: dict[str, dict[tuple[str, ...], Report]] = {}
    for (head, *rest), report in parts.items():
        deeper = below.setdefault(head, {})
        if rest:
            deeper[tuple(rest)] = report
    children: dict[str, Node] = {}
    for head, deeper in below.items():
        grandchildren = _children(deeper, reading)
        report = parts.get((head,)) or _rolled_up(grandchildren)
        children[head] = _node(report, reading, grandchildren, counts=False)
    return children


def _rolled_up(parts: Mapping[str, Node]) -> Report:
    return roll_up({name: attrs.evolve(part, counts=True) for name, part in parts.items()})


def _node(report: Report, reading: Reading, children: Mapping[str, Node], *, counts: bool) -> Node:
    return Node(
        status=report.status,
        reason=report.reason,
        message=report.message,
        facts=report.facts,
        children=children,
        counts=counts,
        measurements=report.measurements,
        payload=report.payload,
        observed_at=reading.observed_at,
        expires_at=reading.expires_at,
    )
