"""Thresholds, held against a small model of them that keeps whole histories."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Payload, Report, Status
from statusd.model.assembly import Origin, State
from statusd.model.basis import Tally
from statusd.model.judging import Judged, Thresholds, judge, judge_reading
from statusd.model.merge import Reading
from statusd.model.nodes import standing_report
from tests.model.samples import node_of
from tests.model.strategies import reports, statuses

thresholds = st.builds(Thresholds, st.integers(1, 4), st.integers(1, 4))
BAD = {Status.UNKNOWN, Status.DOWN}


def side(status):
    return "off" if status is Status.OFF else "bad" if status in BAD else "good"


def expected(history, given_thresholds):
    """Which report of a history counts, and how far the newest ones are from replacing it: (report, seen, needed)."""
    counts, run, before = None, 0, None
    for report in history:
        now = side(report.status)
        run = run + 1 if now == before else 1
        before = now
        needed = given_thresholds.fall if now == "bad" else given_thresholds.rise
        is_free = counts is None or "off" in {now, side(counts.status)} or now == side(counts.status)
        if is_free or run >= needed:
            counts = report
    return (counts, run, needed) if side(counts.status) != before else (counts, 0, 0)


def judged(history, given_thresholds):
    verdict = None
    for report in history:
        verdict = judge(verdict, report, given_thresholds)
    return verdict


def numbered(given_statuses):
    return [Report(status=status, reason=f"r{number}") for number, status in enumerate(given_statuses)]


histories = st.lists(statuses, min_size=1, max_size=25).map(numbered)


@given(histories, thresholds)
def test_what_counts_after_any_history_is_what_the_model_says(history, given_thresholds):
    verdict = judged(history, given_thresholds)
    counts, seen, needed = expected(history, given_thresholds)
    newest = history[-1]
    tally = Tally(status=newest.status, reason=newest.reason, seen=seen, needed=needed) if seen else None
    assert verdict == Judged(counts, newest, tally)


@given(histories, thresholds)
def test_a_tally_is_never_full_and_always_against_what_counts(history, given_thresholds):
    verdict = judged(history, given_thresholds)
    if verdict.tally is not None:
        assert 0 < verdict.tally.seen < verdict.tally.needed
        assert verdict.report.status.is_connected is not verdict.tally.status.is_connected


@given(histories)
def test_without_thresholds_the_newest_always_counts(history):
    assert judged(history, Thresholds()) == Judged(history[-1], history[-1])


def test_three_bad_probes_in_a_row_are_needed_and_one_good_one_begins_anew():
    given_thresholds = Thresholds(rise=2, fall=3)
    words = ["ok", "down", "unknown", "degraded", "down", "down", "unknown", "ok", "down", "ok", "ok"]
    history = numbered(Status(word) for word in words)
    shown = []
    for number in range(len(history)):
        verdict = judged(history[: number + 1], given_thresholds)
        tally = verdict.tally
        shown.append(f"{verdict.report.status}" + (f" {tally.seen}/{tally.needed}" if tally else ""))
    assert shown == [
        "ok", "ok 1/3", "ok 2/3", "degraded", "degraded 1/3", "degraded 2/3",
        "unknown", "unknown 1/2", "down", "down 1/2", "ok",
    ]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [("ok", "degraded"), ("unknown", "down")])
def test_on_one_side_of_the_border_statuses_change_at_once(one, other):
    steady = Thresholds(9, 9)
    assert judged(numbered([Status(one), Status(other)]), steady).report.status is Status(other)
    assert judged(numbered([Status(other), Status(one)]), steady).report.status is Status(one)


@given(statuses, statuses)
def test_off_comes_at_once_goes_at_once_and_forgets_what_was_before(before, after):
    steady = Thresholds(9, 9)
    history = numbered([before, Status.OFF, after])
    assert judged(history[:2], steady) == Judged(history[1], history[1])
    assert judged(history, steady) == Judged(history[2], history[2])


def test_the_message_says_how_far_it_is():
    history = [Report.ok(message="All is well."), *[Report.down("refused", "Nothing listens there.")] * 2]
    report = standing_report(judged(history, Thresholds(fall=3)), "")
    assert (report.status, report.reason) == (Status.OK, "ok")
    assert report.message == "2 of 3 probes say down (refused): Nothing listens there."


def test_the_message_says_no_more_than_the_probe():
    history = [Report.down("refused", "Nothing listens there."), Report.ok()]
    report = standing_report(judged(history, Thresholds(rise=2)), "")
    assert (report.status, report.reason) == (Status.DOWN, "refused")
    assert report.message == "1 of 2 probes say ok."


@given(reports())
def test_what_is_decided_says_what_the_probe_said(report):
    assert standing_report(judged([report], Thresholds(3, 3)), "") is report


# whole readings


PARTS = ("a", "b/c")
MODELS = ("m", "n")
readings = st.builds(
    lambda own, parts, models: [
        own,
        *(attrs.evolve(report, path=path) for path, report in parts.items()),
        *(attrs.evolve(report, model=model) for model, report in models.items()),
    ],
    reports(),
    st.dictionaries(st.sampled_from(PARTS), reports()),
    st.dictionaries(st.sampled_from(MODELS), reports()),
)


def histories_of(sequence, given_thresholds):
    """Own, parts' and models' histories, as the contract says which probe belongs to which."""
    own, parts, models = [], {}, {model: [] for model in MODELS}
    for probe in sequence:
        own.append(probe[0])
        _, undecided, _ = expected(own, given_thresholds)
        reported = {report.path: report for report in probe if report.path}
        is_kept = bool(undecided) and side(probe[0].status) == "bad"
        parts = {path: history for path, history in parts.items() if path in reported or is_kept}
        for path, report in reported.items():
            parts[path] = [*parts.get(path, []), report]
        named = {report.model: report for report in probe if report.model}
        following = Report(status=probe[0].status, reason=probe[0].reason, message=probe[0].message)
        for model, history in models.items():
            history.append(named.get(model, following))
    return own, parts, models


@given(st.lists(readings, min_size=1, max_size=8), thresholds)
def test_a_source_its_parts_and_its_models_each_follow_their_own_history(sequence, given_thresholds):
    verdict = None
    for probe in sequence:
        verdict = judge_reading(verdict, Reading(reports=tuple(probe)), MODELS, given_thresholds)
    own, parts, models = histories_of(sequence, given_thresholds)
    assert verdict.own == judged(own, given_thresholds)
    assert verdict.parts == {path: judged(history, given_thresholds) for path, history in parts.items()}
    assert verdict.models == {model: judged(history, given_thresholds) for model, history in models.items()}


def origin(rise=1, fall=1, models=()):
    return Origin(name="s", plugin="p", backend="b", models=models, thresholds=Thresholds(rise, fall))


def after(state, *given_reports, at=1.0):
    return state.after(Reading(reports=given_reports, observed_at=at, expires_at=at + 8))


def begun(given_origin):
    return State.first(given_origin, [Report.unknown("pending")])


def shown(state):
    return node_of(state.reading, judgement=state.judgement)


def test_the_first_probe_decides_at_once():
    good = after(begun(origin(rise=4)), Report.ok())
    bad = after(begun(origin(fall=4)), Report.down("refused"))
    assert (good.status, bad.status) == (Status.OK, Status.DOWN)
    assert good.judgement.own.tally is bad.judgement.own.tally is None


def test_parts_stay_while_a_failed_probe_does_not_count_yet_and_go_when_it_does():
    state = after(begun(origin(fall=3)), Report.ok(), Report.ok(path="readers/r1", facts={"pids": 2}))
    for tries in (1, 2):
        state = after(state, Report.down("timeout"))
        node = shown(state)
        assert node.status is Status.OK
        assert node.basis.tally.seen == tries
        reader = node.children["readers"].children["r1"]
        assert (reader.status, reader.facts) == (Status.OK, {"pids": 2})
    node = shown(after(state, Report.down("timeout")))
    assert (node.status, node.reason) == (Status.DOWN, "timeout")
    assert not node.children


def test_a_part_that_a_good_probe_no_longer_mentions_goes_at_once():
    state = after(begun(origin(rise=3, fall=3)), Report.down("dead"), Report.ok(path="r1"))
    state = after(state, Report.ok())
    assert (state.status, state.judgement.own.tally.seen) == (Status.DOWN, 1)
    assert not shown(state).children


def test_payload_and_measurements_follow_the_newest_probe_and_facts_what_counts():
    first = Report.ok(facts={"size": 1}, measurements={"latency": 1.0}, payload=Payload(b"1"))
    state = after(begun(origin(fall=2)), first)
    state = after(state, Report.down("refused", facts={"size": 9}, measurements={"latency": 2.0}))
    node = shown(state)
    assert (node.status, node.facts, node.payload) == (Status.OK, {"size": 1}, None)
    assert node.measurements == {"latency": 2.0}
    assert node.basis.newest.facts == {"size": 9}
    body = Report.ok(payload=Payload(b"3"))
    risen = after(after(begun(origin(rise=2)), Report.down("refused")), body)
    assert (shown(risen).status, shown(risen).payload) == (Status.DOWN, Payload(b"3"))


def test_a_stale_reading_is_unknown_at_once_whatever_fall_says():
    state = after(begun(origin(fall=4, models=("m",))), Report.ok(), Report.ok(path="r1"))
    state = after(state, Report.down("refused"), Report.ok(path="r1")).expired()
    node = shown(state)
    assert (node.status, node.reason, node.basis.tally) == (Status.UNKNOWN, "stale", None)
    assert (node.children["r1"].status, node.children["r1"].reason) == (Status.UNKNOWN, "stale")
    assert state.judgement.models["m"].report.reason == "stale"


def test_what_was_stale_rises_like_anything_that_was_bad():
    stale = after(begun(origin(rise=2)), Report.ok()).expired()
    once = after(stale, Report.ok())
    assert (once.status, once.judgement.own.tally.seen) == (Status.UNKNOWN, 1)
    assert after(once, Report.ok()).status is Status.OK


def test_a_first_probe_that_came_too_late_still_decides_at_once():
    assert after(begun(origin(rise=4)).expired(), Report.ok()).status is Status.OK


def test_a_part_that_a_failed_probe_leaves_standing_is_as_old_as_it_is():
    part = Report.ok(path="r1")
    before = judge_reading(
        None, Reading(reports=(Report.ok(), part), observed_at=10.0), (), Thresholds(fall=2)
    )
    failed = Reading(reports=(Report.down("timeout"),), observed_at=12.0)
    after = judge_reading(before, failed, (), Thresholds(fall=2))
    assert after.own.observed_at == 12.0
    assert after.parts["r1"].observed_at == 10.0
