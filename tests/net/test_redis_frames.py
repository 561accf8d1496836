"""RESP3 as it is read where a server speaks unasked, and its limits."""

from __future__ import annotations

import itertools

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.errors import ProbeError
from statusd.net.redis_frames import Frame, FrameReader
from statusd.net.resp import MAX_DEPTH, MAX_ELEMENTS, MAX_LINE

TEXTS = st.from_regex(r"[ -~]{0,20}", fullmatch=True).map(str.encode)
VALUES = st.recursive(
    st.one_of(st.none(), st.binary(max_size=40), TEXTS.map(lambda text: ("+", text))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(st.tuples(TEXTS, inner), max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda pairs: ("%", pairs)
        ),
    ),
    max_leaves=20,
)


def encode(value: object, kind: bytes = b"*") -> bytes:
    match value:
        case None:
            return b"_\r\n"
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(value), value)
        case ("+", text):
            return b"+" + text + b"\r\n"
        case ("%", pairs):
            return b"%%%d\r\n" % len(pairs) + b"".join(map(encode, itertools.chain(*pairs)))
        case list():
            return b"%b%d\r\n" % (kind, len(value)) + b"".join(map(encode, value))
    raise AssertionError(value)


def plain(value: object) -> object:
    """What the reader is to make of it."""
    match value:
        case ("+", text):
            return text
        case ("%", pairs):
            return [plain(part) for part in itertools.chain(*pairs)]
        case list():
            return [plain(item) for item in value]
    return value


def as_hiredis_has_it(value: object) -> object:
    match value:
        case ("+", text):
            return text
        case ("%", pairs):
            return {key: as_hiredis_has_it(item) for key, item in pairs}
        case list():
            return [as_hiredis_has_it(item) for item in value]
    return value


def depth(value: object) -> int:
    match value:
        case ("%", pairs):
            return 1 + max((depth(item) for _, item in pairs), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
    return 0


SHALLOW = VALUES.filter(lambda value: depth(value) <= MAX_DEPTH)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in itertools.pairwise(at)]


def fed(*parts: bytes) -> list[Frame]:
    reader = FrameReader("a server")
    return [frame for part in parts for frame in reader.feed(part)]


def refusal(*parts: bytes) -> str:
    with pytest.raises(ProbeError) as caught:
        fed(*parts)
    return caught.value.reason


@given(st.lists(SHALLOW, max_size=4), st.lists(st.integers(0, 10**6), max_size=8))
def test_however_frames_are_cut_they_come_whole_and_in_order(values, cuts):
    data = b"".join(map(encode, values))
    assert [frame.value for frame in fed(*pieces(data, cuts))] == [plain(value) for value in values]


@given(SHALLOW)
def test_a_frame_comes_with_its_last_byte_and_is_what_hiredis_reads(value):
    data = encode(value)
    assert fed(data[:-1]) == []
    (frame,) = fed(data)
    assert frame.value == plain(value)
    assert frame.kind == data[:1]
    reader = hiredis.Reader()
    reader.feed(data)
    assert reader.gets() == as_hiredis_has_it(value)


@given(st.binary(max_size=200), st.lists(st.integers(0, 10**6), max_size=8))
def test_any_bytes_are_taken_or_refused_and_how_they_are_cut_makes_no_difference(data, cuts):
    outcomes = []
    for parts in ([data], pieces(data, cuts)):
        try:
            outcomes.append(fed(*parts))
        except ProbeError as error:
            outcomes.append(error.reason)
    assert outcomes[0] == outcomes[1]


def test_what_was_asked_for_is_told_from_what_was_not_and_from_refusals():
    frames = fed(b">1\r\n+a\r\n", b"+OK\r\n", b"-ERR no\r\n", b"!5\r\nERR x\r\n", b"$-1\r\n", b"*-1\r\n")
    assert [frame.is_push for frame in frames] == [True, False, False, False, False, False]
    assert [frame.is_error for frame in frames] == [False, False, True, True, False, False]
    assert [frame.value for frame in frames] == [[b"a"], b"OK", b"ERR no", b"ERR x", None, None]


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 400 Bad Request\r\n"],
        [b"H"],
        [b"\x15\x03\x01"],
        [b"\r\n"],
        [b"*abc\r\n"],
        [b"*\r\n"],
        [b"$-2\r\n"],
        [b">\r\n"],
        [b"$\xd9\xa3\r\n"],  # an Arabic digit, which int() would take
        [b"*?\r\n"],
        [b"$?\r\n"],
        [b"|1\r\n+a\r\n+b\r\n"],
        [b"*1\r\n>1\r\n"],
        [b"$1\r\nabc"],
    ],
)
def test_what_is_not_redis_is_a_protocol_error(parts):
    assert refusal(*parts) == "protocol_error"


@pytest.mark.parametrize(
    "parts",
    [
        [b"$1048577\r\n"],
        [b"$9999999999\r\n"],
        [b">65537\r\n"],
        [b"%32769\r\n"],
        [b"*4000000000\r\n"],
        [b">2\r\n*40000\r\n" + b":1\r\n" * 40_000 + b"*40000\r\n"],
        [b"*1\r\n" * (MAX_DEPTH + 1)],
        [b"+" + b"a" * MAX_LINE],
        [b"+", *[b"a" * 1000] * 20],
        [b"*3\r\n", b"$600000\r\n" + b"x" * 600_000 + b"\r\n", b"$600000\r\n"],
        [b"*60000\r\n", *[b"+" + b"a" * 1000 + b"\r\n"] * 1100],
    ],
)
def test_what_is_over_a_limit_is_refused_before_it_is_all_there(parts):
    assert refusal(*parts) == "too_large"


def test_each_frame_has_a_limit_of_its_own():
    reader = FrameReader("a server", max_bytes=100)
    for _ in range(10):
        assert len(reader.feed(b"$60\r\n" + b"x" * 60 + b"\r\n")) == 1
    many = FrameReader("a server")
    for _ in range(3):
        assert len(many.feed(b"*%d\r\n" % MAX_ELEMENTS + b"_\r\n" * MAX_ELEMENTS)) == 1
