from hypothesis import given
from hypothesis import strategies as st

from statusd import Status
from statusd.model.status import best, worst
from tests.model.strategies import statuses


def test_the_order_is_ok_degraded_unknown_down():
    order = sorted([Status.DOWN, Status.OK, Status.UNKNOWN, Status.DEGRADED], key=lambda one: one.severity)
    assert order == [Status.OK, Status.DEGRADED, Status.UNKNOWN, Status.DOWN]


@given(st.lists(statuses))
def test_worst_and_best_do_not_depend_on_order(given_statuses):
    assert worst(given_statuses) is worst(reversed(given_statuses))
    assert best(given_statuses) is best(reversed(given_statuses))


@given(st.lists(statuses), statuses)
def test_worst_is_monotone_one_more_never_makes_it_better(given_statuses, extra):
    assert worst([*given_statuses, extra]).severity >= worst(given_statuses).severity


@given(st.lists(statuses))
def test_off_takes_no_part(given_statuses):
    assert worst([*given_statuses, Status.OFF]) is worst(given_statuses)
    assert best([*given_statuses, Status.OFF]) is best(given_statuses)


def test_nothing_but_off_is_off():
    assert worst([]) is Status.OFF
    assert best([Status.OFF]) is Status.OFF


def test_only_ok_and_degraded_can_serve():
    assert [status for status in Status if status.is_connected] == [Status.OK, Status.DEGRADED]
