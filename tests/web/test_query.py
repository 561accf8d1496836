"""What may stand in query parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.web.query import QueryError, revision_in, seconds_in


@given(st.floats(min_value=0, allow_infinity=False), st.sampled_from([60.0, 1e308]))
def test_seconds_are_any_number_as_programs_write_it(seconds, most):
    assert seconds_in({"wait": [repr(seconds)]}, "wait", most=most) == min(seconds, most)


@pytest.mark.parametrize("text", ["1e999", "9" * 400, "60.", "1E+3"])
def test_more_seconds_than_the_most_are_the_most(text):
    assert seconds_in({"wait": [text]}, "wait", most=60.0) == 60.0


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "nan", "inf", "1e", ".5", "1 ", "1_0", "٣", "0x1", "9" * 401]
)
def test_what_is_no_number_of_seconds_is_refused(text):
    with pytest.raises(QueryError, match="wait is not a number of seconds"):
        seconds_in({"wait": [text]}, "wait", most=60.0)


@given(st.integers(min_value=0, max_value=10**20 - 1))
def test_a_revision_is_a_number_of_up_to_twenty_digits(revision):
    assert revision_in({"since": ["x", str(revision)]}, "since") == revision


@pytest.mark.parametrize("text", ["", "x", "-1", "1.0", "1e3", "٣", str(10**20)])
def test_what_is_no_revision_is_refused(text):
    with pytest.raises(QueryError, match="since is not a revision"):
        revision_in({"since": [text]}, "since")


def test_what_is_absent_is_nothing():
    assert (revision_in({}, "since"), seconds_in({}, "wait", most=60.0)) == (None, 0.0)
