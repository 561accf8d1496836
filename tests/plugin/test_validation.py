import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd import Payload, Report, Status, parse_json
from statusd.errors import ReportError
from statusd.plugin import validation
from statusd.plugin.validation import checked_reports
from tests.model.strategies import json_values, paths, reports

nonsense = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.sets(st.integers(), max_size=2)
    | st.just(object()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
)


@given(st.lists(reports(paths), max_size=4, unique_by=lambda report: report.path))
def test_reports_within_the_contract_come_back_equal(given_reports):
    assert checked_reports(given_reports) == tuple(given_reports)


@given(nonsense)
def test_nonsense_is_a_report_error_and_nothing_else(value):
    if value in ([], ()):
        assert checked_reports(value) == ()
        return
    with pytest.raises(ReportError):
        checked_reports(value)


@given(st.dictionaries(st.text(), nonsense, max_size=3))
def test_facts_are_json_values_or_a_report_error(facts):
    try:
        (report,) = checked_reports(Report.ok(facts=facts))
    except ReportError:
        return
    assert checked_reports(report) == (report,)
    assert parse_json(msgspec.json.encode(report.facts)) == report.facts


@given(st.dictionaries(st.text(alphabet="abc", max_size=3), json_values, max_size=3))
def test_facts_are_copied_so_that_a_plugin_cannot_change_them_later(facts):
    before = repr(facts)
    (report,) = checked_reports(Report.ok(facts=facts))
    facts.clear()
    assert repr(dict(report.facts)) == before


def cycle():
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (None, "bad_report", "returned None"),
        ({"status": "ok"}, "bad_report", "type dict"),
        ([Report.ok(), "x"], "bad_report", "list of reports holds of type str"),
        ([Report.ok(), Report.ok()], "bad_report", "Two reports are about the source itself"),
        (Report(status="ok"), "bad_report", "not a statusd.Status"),
        (Report.ok("Not A Word"), "bad_report", "reason 'Not A Word' of the report about the source itself"),
        (Report.ok("X\n", path="a/b"), "bad_report", r"reason 'X\\n' of the report about a/b is not"),
        (Report.ok(label=b"x", model="m"), "bad_report", "label of type bytes of the report about m is not"),
        (Report.ok("x" * 65), "bad_report", "reason"),
        (Report.ok(message=b"x"), "bad_report", "message"),
        (Report.ok(path="/absolute"), "bad_report", "path"),
        (Report.ok(path="a/../b"), "bad_report", "path"),
        (Report.ok(path="."), "bad_report", "path"),
        (Report.ok(path="a b"), "bad_report", "path"),
        (Report.ok(path="/".join("abcdefghi")), "bad_report", "path"),
        (Report.ok(model="other"), "bad_report", r"the model 'other', which is none of context\.models"),
        (Report.ok(model="m", path="a"), "bad_report", "both a model and a part"),
        (Report.ok(path="a", payload=Payload(b"")), "bad_report", "payload"),
        (Report.ok(payload=b"raw"), "bad_report", "payload"),
        (Report.ok(payload=Payload("text")), "bad_report", "payload"),
        (Report.ok(payload=Payload(b"", "a\r\nSet-Cookie: b")), "bad_report", "content type"),
        (Report.ok(facts={"x": float("nan")}), "bad_report", "no form for"),
        (Report.ok(facts={"x": float("inf")}), "bad_report", "no form for"),
        (Report.ok(facts={1: 2}), "bad_report", "key"),
        (Report.ok(facts={"x": {1, 2}}), "bad_report", "type set"),
        (Report.ok(facts={"x": cycle()}), "bad_report", "cycle"),
        (Report.ok(facts=[1]), "bad_report", "not an object"),
        (Report.ok(measurements={"x": "fast"}), "bad_report", "not a number"),
        (Report.ok(measurements={"x": True}), "bad_report", "not a number"),
        (Report.ok(facts={"x": "y" * 100_000_000}), "report_too_large", "bytes"),
        (Report.ok(facts={"x": [0] * 10_000_000}), "report_too_large", "bytes"),
        (Report.ok(facts={"x": 1 << 10_000_000}), "report_too_large", "bytes"),
        ([Report.ok(path=f"p{number}") for number in range(2001)], "report_too_large", "2001"),
    ],
)
def test_each_fault_is_named(value, reason, words):
    with pytest.raises(ReportError, match=words) as caught:
        checked_reports(value, models=["m"])
    assert caught.value.reason == reason


def test_an_endless_mapping_ends_at_the_budget():
    class Endless(dict):
        def items(self):
            while True:
                yield "x", 1

    with pytest.raises(ReportError) as caught:
        checked_reports(Report.ok(facts=Endless()))
    assert caught.value.reason == "report_too_large"


def test_a_long_message_is_cut_and_lone_surrogates_are_replaced():
    (report,) = checked_reports(Report.ok(message="\ud800" + "x" * 5000, facts={"k\udfff": "\ud800"}))
    assert report.message.startswith("\ufffdx")
    assert len(report.message) == validation.MAX_MESSAGE
    assert report.facts == {"k\ufffd": "\ufffd"}


