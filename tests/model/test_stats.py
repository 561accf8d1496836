import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Node, Snapshot, Status, Transition
from statusd.model.snapshot import Change
from statusd.model.stats import BUCKETS, Durations, Stats, is_configured

SNAPSHOT = Snapshot(root=Node(status=Status.OK), revision=1, version=1, at=0.0)


def change(*moves):
    """Return a change with a transition for each (path, status after)."""
    return Change(
        snapshot=SNAPSHOT,
        transitions=tuple(
            Transition(path=path, before=Status.OK, after=after, reason="", message="", at=0.0, revision=1)
            for path, after in moves
        ),
    )


@given(st.lists(st.floats(0, 100)))
def test_durations_count_each_probe_in_every_bucket_that_holds_it(took):
    durations = Durations()
    for seconds in took:
        durations.note(seconds)
    expected = [sum(seconds <= bound for seconds in took) for bound in BUCKETS]
    assert list(durations.cumulative()) == [*expected, len(took)]
    assert durations.seconds == pytest.approx(sum(took))


@pytest.mark.parametrize(("seconds", "place"), [(0.0, 0), (0.001, 0), (2.0, 10), (2.0001, 11), (31.0, 14)])
def test_a_duration_on_a_bound_is_within_it(seconds, place):
    durations = Durations()
    durations.note(seconds)
    assert durations.cumulative().index(1) == place


def test_every_outcome_of_a_probed_source_counts_from_nought():
    stats = Stats()
    assert stats.outcomes == {}
    stats.note("queue", Status.DOWN, 0.1)
    stats.note("queue", Status.DOWN, 0.1)
    stats.note("queue", Status.OK, 0.1)
    assert stats.outcomes == {
        ("queue", "ok"): 1,
        ("queue", "degraded"): 0,
        ("queue", "unknown"): 0,
        ("queue", "down"): 2,
        ("queue", "off"): 0,
    }
    assert stats.durations["queue"].cumulative()[-1] == 3


def test_transitions_are_counted_by_path_and_status():
    stats = Stats()
    stats.take(change(("sources/queue", Status.DOWN), ("sources", Status.DOWN), ("", Status.DOWN)))
    stats.take(change(("sources/queue", Status.OK), ("models/a%2Fb", None)))
    stats.take(change(("sources/queue", Status.DOWN)))
    assert stats.transitions == {
        ("sources/queue", "down"): 2,
        ("sources/queue", "ok"): 1,
        ("sources", "down"): 1,
        ("", "down"): 1,
        ("models/a%2Fb", "gone"): 1,
    }


def test_parts_are_not_counted_for_an_upstream_decides_how_many_there_are():
    stats = Stats()
    stats.take(change(*((f"sources/tk/readers/{number}", Status.DOWN) for number in range(2000))))
    stats.take(change(("sources/tk/readers", Status.DOWN)))
    assert stats.transitions == {}


@pytest.mark.parametrize(
    ("path", "is_so"),
    [("", True), ("sources", True), ("daemon/loop", True), ("sources/a/b", False), ("sources/a/b/c", False)],
)
def test_nodes_down_to_the_second_level_are_configured(path, is_so):
    assert is_configured(path) is is_so
