"""What the commands make of the answers of whatever listens at the socket."""

import pytest

from statusd.commands.drain import drains_text, undrained_text
from statusd.control.asking import ControlError
from statusd.control.results import as_list, as_outcome

DRAIN = {"path": "sources/a", "reason": "Why.", "since": 1.0, "until": None}
NODE = {"status": "ok", "reason": "ok"}
OUTCOME = {"drain": DRAIN, "replaced": None, "node": NODE, "models": [], "not_kept": ""}


@pytest.mark.parametrize(
    "result",
    [
        None,
        3,
        [],
        {},
        {**OUTCOME, "drain": None},
        {**OUTCOME, "drain": {**DRAIN, "until": 1e300}},
        {**OUTCOME, "drain": {**DRAIN, "since": -1e300}},
        {**OUTCOME, "models": [{"path": 1}]},
        {**OUTCOME, "not_kept": None},
    ],
)
def test_an_answer_of_another_form_is_told_in_words(result):
    for read in (as_outcome, as_list):
        with pytest.raises(ControlError, match="not as the protocol wants it") as caught:
            read(result)
        assert caught.value.error == "bad_answer"


def test_an_answer_that_says_more_is_taken_whole():
    assert as_outcome({**OUTCOME, "more": 1}) == {**OUTCOME, "more": 1}
    assert as_list({"drains": [{**DRAIN, "exists": True}]}) == [{**DRAIN, "exists": True}]


def test_no_answer_steers_a_terminal():
    evil = "\x1b[2J"
    text = undrained_text(
        {**OUTCOME, "node": {"status": evil, "reason": evil}, "drain": {**DRAIN, "path": evil}}
    )
    text += drains_text([{**DRAIN, "path": evil, "reason": evil, "exists": True}], 2.0)
    assert "\x1b" not in text
    assert text.count("\\x1b") == 4
