"""Whatever a client sends as HTTP/2, in whatever pieces: the connection ends, and nothing is raised."""

import struct
from itertools import pairwise

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from statusd.web.app import create_app
from statusd.web.edge.http2_frames import BadFramesError, Frames
from statusd.web.edge.http2_head import read_head
from statusd.web.edge.traffic import Traffic
from tests.web.client import Web, edge_of, service
from tests.web.edge.h2client import (
    ACK,
    PREFACE,
    SETTINGS,
    block,
    dial,
    frame,
    frames_in,
    headers,
    request_fields,
)

SERVED = service()
TRAFFIC = Traffic()
APP = create_app(SERVED, traffic=TRAFFIC)
EDGE = edge_of(SERVED)
POST = headers(fields=[*request_fields(method=b"POST"), (b"content-length", b"5")], flags=4)

NUMBERS = st.one_of(st.integers(0, 12), st.sampled_from([101, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]))
NAMES = st.sampled_from(
    [
        *(b":method", b":path", b":scheme", b":authority", b":status", b":protocol", b":", b""),
        *(
            b"host",
            b"content-length",
            b"te",
            b"expect",
            b"connection",
            b"cookie",
            b"accept",
            b"if-none-match",
        ),
        *(b"authorization", b"cache-control", b"X", b"a b", b"\xff", b"x\r\n"),
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            *(
                b"GET",
                b"POST",
                b"HEAD",
                b"OPTIONS",
                b"CONNECT",
                b"get",
                b"/health",
                b"/state",
                b"/events",
                b"/openapi.json",
            ),
            *(
                b"*",
                b"/\xff",
                b"/%",
                b"//",
                b"http://a/",
                b"http",
                b"https",
                b"status.example",
                b"a@b",
                b"",
                b"trailers",
            ),
            *(
                b"0",
                b"5",
                b"-1",
                b"9" * 5000,
                b"100-continue",
                b"no-cache",
                b"max-age=0",
                b"x" * 20_000,
                b"\x00",
                b" a",
            ),
        ]
    ),
    st.binary(max_size=8),
)
REQUESTS = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(lambda more: block(*request_fields(), *more))
BLOCKS = st.one_of(
    st.lists(st.tuples(NAMES, VALUES), max_size=8).map(lambda fields: block(*fields)),
    REQUESTS,
    st.sampled_from(
        [b"\x00\x01a\x01b" * 3000, b"\xbe" * 200, b"\x3f\xff\xff\xff\xff\x0f", b"\x20", b"\x82\x84\x87"]
    ),
    st.binary(max_size=30),
)
SETTING = st.tuples(st.integers(0, 9), NUMBERS).map(lambda pair: struct.pack(">HI", *pair))
PAYLOADS = st.one_of(
    BLOCKS,
    st.lists(SETTING, max_size=5).map(b"".join),
    NUMBERS.map(lambda number: struct.pack(">I", number)),
    st.tuples(NUMBERS, NUMBERS).map(lambda pair: struct.pack(">II", *pair)),
    st.binary(max_size=20),
    st.sampled_from([b"hello", bytes(16384), bytes(5000)]),
)
FRAMES = st.builds(
    lambda kind, payload, flags, stream: frame(kind, payload[:16385], flags=flags, stream=stream),
    st.one_of(st.integers(0, 10), st.integers(0, 255)),
    PAYLOADS,
    st.one_of(st.sampled_from([0, 1, 4, 5]), st.integers(0, 255)),
    NUMBERS,
)
WHOLE = st.builds(
    lambda payload, flags, stream: frame(1, payload[:16384], flags=flags, stream=stream),
    REQUESTS,
    st.sampled_from([4, 5]),
    st.sampled_from([1, 3, 5, 7]),
)


@st.composite
def conversations(draw):
    """Return frames in a row, the first ones mostly as they should be, a few of their bytes changed."""
    opening = draw(st.sampled_from([PREFACE + SETTINGS, PREFACE + SETTINGS + ACK, PREFACE, b""]))
    data = bytearray(opening + b"".join(draw(st.lists(st.one_of(WHOLE, FRAMES), max_size=8))))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


