"""What an answer's header says about its freshness."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.client import Quality
from statusd.client.quality import read_quality


@pytest.mark.parametrize(
    ("value", "ttl", "detail"),
    [
        ("statusd; hit; ttl=7", 7, ""),
        ("statusd; hit; ttl=-3; detail=stale", -3, "stale"),
        ('statusd;hit;detail="not, observed; yet"', None, "not, observed; yet"),
        (r'statusd; detail="a \"b\" \\"', None, r'a "b" \\'.replace(r"\\", "\\")),
        ("nginx; fwd=miss, statusd; ttl=1; detail=x", 1, "x"),
        ('"statusd"; ttl=2, edge; hit; ttl=99', 2, ""),
        ("other; ttl=9; detail=stale", None, ""),
        ("", None, ""),
        (";", None, ""),
        (";;, statusd; ttl=1", 1, ""),
        ("statusd; ttl=1.5", None, ""),
        ("statusd; ttl=" + "9" * 400, None, ""),
    ],
)
def test_cache_status(value, ttl, detail):
    quality = read_quality({"cache-status": value})
    assert (quality.ttl, quality.detail) == (ttl, detail)


@pytest.mark.parametrize(("value", "age"), [("0", 0.0), ("12", 12.0), ("-1", None), ("x", None), ("٣", None)])
def test_age(value, age):
    assert read_quality({"age": value}).age == age


def test_date():
    assert read_quality({"date": "Sat, 21 Nov 2026 10:00:00 GMT"}).date == 1795255200.0
    assert read_quality({"date": "yesterday"}).date is None


def test_a_field_made_to_take_long_takes_none():
    # In quadratic time, hours: the test would not end.
    assert read_quality({"cache-status": '"' + '\\"' * 1_000_000}).detail == ""


@given(st.dictionaries(st.sampled_from(["age", "cache-status", "date"]), st.text()))
def test_nothing_in_a_header_raises(headers):
    assert isinstance(read_quality(headers), Quality)
