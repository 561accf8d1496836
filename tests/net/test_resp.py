"""The limits of Redis replies, before any of them is parsed."""

from __future__ import annotations

import itertools

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statusd.errors import ProbeError
from statusd.net.resp import MAX_DEPTH, MAX_ELEMENTS, MAX_LINE, ReplyGuard

REPLIES = st.recursive(
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=40), st.none(), st.just("OK")),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=20,
)


def encode(reply: object) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case str():
            return b"+" + reply.encode() + b"\r\n"
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(map(encode, reply))
    raise AssertionError(reply)


def depth(reply: object) -> int:
    return 1 + max(map(depth, reply), default=0) if isinstance(reply, list) else 0


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in itertools.pairwise(at)]


def fed(*parts: bytes, commands: int = 1) -> ReplyGuard:
    guard = ReplyGuard("a server")
    for _ in range(commands):
        guard.expect()
    for part in parts:
        guard.feed(part)
    return guard


def refusal(*parts: bytes, commands: int = 1) -> str:
    with pytest.raises(ProbeError) as caught:
        fed(*parts, commands=commands)
    return caught.value.reason


@given(REPLIES.filter(lambda reply: depth(reply) <= MAX_DEPTH), st.lists(st.integers(0, 10**6), max_size=8))
def test_however_a_reply_is_cut_it_is_complete_exactly_at_its_last_byte(reply, cuts):
    data = encode(reply)
    assert not fed(*pieces(data[:-1], cuts)).is_idle
    assert fed(*pieces(data, cuts)).is_idle


@given(REPLIES.filter(lambda reply: depth(reply) <= MAX_DEPTH))
def test_hiredis_sees_the_end_of_a_reply_where_the_guard_sees_it(reply):
    data = encode(reply)
    unfinished = object()
    reader = hiredis.Reader(notEnoughData=unfinished)
    reader.feed(data[:-1])
    assert reader.gets() is unfinished
    reader.feed(data[-1:])
    assert reader.gets() == (reply.encode() if isinstance(reply, str) else _as_bytes(reply))
    assert not reader.has_data()


def _as_bytes(reply):
    if isinstance(reply, list):
        return [_as_bytes(item) for item in reply]
    return reply.encode() if isinstance(reply, str) else reply


@given(st.binary(max_size=200), st.lists(st.integers(0, 10**6), max_size=8))
def test_any_bytes_are_taken_or_refused_and_how_they_are_cut_makes_no_difference(data, cuts):
    outcomes = []
    for parts in ([data], pieces(data, cuts)):
        try:
            outcomes.append(fed(*parts).is_idle)
        except ProbeError as error:
            outcomes.append(error.reason)
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 400 Bad Request\r\n"],
        [b"H"],
        [b"SSH-2.0-OpenSSH_9.2\r\n"],
        [b"\x15\x03\x01\x00\x02\x02\x46"],
        [b"\r\n"],
        [b"*abc\r\n"],
        [b"*\r\n"],
        [b"$-2\r\n"],
        [b"$1e3\r\n"],
        [b"$\xd9\xa3\r\n"],  # an Arabic digit, which int() would take
        [b"%1\r\n+a\r\n+b\r\n"],  # RESP3, which was not asked for
        [b"*?\r\n"],
        [b"+OK\r\n+OK\r\n"],
        [b"+OK\r\n", b"+"],
    ],
)
def test_what_is_not_a_reply_to_the_command_is_a_protocol_error(parts):
    assert refusal(*parts) == "protocol_error"


def test_bytes_before_any_command_are_a_protocol_error():
    assert refusal(b"+", commands=0) == "protocol_error"


@pytest.mark.parametrize(
    "parts",
    [
        [b"$1048577\r\n"],
        [b"$9999999999\r\n"],
        [b"*65537\r\n"],
        [b"*4000000000\r\n"],
        [b"*2\r\n*40000\r\n" + b":1\r\n" * 40_000 + b"*40000\r\n"],
        [b"*1\r\n" * (MAX_DEPTH + 1)],
        [b"+" + b"a" * MAX_LINE],
        [b"+", *[b"a" * 1000] * 20],
        [b"*3\r\n", *[b"$600000\r\n" + b"x" * 600_000 + b"\r\n"] * 3],
    ],
)
def test_what_is_over_a_limit_is_refused_before_it_is_all_there(parts):
    assert refusal(*parts) == "too_large"


def test_a_header_alone_is_never_more_than_the_parser_can_take():
    """hiredis allocates what an array's header announces: at the limits that is half a megabyte a level."""
    reader = hiredis.Reader()
    data = b"*%d\r\n" % (MAX_ELEMENTS - MAX_DEPTH + 1) + b"*1\r\n" * (MAX_DEPTH - 1) + b":1\r\n"
    assert not fed(data).is_idle
    reader.feed(data)
    assert reader.gets() is False  # not enough data, and no protocol error: hiredis nests as deep


def test_each_command_has_a_limit_of_its_own():
    guard = ReplyGuard("a server", max_bytes=100)
    for _ in range(10):
        guard.expect()
        guard.feed(b"$60\r\n" + b"x" * 60 + b"\r\n")
        assert guard.is_idle