def talk(chunks, *, has_front=True, is_reading=True):
    """Send `chunks` and return what came back, all in a new loop whose clock jumps; raise what the connection raises."""

    async def main():
        async with trio.open_nursery() as nursery:
            site = Web.open(nursery, app=APP)
            site.edge.front = EDGE.front if has_front else None
            client = await dial(site, is_opened=False)
            data = bytearray()

            async def read():
                while chunk := await client.stream.receive_some(65536):
                    data.extend(chunk)

            if is_reading:
                nursery.start_soon(read)
            try:
                for chunk in chunks:
                    await client.stream.send_all(chunk)
                    await trio.testing.wait_all_tasks_blocked()
            except trio.BrokenResourceError:  # it has ended already
                pass
            await client.ended.wait()
            assert not site.edge.guard.failures
            assert not APP.guard.failures
            assert TRAFFIC.streams == 0
            if not is_reading:
                return b""
            nursery.cancel_scope.cancel()
        return bytes(data)

    return trio.run(main, clock=MockClock(autojump_threshold=0))


@settings(deadline=None, max_examples=300)
@given(st.lists(conversations(), min_size=1, max_size=2), st.booleans())
@example([PREFACE + SETTINGS + headers(path=b"/\xff")], True)  # a drawn value
def test_no_bytes_hurt_a_connection(chunks, has_front):
    for kind, _, stream, payload in frames_in(talk(chunks, has_front=has_front)):
        assert kind in {0, 1, 3, 4, 6, 7, 8, 9}
        assert len(payload) <= 16384
        assert stream == 0 or kind in {0, 1, 3, 8, 9}


CORPUS = [
    PREFACE
    + SETTINGS
    + ACK
    + headers()
    + headers(3, path=b"/nope")
    + frame(6, b"12345678")
    + frame(7, bytes(8)),
    PREFACE + SETTINGS + POST + frame(0, b"hello", flags=1, stream=1) + frame(7, bytes(8)),
    PREFACE + SETTINGS + headers(flags=1)[:20] + headers(flags=5),
    PREFACE + frame(4, struct.pack(">HI", 1, 0)) + headers() + headers(3, path=b"/\xff") + frame(7, bytes(8)),
]


@pytest.mark.parametrize("data", CORPUS, ids=range(len(CORPUS)))
def test_where_packets_are_cut_makes_no_difference(data):
    whole = seen(talk([data]))
    assert whole
    for cut in range(1, len(data)):
        assert seen(talk([data[:cut], data[cut:]])) == whole, cut
    assert seen(talk([bytes([byte]) for byte in data])) == whole


def seen(data):
    """Return the frames of each stream, without the dates that are in their headers."""
    return {
        number: [
            (kind, flags, b"" if kind == 1 else payload)
            for kind, flags, stream, payload in frames_in(data)
            if stream == number
        ]
        for number in {stream for _, _, stream, _ in frames_in(data)}
    }


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 2000), max_size=6))
def test_frames_are_the_same_however_they_come(sent, cuts):
    data = PREFACE + SETTINGS + b"".join(sent)
    edges = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    assert cut_up([data[left:right] for left, right in pairwise(edges)]) == cut_up([data])


def cut_up(chunks):
    frames, found = Frames(32768), []
    try:
        for chunk in chunks:
            for one in frames.take(chunk):
                found.append(one.data)  # noqa: PERF401  # what came before an error counts
    except BadFramesError as error:
        found.append(error.code)
    return found


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_a_header_is_refused_or_a_request(fields):
    head = read_head([*request_fields(), *fields], 16384)
    assert head.status in {0, 400, 431}
    if not head.status:
        assert [name for name, _ in head.fields].count(b"host") == 1
        assert head.target == b"/health"
        scope = head.scope({"state": {}})
        assert all(isinstance(scope[name], str) for name in ("method", "path"))
        head.asked(is_probes_only=False)
