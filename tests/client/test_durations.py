import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.commands.durations import LONGEST, duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("3d", 259_200),
        ("1h30m", 5400),
        ("1d2h3m4s", 93_784),
        (" 5m ", 300),
    ],
)
def test_durations_are_as_people_write_them(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "5", "5x", "m", "30m1h", "1h1h", "-5m", "1.5h", "0s", "0h0m", "3651d", "9" * 30 + "s", "٣h", "5 m"],
)
def test_what_is_none_is_refused_with_what_is_expected(text):
    with pytest.raises(ValueError, match="write such as 90s"):
        duration(text)


@given(st.tuples(*[st.integers(0, 3000)] * 4))
def test_every_combination_adds_up(parts):
    text = "".join(f"{number}{unit}" for number, unit in zip(parts, "dhms", strict=True))
    seconds = sum(number * size for number, size in zip(parts, (86_400, 3_600, 60, 1), strict=True))
    if 0 < seconds <= LONGEST:
        assert duration(text) == seconds
