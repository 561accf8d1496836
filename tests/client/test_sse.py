"""The parser of Server-Sent Events against the words of the WHATWG specification."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from statusd.client import ClientError
from statusd.client.sse import Event, EventParser


def parse(data, *cuts, **options):
    """Return the events of `data`, fed in pieces that end at `cuts`."""
    parser = EventParser(**options)
    edges = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    return [event for piece in pieces for event in parser.feed(piece)], parser


def by_the_book(data):
    """The specification's algorithm, a character at a time over the whole decoded stream."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    events, last_id, kind, lines, buffered_id, retry = [], "", "", [], "", None
    for line in text.split("\n")[:-1]:
        if not line:
            last_id = buffered_id
            if lines:
                events.append(Event(type=kind or "message", data="\n".join(lines), id=last_id))
            kind, lines = "", []
            continue
        if line.startswith(":"):
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            lines.append(value)
        elif name == "id" and "\0" not in value:
            buffered_id = value
        elif name == "retry" and value and all(char in "0123456789" for char in value):
            retry = int(value[:15])
    return events, last_id, retry


PIECES = st.lists(
    st.sampled_from(
        [
            b"data", b"event", b"id", b"retry", b":", b": ", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"x", b"12",
            b"\0", b"\xef\xbb\xbf", b"\xc3", b"\xa9", b"\xe2\x82", b"\xff", b"data: x\n\n", b"id: 7\n", b"\xd9\xa3",
        ]
    ),
    max_size=40,
).map(b"".join)  # fmt: skip
STREAMS = st.one_of(PIECES, st.binary(max_size=60))


@given(STREAMS, st.data())
@example(b"\xef\xbb\xbfdata: x\r\n\r\n", None)
def test_any_split_of_the_bytes_gives_the_events_of_the_specification(stream, data):
    expected, last_id, retry = by_the_book(stream)
    cuts = range(len(stream)) if data is None else data.draw(st.lists(st.integers(0, len(stream))))
    for edges in (cuts, range(len(stream))):
        events, parser = parse(stream, *edges)
        assert events == expected
        assert (parser.last_id, parser.retry) == (last_id, retry)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", ["YHOO\n+2\n10"]),
        (b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
         ["first event", "second event", " third event"]),
        (b"data\n\ndata\ndata\n\ndata:", ["", "\n"]),
        (b"data:test\n\ndata: test\n\n", ["test", "test"]),
    ],
)  # fmt: skip
def test_the_examples_of_the_specification(stream, expected):
    assert [event.data for event in parse(stream)[0]] == expected


def test_an_event_is_there_as_soon_as_its_last_carriage_return():
    parser = EventParser()
    assert [event.data for event in parser.feed(b"data: x\r\r")] == ["x"]
    assert list(parser.feed(b"\ndata: y")) == []
    assert [event.data for event in parser.feed(b"\n\n")] == ["y"]


def test_an_event_that_no_empty_line_ends_is_none_and_its_id_does_not_count():
    events, parser = parse(b"id: 1\ndata: x\n\nid: 2\ndata: y\n")
    assert len(events) == 1
    assert parser.last_id == "1"


def test_an_id_with_a_nul_is_ignored_and_an_empty_one_resets():
    assert [event.id for event in parse(b"id: 4\0\ndata: x\n\n", last_id="3")[0]] == ["3"]
    assert [event.id for event in parse(b"id\ndata: x\n\n", last_id="3")[0]] == [""]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"retry: 2000", 2000), (b"retry:0", 0), (b"retry: -1", None), (b"retry: 1.5", None), (b"retry:", None),
        (b"retry: 2 ", None), (b"retry: " + "٣".encode(), None),
        (b"retry: " + b"9" * 10_000, 999_999_999_999_999),
    ],
)  # fmt: skip
def test_retry_takes_digits_only(line, expected):
    assert parse(line + b"\n")[1].retry == expected


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 200, b"x" * 200 + b"\n", b"data: 12345678901234567890\n" * 6]
)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_line_or_event_over_the_bound_is_refused_however_it_comes(stream, step):
    with pytest.raises(ClientError) as caught:
        parse(stream, *range(0, len(stream), step), max_event=100)
    assert caught.value.reason == "too_large"


def test_many_small_events_and_comments_are_no_large_one():
    events, _ = parse((b": beat\n" * 50 + b"data: x\n\n") * 20, max_event=100)
    assert len(events) == 20
