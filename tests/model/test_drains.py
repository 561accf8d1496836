import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Report
from statusd.model.drains import LATEST, REASON_SIZE, Drain

NOON = 1_795_348_800.0
"""2026-11-22 12:00 UTC."""


def drain(**changes):
    return Drain(**({"path": "sources/a", "reason": "new disks", "since": NOON} | changes))


@pytest.mark.parametrize(
    ("reason", "until", "message"),
    [
        ("new disks", None, "Drained by an operator: new disks."),
        ("new disks.", None, "Drained by an operator: new disks."),
        ("Why not?", None, "Drained by an operator: Why not?"),
        ("new disks", NOON + 7200, "Drained by an operator: new disks; until 2026-11-22 14:00 UTC."),
        ("new disks.", NOON + 7237.5, "Drained by an operator: new disks; until 2026-11-22 14:00 UTC."),
        ("new disks", NOON + 90.2, "Drained by an operator: new disks; until 2026-11-22 12:01:30 UTC."),
    ],
)
def test_a_drained_node_is_off_and_says_why_and_until_when(reason, until, message):
    report = drain(reason=reason, until=until).report()
    assert report == Report.off("drained", message, label="drained")


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "\x1b[31mred", "x" * (REASON_SIZE + 1), "\u202e"])
def test_a_reason_is_one_bounded_line_of_printable_text(reason):
    with pytest.raises(ValueError, match="printable"):
        drain(reason=reason)


@pytest.mark.parametrize("time", [-1.0, math.nan, math.inf, LATEST + 1])
def test_times_have_a_date(time):
    with pytest.raises(ValueError, match="until"):
        drain(until=time)
    with pytest.raises(ValueError, match="since"):
        drain(since=time)


@given(st.text(max_size=300), st.floats(0, LATEST), st.floats(0, LATEST) | st.none())
def test_whatever_is_a_drain_has_a_message_of_one_line(reason, since, until):
    try:
        message = drain(reason=reason, since=since, until=until).message()
    except ValueError:
        return
    assert message.isprintable()
    assert len(message) < REASON_SIZE + 80


def test_a_drain_is_over_once_its_end_has_come_and_one_without_never_is():
    assert not drain(until=NOON + 1).is_over(NOON)
    assert drain(until=NOON + 1).is_over(NOON + 1)
    assert not drain().is_over(LATEST)
