"""What is counted and logged of requests, whichever way they went."""

from collections import Counter

import attrs
import pytest
import trio

from statusd.web.edge.access_log import line
from statusd.web.edge.traffic import APP
from tests import stages
from tests.web.client import CLOSE, END, HOST, Web, edge_of, parse, read_all, read_until, service

POST = b"POST /health HTTP/1.1" + HOST
DEEP = b"a" * 20_000


@attrs.define
class Kept:
    """An access log that keeps everything."""

    exchanges: list = attrs.field(factory=list)

    def take(self, exchange):
        self.exchanges.append(exchange)

    def close(self):
        """Say nothing: nothing was left out."""


@pytest.fixture
def web(nursery):
    web = Web.open(nursery)
    web.edge.traffic.log = Kept()
    return web


def without_front(web):
    web.edge.front = None
    return web


def fields(exchange):
    return attrs.asdict(exchange, filter=attrs.filters.exclude("seconds", "stage"))


async def test_each_request_is_counted_once_by_endpoint_stage_and_status(web):
    await web.ask(b"GET /health HTTP/1.1" + END, b"GET /health HTTP/1.1" + END)
    await web.ask(b"GET /metrics HTTP/1.1" + END)
    await web.ask(b"GET /state/models HTTP/1.1" + END)
    await web.ask(b"GET /state/models?since=1 HTTP/1.1" + END)
    await web.ask(POST + b"\r\n")
    await web.ask(b"GET /nowhere HTTP/1.1" + END)
    await web.ask(b"OPTIONS * HTTP/1.1" + END)
    first = stages.first()
    counted = [
        *[("/health", first, 200)] * 2,
        ("/metrics", APP, 200),
        ("/state/*", first, 200),
        ("/state/*", APP, 200),
        ("/health", APP, 405),
        ("none", first, 404),
        ("*", APP, 204),
    ]
    assert web.edge.traffic.requests == Counter(counted)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/2.0" + END, 505),
        (b"POST / HTTP/1.1" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /" + DEEP, 431),
    ],
)
async def test_what_the_parser_refuses_is_counted_and_logged_too(web, data, status):
    [answer] = await web.ask(data)
    assert answer.status == status
    assert web.edge.traffic.requests == {("none", APP, status): 1}
    [exchange] = web.edge.traffic.log.exchanges
    assert (exchange.status, exchange.size, exchange.client) == (status, len(answer.body), "192.0.2.1")
    assert line(exchange)


async def test_a_refused_request_is_logged_with_what_was_understood_of_it(web):
    await web.ask(b"HEAD /a?b HTTP/1.1\r\nHost: a b\r\n\r\n", methods=("HEAD",))
    await web.ask(b"nonsense\r\n\r\n")
    understood, not_understood = web.edge.traffic.log.exchanges
    assert line(understood) == '192.0.2.1 "HEAD /a?b HTTP/1.1" 400 0 0.0000 app'
    assert not_understood.method == not_understood.target == not_understood.version == ""


