"""Thresholds: how many probes in a row must agree before a source, a part or a model counts as well, or as not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import attrs

from statusd.model.basis import Tally
from statusd.model.merge import Reading, model_reports, own_report
from statusd.model.report import Report
from statusd.model.status import Status

K = TypeVar("K")


@attrs.frozen
class Thresholds:
    """How steady a source must be.

    Attributes:
        rise: good probes (`ok`, `degraded`) in a row after which what was bad counts as good.
        fall: bad ones (`unknown`, `down`) in a row after which what was good counts as bad.
    """

    rise: int = 1
    fall: int = 1


@attrs.frozen
class Judged:
    """A report that stands, beside the newest one.

    Attributes:
        report: what counts: the newest report, or an earlier one while `tally` is not full.
        newest: what the newest probe said.
        tally: what the newest probes have against `report`, or None.
        observed_at: when `newest` was said, in seconds since 1970, or None.
    """

    report: Report
    newest: Report
    tally: Tally | None = None
    observed_at: float | None = None


def judge(before: Judged | None, newest: Report, thresholds: Thresholds, at: float | None = None) -> Judged:
    """Return what counts after one more probe.

    Only the border between good and bad has thresholds. The first probe decides at once, and so does `off`: there is
    nothing to hold on to.

    Args:
        before: what counted before, or None.
        newest: what the probe said.
        thresholds: the source's.
        at: when it said so, in seconds since 1970, or None.
    """
    if before is None or not _crosses(before.report.status, newest.status):
        return Judged(newest, newest, observed_at=at)
    needed = thresholds.rise if newest.status.is_connected else thresholds.fall
    tally = before.tally
    seen = 1 + (tally.seen if tally is not None else 0)
    if seen >= needed:
        return Judged(newest, newest, observed_at=at)
    tally = Tally(status=newest.status, reason=newest.reason, seen=seen, needed=needed)
    return Judged(before.report, newest, tally, at)


def _crosses(old: Status, new: Status) -> bool:
    return Status.OFF not in {old, new} and old.is_connected is not new.is_connected


@attrs.frozen(kw_only=True)
class Judgement:
    """All that a source's probes came to.

    Attributes:
        own: about the source itself.
        parts: path -> about that part.
        models: id -> about that model.
    """

    own: Judged
    parts: Mapping[str, Judged]
    models: Mapping[str, Judged]


def judge_reading(
    before: Judgement | None, reading: Reading, models: Iterable[str], thresholds: Thresholds
) -> Judgement:
    """Return what a source's probes come to with one more `reading`.

    Args:
        before: what they came to before it; None when this is the first one.
        reading: the newest.
        models: the ids of the source's models.
        thresholds: the source's.
    """
    at = reading.observed_at
    own = judge(before.own if before is not None else None, own_report(reading.reports), thresholds, at)
    reported = {report.path: report for report in reading.reports if report.path}
    known = before.parts if before is not None else {}
    parts = _judge_each(known, reported, thresholds, at)
    if own.tally is not None and not own.newest.status.is_connected:
        # A probe that failed says nothing about parts: while it does not count yet, they have not gone either.
        parts = {**known, **parts}
    claims = model_reports(reading.reports, models)
    return Judgement(
        own=own,
        parts=parts,
        models=_judge_each(before.models if before is not None else {}, claims, thresholds, at),
    )


def with_models(judgement: Judgement, reading: Reading, models: Iterable[str]) -> Judgement:
    """Return `judgement` about `models` and no others; one that is new to it is as the newest `reading` says."""
    claims = model_reports(reading.reports, models)
    new = {model: Judged(report, report, observed_at=reading.observed_at) for model, report in claims.items()}
    return attrs.evolve(
        judgement, models={model: judgement.models.get(model, judged) for model, judged in new.items()}
    )


def _judge_each(
    before: Mapping[K, Judged], newest: Mapping[K, Report], thresholds: Thresholds, at: float | None
) -> dict[K, Judged]:
    return {key: judge(before.get(key), report, thresholds, at) for key, report in newest.items()}