def test_long_messages_are_looked_at_up_to_a_limit_for_all_of_them():
    # Of 2,000 reports as a plugin may make them of one text; each look at it takes milliseconds of everybody's time.
    seen = []

    def redact(text: str) -> str:
        seen.append(len(text))
        return text

    text = "x" * (1 << 20)
    with pytest.raises(ReportError) as caught:
        checked_reports([Report.ok(message=text, path=f"p{number}") for number in range(2000)], redact=redact)
    assert caught.value.reason == "report_too_large"
    assert sum(seen) <= validation.MAX_TEXT

    short = "x" * validation.MAX_MESSAGE
    assert (
        len(checked_reports([Report.ok(message=short, path=f"p{number}") for number in range(2000)])) == 2000
    )


def test_a_payload_over_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(validation, "MAX_PAYLOAD", 3)
    checked_reports(Report.ok(payload=Payload(b"abc")))
    with pytest.raises(ReportError) as caught:
        checked_reports(Report.ok(payload=Payload(b"abcd")))
    assert caught.value.reason == "report_too_large"


class FightingStr(str):
    """Text whose methods lie, or raise where they would be called later."""

    __slots__ = ()

    def __eq__(self, _other):
        raise RuntimeError

    __ne__ = __str__ = __format__ = __iter__ = __eq__

    def __hash__(self):
        return 1

    def __len__(self):
        return 1

    def split(self, *_):
        return ["a"]


class FightingInt(int):
    def __eq__(self, _other):
        raise RuntimeError

    __int__ = bit_length = __eq__

    def __hash__(self):
        return 1


class FightingFloat(float):
    def __float__(self):
        return float("nan")


class CutBytes(bytes):
    def __len__(self):
        return 1


class EndlessList(list):
    def __len__(self):
        return 1

    def __iter__(self):
        while True:
            yield Report.ok()


def plain_types(value):
    """Yield the type of everything in a report."""
    yield type(value)
    if isinstance(value, dict):
        for item in (*value, *value.values()):
            yield from plain_types(item)
    elif isinstance(value, list):
        for item in value:
            yield from plain_types(item)
    elif attrs.has(type(value)):
        for item in attrs.astuple(value, recurse=False):
            yield from plain_types(item)


def test_nothing_of_a_subclass_reaches_the_tree():
    @attrs.frozen(kw_only=True)
    class FightingReport(Report):
        def __eq__(self, _other):
            raise RuntimeError

        __hash__ = None

    word = FightingStr("word")
    reports = EndlessList(
        [
            FightingReport(
                status=Status.OK,
                reason=word,
                message=word,
                facts={word: word, "numbers": [FightingInt(5), FightingFloat(2.0)]},
                measurements={word: FightingInt(5)},
                payload=Payload(CutBytes(b"whole"), FightingStr("text/plain")),
            ),
            Report.ok(path=FightingStr("part")),
            Report.ok(model=FightingStr("m"), label=word),
        ]
    )
    checked = checked_reports(reports, models=["m"])
    allowed = {Report, Payload, Status, str, int, float, bytes, dict, list, type(None)}
    assert set(plain_types(list(checked))) <= allowed
    assert checked == (
        Report.ok(
            "word",
            "word",
            facts={"word": "word", "numbers": [5, 2.0]},
            measurements={"word": 5},
            payload=Payload(b"whole", "text/plain"),
        ),
        Report.ok(path="part"),
        Report.ok(model="m", label="word"),
    )


def test_limits_hold_for_subclasses_that_lie_about_their_length(monkeypatch):
    for lie in (Report.ok(FightingStr("x" * 65)), Report.ok(path=FightingStr("../../models/m"))):
        with pytest.raises(ReportError):
            checked_reports(lie)
    with pytest.raises(ReportError, match="2001"):
        checked_reports(EndlessList([Report.ok()] * 2001))
    monkeypatch.setattr(validation, "MAX_PAYLOAD", 3)
    with pytest.raises(ReportError):
        checked_reports(Report.ok(payload=Payload(CutBytes(b"abcd"))))


@pytest.mark.parametrize("sign", [1, -1])
def test_an_integer_is_taken_as_long_as_it_can_be_written(sign):
    longest = sign * (10**4300 - 1)
    (report,) = checked_reports(Report.ok(facts={"x": longest}))
    assert msgspec.json.encode(report.facts) == b'{"x":%s}' % str(longest).encode()
    with pytest.raises(ReportError, match="4300 digits"):
        checked_reports(Report.ok(facts={"x": longest + sign}))


def test_a_subclass_that_fights_back_is_only_an_error():
    @attrs.frozen(kw_only=True)
    class Odd(Report):
        @property
        def nothing(self):
            raise RuntimeError

    assert checked_reports(Odd(status=Status.OK))[0].status is Status.OK