async def test_a_malformed_body_is_one_request_with_the_answer_that_was_sent(web):
    answers = await web.ask(POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")
    assert [answer.status for answer in answers] == [400]
    assert web.edge.traffic.requests == {("none", APP, 400): 1}
    assert [exchange.status for exchange in web.edge.traffic.log.exchanges] == [400]
    assert web.edge.traffic.log.exchanges[0].target == "/health"


async def test_what_is_refused_after_a_good_one_is_not_taken_for_that(web):
    answers = await web.ask(b"GET /metrics HTTP/1.1" + END + b"nonsense\r\n\r\n")
    assert [answer.status for answer in answers] == [200, 400]
    assert web.edge.traffic.requests == {("/metrics", APP, 200): 1, ("none", APP, 400): 1}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_both_stages_log_the_same_of_the_same(nursery, web, method):
    other = without_front(Web.open(nursery))
    other.edge.traffic.log = Kept()
    for one in (web, other):
        [answer] = await one.ask(f"{method} /state/models?a%22b HTTP/1.1".encode() + END, methods=(method,))
        assert answer.status == 200
    [front] = web.edge.traffic.log.exchanges
    [app] = other.edge.traffic.log.exchanges
    assert (front.stage, app.stage) == (APP, APP)  # its query may mean something
    for one in (web, other):
        await one.ask(f"{method} /health?a%22b HTTP/1.1".encode() + CLOSE, methods=(method,))
    front, app = web.edge.traffic.log.exchanges[1], other.edge.traffic.log.exchanges[1]
    assert (front.stage, app.stage) == (stages.first(), APP)
    assert fields(front) == fields(app)
    assert front.target == "/health?a%22b"
    assert (front.size > 0) is (method == "GET")


async def test_a_client_that_left_before_any_answer_has_no_status(nursery, autojump_clock):
    async def hang(scope, receive, send):
        await receive()
        await trio.sleep_forever()

    web = Web.open(nursery, app=hang)
    web.edge.traffic.log = Kept()
    stream, connection = web.connect()
    await stream.send_all(b"GET /events HTTP/1.1" + END)
    await trio.testing.wait_all_tasks_blocked()
    connection.abort()
    await web.ended[connection].wait()
    assert web.edge.traffic.requests == {("none", APP, 0): 1}
    assert web.edge.traffic.durations == {}
    assert line(web.edge.traffic.log.exchanges[0]).startswith('192.0.2.1 "GET /events HTTP/1.1" - 0 ')


async def test_how_long_the_application_took_is_counted_by_endpoint(web, autojump_clock):
    await web.ask(b"GET /health HTTP/1.1" + END)
    stream, _ = web.connect()
    await stream.send_all(b"GET /state?since=7&wait=3 HTTP/1.1" + CLOSE)
    await read_all(stream)
    assert set(web.edge.traffic.durations) == {"/state"} | ({"/health"} if stages.first() == APP else set())
    assert web.edge.traffic.durations["/state"].seconds == pytest.approx(3.0)
    assert web.edge.traffic.durations["/state"].cumulative()[-5:] == (
        0,
        1,
        1,
        1,
        1,
    )  # 2, 5, 10, 30 s, and all
    assert web.edge.traffic.log.exchanges[-1].seconds == pytest.approx(3.0)


async def test_an_event_stream_is_counted_when_it_ends_and_not_by_how_long_it_took(web, autojump_clock):
    stream, connection = web.connect()
    await stream.send_all(b"GET /events HTTP/1.1" + END)
    await read_until(stream, b"\n\n\r\n")
    assert web.edge.traffic.requests == {}
    await trio.sleep(100)
    connection.abort()
    await web.ended[connection].wait()
    assert web.edge.traffic.requests == {("/events", APP, 200): 1}
    assert web.edge.traffic.durations == {}
    [exchange] = web.edge.traffic.log.exchanges
    assert exchange.seconds == pytest.approx(100, abs=1)
    assert exchange.size > 100


async def test_requests_that_wait_are_counted_while_they_do(web, autojump_clock):
    stream, _ = web.connect()
    await stream.send_all(b"GET /state?since=7&wait=3 HTTP/1.1" + CLOSE)
    await trio.testing.wait_all_tasks_blocked()
    assert web.edge.traffic.waiting == 1
    await read_all(stream)
    assert web.edge.traffic.waiting == 0


async def test_an_event_stream_too_many_hits_its_bound(nursery, autojump_clock):
    web = Web.open(nursery, streams=1)
    stream, connection = web.connect()
    await stream.send_all(b"GET /events HTTP/1.1" + END)
    await read_until(stream, b"\n\n\r\n")
    [answer] = await web.ask(b"GET /events HTTP/1.1" + END)
    assert answer.status == 503
    assert web.edge.traffic.limited == {"streams": 1}
    connection.abort()


async def test_a_waiting_request_too_many_hits_its_bound(nursery, autojump_clock):
    web = Web.open(nursery)
    web = Web(edge=edge_of(service(), attrs.evolve(web.edge.limits, waiting=0)), nursery=nursery)
    [answer] = await web.ask(b"GET /state?since=7&wait=3 HTTP/1.1" + END)
    assert answer.status == 503
    assert web.edge.traffic.limited == {"waiting": 1}
    assert web.edge.traffic.waiting == 0


@pytest.mark.parametrize(
    ("data", "status", "bound"),
    [
        (b"GET /" + DEEP, 431, "header_bytes"),
        (b"GET / HTTP/1.1\r\nA: " + DEEP, 431, "header_bytes"),
        (POST + b"Content-Length: 65537\r\n\r\n", 413, "body_bytes"),
    ],
)
async def test_what_is_too_large_hits_its_bound(web, data, status, bound):
    [answer] = await web.ask(data)
    assert answer.status == status
    assert web.edge.traffic.limited == {bound: 1}


async def test_a_body_too_slow_hits_its_bound(web, autojump_clock):
    stream, _ = web.connect()
    await stream.send_all(POST + b"Content-Length: 5\r\n\r\n")
    [answer] = parse(await read_all(stream))
    assert answer.status == 408
    assert web.edge.traffic.limited == {"body_timeout": 1}


async def test_usual_requests_hit_no_bound(web):
    await web.ask(b"GET /health HTTP/1.1" + END, b"GET /metrics HTTP/1.1" + END, POST + b"\r\n")
    await web.ask(b"nonsense\r\n\r\n")
    assert not web.edge.traffic.limited
