"""Whatever a client sends, in whatever pieces: the connection ends, every answer is whole, and nothing is raised."""

import re
import resource
from itertools import pairwise

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from statusd.web.app import create_app
from statusd.web.edge.limits import Limits
from tests.web.client import END, Web, parse, service
from tests.web.edge.test_listener import H2C_UPGRADE, KILLS, PREFACE, SETTINGS, WEBSOCKET, headers_frame

APP = create_app(service())
DATE = re.compile(rb"date: [^\r]+\r\n")

METHODS = st.sampled_from(
    [b"GET", b"HEAD", b"OPTIONS", b"POST", b"CONNECT", b"TRACE", b"PRI", b"get", b"", b"\x00"]
)
TARGETS = st.sampled_from(
    [
        b"/health",
        b"/state",
        b"/state/models/a%2Fb",
        b"/state/%ff%00",
        b"*",
        b"",
        b"?",
        b"//",
        b"/%",
        b"/\\..\\",
        b"http://[/health",
        b"http://a/health",
        b"http://a",
        b"a:80",
        b"/" + b"a" * 9000,
    ]
)
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/x", b""])
FIELDS = st.lists(
    st.sampled_from(
        [
            b"Host: a",
            b"Host: \xff",
            b"Host:",
            b"Host: a..b",
            b"Host: xn--\x80",
            b"Host: [::1]:x",
            b"Connection: close",
            b"Connection: upgrade, close, keep-alive",
            b"Connection: ,,,",
            b"Upgrade: websocket",
            b"Upgrade: h2c",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: x",
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
            b"Content-Length: 5",
            b"Content-Length: 0",
            b"Content-Length: -1",
            b"Content-Length: 99999999999999999999",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: gzip, chunked",
            b"Expect: 100-continue",
            b"Cookie: session=\xff; =;;",
            b"Content-Type: multipart/form-data; boundary=",
            b"X-Forwarded-For: \x01",
            b" folded: \tvalue",
            b"Bad\x00Name: x",
            b": empty",
            b"X: " + b"b" * 20000,
        ]
    ),
    max_size=6,
)
BODIES = st.sampled_from(
    [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"fffffffff\r\n", b"-1\r\n", b"0\r\nX: y\r\n\r\n"]
)


@st.composite
def requests(draw):
    head = b" ".join([draw(METHODS), draw(TARGETS), draw(VERSIONS)])
    return b"\r\n".join([head, *draw(FIELDS), b"", b""]) + draw(BODIES)


PACKETS = st.one_of(
    requests(),
    requests(),
    st.binary(max_size=60),
    st.sampled_from([PREFACE, SETTINGS, headers_frame(b"/\xff"), WEBSOCKET, H2C_UPGRADE, b"\r\n", b"\n"]),
)


@st.composite
def mutated(draw):
    """Return requests in a row, a few of their bytes changed."""
    data = bytearray(b"".join(draw(st.lists(PACKETS, min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 3))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


def talk(chunks):
    """Send `chunks` and return what came back, all in a new loop whose clock jumps; raise what the connection raises."""

    async def main():
        async with trio.open_nursery() as nursery:
            site = Web.open(nursery, app=APP)
            data = await site.exchange(*chunks)
            for ended in site.ended.values():
                await ended.wait()
            assert not site.edge.guard.failures
            assert not APP.guard.failures
            return data

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def heads_of(data):
    return [line.split(b" ")[0] for line in data.split(b"\r\n")]


@settings(deadline=None, max_examples=300)
@given(st.lists(mutated(), min_size=1, max_size=3))
@example([b"GET ?x HTTP/1.1" + END])
@example([b"GET http://[/ HTTP/1.1" + END])
@example([b"GET /health HTTP/1.1\r\nHost: a..b\r\n\r\n"])
def test_no_bytes_hurt_a_connection(chunks):
    data = talk(chunks)
    if b"HEAD" not in b"".join(chunks):  # whose answers' ends are not told by their lengths
        for answer in parse(data):
            assert 200 <= answer.status < 600
            assert answer.status != 500


CORPUS = [
    *[b"".join(packets) for packets in KILLS.values()],
    b"GET /health HTTP/1.1" + END + b"GET /nope HTTP/1.1" + END,
    b"POST /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /healthz HTTP/1.1"
    + END,
    b"HEAD /state HTTP/1.0\r\n\r\n",
    b"GET http://a/health?x HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\nGET /health HTTP/1.1" + END,
    b"GET /health HTTP/1.1\r\n\r\n",
]


@pytest.mark.parametrize("data", CORPUS, ids=range(len(CORPUS)))
def test_where_packets_are_cut_makes_no_difference(data):
    whole = DATE.sub(b"", talk([data]))
    assert whole.startswith(b"HTTP/1.1 ")
    for cut in range(1, len(data)):
        assert DATE.sub(b"", talk([data[:cut], data[cut:]])) == whole, cut
    assert DATE.sub(b"", talk([bytes([byte]) for byte in data])) == whole


@settings(deadline=None, max_examples=50)
@given(st.lists(requests(), min_size=1, max_size=3), st.lists(st.integers(0, 400), max_size=4))
def test_a_clients_cuts_make_no_difference_to_whole_requests(sent, cuts):
    data = b"".join(sent)
    edges = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    chunks = [data[left:right] for left, right in pairwise(edges)]
    talk(chunks)


def test_limits_are_numbers_that_hold_together():
    limits = Limits()
    assert limits.header_timeout + limits.linger_timeout < limits.request_timeout
    assert limits.body_timeout < limits.request_timeout
    assert 1 <= limits.connections <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2


def test_without_a_bound_on_descriptors_there_is_one_on_connections(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert 0 < Limits().connections < 1 << 20
