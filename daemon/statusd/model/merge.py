"""Readings: what one probe reported, and what that says about the source and each of its models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from statusd.model.report import Report
from statusd.model.status import Status, worst


@attrs.frozen(kw_only=True)
class Reading:
    """The reports of one probe, with their freshness.

    Attributes:
        reports: at most one about the source itself, the others about its parts and models.
        observed_at: when the probe finished, in seconds since 1970, or None when nothing was observed.
        expires_at: when the reading turns stale, in seconds since 1970, or None for never.
        is_restored: whether it stands in, from an earlier process, for the first probe of this one.
    """

    reports: tuple[Report, ...]
    observed_at: float | None = None
    expires_at: float | None = None
    is_restored: bool = False


def own_report(reports: Sequence[Report]) -> Report:
    """Return the report about the source itself; without one, the worst of the others stands for it.

    Of several worst ones the first by name, so that their order says nothing.
    """
    for report in reports:
        if not report.path and report.model is None:
            return report
    status = worst(report.status for report in reports)
    deciding = (report for report in reports if report.status is status)
    decided = min(deciding, key=lambda report: (report.path, report.model or ""), default=None)
    if decided is None:
        return Report.unknown("bad_report", "The probe returned no report.")
    return Report(status=status, reason=decided.reason, message=decided.message)


def model_reports(reports: Sequence[Report], models: Iterable[str]) -> dict[str, Report]:
    """Return a report for each of `models`; one that no report names follows the source's own."""
    named = {report.model: report for report in reports if report.model is not None}
    own = own_report(reports)
    following = Report(status=own.status, reason=own.reason, message=own.message)
    return {model: named.get(model, following) for model in models}


def expired(reading: Reading, message: str) -> Reading:
    """Return what remains of a reading past its lifetime: every status unknown/stale, no payloads, no labels."""
    stale = tuple(
        attrs.evolve(report, status=Status.UNKNOWN, reason="stale", message=message, label="", payload=None)
        for report in reading.reports
    )
    return attrs.evolve(reading, reports=stale)
