"""One connection's life on memory streams, under a clock that jumps."""

import pytest
import trio
from trio.testing import lockstep_stream_pair, wait_all_tasks_blocked

from statusd.web.app import create_app
from statusd.web.edge.connection import SLACK
from statusd.web.edge.limits import Limits
from statusd.web.edge.shared import Queue
from tests.web.client import CLOSE, CONTEXT, END, HOST, BigView, Web, parse, read_all, service

GET = b"GET /health HTTP/1.1" + END
LIMITS = Limits()


@pytest.fixture
async def site(nursery, autojump_clock):
    return Web.open(nursery, BigView(context=CONTEXT))


async def seconds_until_closed(stream):
    """Return what still came, and how long it took until the server closed."""
    began = trio.current_time()
    data = await read_all(stream)
    return data, trio.current_time() - began


async def test_requests_share_a_connection(site, autojump_clock):
    assert [answer.status for answer in await site.ask(GET, GET, GET)] == [200] * 3


async def test_pipelined_requests_are_answered_in_order(site, autojump_clock):
    paths = [b"/health", b"/nope", b"/state", b"/health"]
    answers = await site.ask(b"".join(b"GET " + path + b" HTTP/1.1" + END for path in paths))
    assert [answer.status for answer in answers] == [200, 404, 200, 200]


async def test_close_is_honoured_and_what_follows_is_not_read(site, autojump_clock):
    [answer] = await site.ask(b"GET /health HTTP/1.1" + CLOSE + GET)
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("head", [b"GET /health HTTP/1.0\r\n\r\n", b"GET /health HTTP/1.0" + END])
async def test_http_1_0_is_answered_and_closed_without_the_client_closing(site, autojump_clock, head):
    stream, _ = site.connect()
    await stream.send_all(head)
    [answer] = parse(await read_all(stream))
    assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_a_client_that_closes_its_half_gets_its_answers(site, autojump_clock):
    stream, _ = site.connect()
    await stream.send_all(GET + b"GET /big HTTP/1.1" + END)
    await stream.send_eof()
    assert [len(answer.body) for answer in parse(await read_all(stream))] == [15, 8 << 20]


async def test_a_client_that_connects_and_says_nothing_is_closed(site, autojump_clock):
    stream, _ = site.connect()
    assert await seconds_until_closed(stream) == (b"", LIMITS.header_timeout)


async def test_a_slow_header_is_not_waited_for(site, autojump_clock):
    stream, _ = site.connect()
    site.nursery.start_soon(drip, stream, GET[:-1])
    assert await seconds_until_closed(stream) == (b"", LIMITS.header_timeout)


async def test_an_idle_connection_is_closed_after_a_while(site, autojump_clock):
    """The idle time of stock hypercorn never ends behind Quart-Trio."""
    stream, _ = site.connect()
    await stream.send_all(GET)
    data, seconds = await seconds_until_closed(stream)
    assert len(parse(data)) == 1
    assert seconds == LIMITS.idle_timeout


async def test_the_second_header_has_its_own_time(site, autojump_clock):
    stream, _ = site.connect()
    await stream.send_all(GET)
    await trio.sleep(LIMITS.idle_timeout - 1)
    await stream.send_all(GET[:5])
    _, seconds = await seconds_until_closed(stream)
    assert seconds == LIMITS.header_timeout


@pytest.mark.parametrize("first", [GET, GET.replace(b"GET", b"POST")])
async def test_a_header_that_begins_together_with_another_request_has_the_same_time(
    site, first, autojump_clock
):
    stream, _ = site.connect()
    await stream.send_all(first + GET[:5])
    _, seconds = await seconds_until_closed(stream)
    assert seconds == LIMITS.header_timeout
    assert site.edge.traffic.limited == {"header_timeout": 1}


async def test_a_slow_body_is_a_408(site, autojump_clock):
    stream, _ = site.connect()
    await stream.send_all(b"POST /health HTTP/1.1" + HOST + b"Content-Length: 1000\r\n\r\n")
    site.nursery.start_soon(drip, stream, b"a" * 999)
    data, seconds = await seconds_until_closed(stream)
    [answer] = parse(data)
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert seconds <= LIMITS.body_timeout + LIMITS.linger_timeout


async def drip(stream, data):
    """Send one byte a second for as long as somebody takes it."""
    try:
        for byte in data:
            await trio.sleep(1)
            await stream.send_all(bytes([byte]))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


async def test_a_client_that_does_not_read_is_given_up(site, autojump_clock):
    stream, connection = site.connect(lockstep_stream_pair())
    await stream.send_all(b"GET /big HTTP/1.1" + END)
    began = trio.current_time()
    await site.ended[connection].wait()
    assert trio.current_time() - began == LIMITS.send_timeout


async def eventful(scope, receive, send):
    """A document that calls itself a stream, as a view may."""
    headers = [(b"content-type", b"text/event-stream"), (b"content-length", b"1000000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * 1_000_000})


@pytest.mark.parametrize(("app", "line"), [(eventful, b"GET / HTTP/1.1"), (None, b"HEAD /events HTTP/1.1")])
async def test_only_a_stream_is_without_deadlines(nursery, autojump_clock, app, line):
    site = Web.open(nursery, app=app)
    stream, connection = site.connect(lockstep_stream_pair())
    await stream.send_all(line + END)
    began = trio.current_time()
    await site.ended[connection].wait()
    assert trio.current_time() - began == LIMITS.send_timeout


async def test_a_slow_client_that_keeps_reading_gets_it_all(nursery, autojump_clock):
    site = Web.open(nursery, BigView(context=CONTEXT, size=600_000))
    stream, _ = site.connect(lockstep_stream_pair())
    await stream.send_all(b"GET /big HTTP/1.1" + CLOSE)
    data = b""
    while chunk := await stream.receive_some(100_000):
        data += chunk
        await trio.sleep(LIMITS.send_timeout / 2)
    assert len(parse(data)[0].body) == 600_000


async def test_an_answer_takes_no_longer_than_a_request_may(nursery, autojump_clock):
    site = Web.open(nursery, BigView(context=CONTEXT))
    stream, connection = site.connect(lockstep_stream_pair())
    await stream.send_all(b"GET /big HTTP/1.1" + CLOSE)
    nursery.start_soon(sip, stream)
    began = trio.current_time()
    await site.ended[connection].wait()
    assert trio.current_time() - began == LIMITS.request_timeout


async def sip(stream):
    """Read a little each second: more than the send timeout wants, too little to ever end."""
    while await stream.receive_some(65_536 // 4):
        await trio.sleep(1)


async def test_a_client_that_leaves_ends_its_request(site, autojump_clock):
    stream, connection = site.connect()
    await stream.send_all(b"POST /health HTTP/1.1" + HOST + b"Content-Length: 1000\r\n\r\n")
    await wait_all_tasks_blocked()
    await stream.aclose()
    began = trio.current_time()
    await site.ended[connection].wait()
    assert trio.current_time() == began
    assert not site.edge.guard.failures


@pytest.mark.parametrize("steps", range(0, 120, 3))
@pytest.mark.parametrize(
    "packet", [GET, GET * 3, b"POST /health HTTP/1.1" + HOST + b"Content-Length: 1000\r\n\r\nab"]
)
async def test_a_client_that_resets_is_no_failure_at_any_step_of_its_request(
    nursery, autojump_clock, caplog, packet, steps
):
    app = create_app(service())
    site = Web.open(nursery, app=app)
    stream, connection = site.connect()
    await stream.send_all(packet)
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    connection.stream.receive_stream.close()  # receiving then raises, as it does after a reset
    await stream.aclose()
    await site.ended[connection].wait()
    assert not site.edge.guard.failures
    assert not app.guard.failures
    assert not caplog.records


async def test_unread_input_is_drained_so_that_the_answer_arrives(site, autojump_clock):
    """The client is still sending when the 413 comes; closing at once would reset it."""
    stream, connection = site.connect(lockstep_stream_pair())
    await stream.send_all(b"POST /health HTTP/1.1" + HOST + b"Content-Length: 200000\r\n\r\n")
    site.nursery.start_soon(push, stream, 200_000)
    [answer] = parse(await read_all(stream))
    assert answer.status == 413
    await site.ended[connection].wait()


async def push(stream, size):
    for _ in range(0, size, 1000):
        await stream.send_all(b"a" * 1000)
    await stream.send_eof()


async def test_draining_ends_although_the_client_sends_for_ever(site, autojump_clock):
    stream, connection = site.connect()
    await stream.send_all(b"\x00")
    began = trio.current_time()
    site.nursery.start_soon(drip, stream, b"a" * 1000)
    await site.ended[connection].wait()
    assert trio.current_time() - began == LIMITS.linger_timeout


async def test_draining_is_bounded_in_bytes(site, autojump_clock):
    stream, connection = site.connect()
    await stream.send_all(b"\x00" + b"a" * (4 << 20))
    began = trio.current_time()
    await site.ended[connection].wait()
    assert trio.current_time() == began


async def test_after_as_many_requests_as_allowed_the_connection_is_closed(nursery, autojump_clock):
    site = Web.open(nursery, requests=2)
    stream, _ = site.connect()
    await stream.send_all(GET * 5)
    answers = parse(await read_all(stream))
    assert [answer.headers.get("connection") for answer in answers] == [None, "close"]


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "h2c, websocket", "TLS/1.0"])
async def test_an_upgrade_is_ignored(site, autojump_clock, upgrade):
    head = (
        f"GET /health HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n"
        "HTTP2-Settings: AAMAAABkAAQAAP__\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    answers = await site.ask(head + GET)
    assert [answer.status for answer in answers] == [200, 200]


# What is counted when a bound ends or refuses something


async def test_who_says_nothing_hits_the_time_for_a_header(site, autojump_clock):
    stream, _ = site.connect()
    await read_all(stream)
    assert site.edge.traffic.limited == {"header_timeout": 1}


async def test_who_asks_no_more_hits_the_idle_time(site, autojump_clock):
    stream, _ = site.connect()
    await stream.send_all(GET)
    await read_all(stream)
    assert site.edge.traffic.limited == {"idle_timeout": 1}


async def test_a_second_header_that_never_ends_hits_the_time_for_a_header(site, autojump_clock):
    stream, _ = site.connect()
    await stream.send_all(GET)
    await wait_all_tasks_blocked()
    await stream.send_all(GET[:9])
    await read_all(stream)
    assert site.edge.traffic.limited == {"header_timeout": 1}


async def test_who_does_not_read_hits_the_time_to_send(site, autojump_clock):
    stream, connection = site.connect(lockstep_stream_pair())
    await stream.send_all(b"GET /big HTTP/1.1" + END)
    await site.ended[connection].wait()
    assert site.edge.traffic.limited == {"send_timeout": 1}


async def test_who_reads_too_slowly_hits_the_time_of_a_request(site, autojump_clock):
    stream, connection = site.connect(lockstep_stream_pair())
    await stream.send_all(b"GET /big HTTP/1.1" + CLOSE)
    site.nursery.start_soon(sip, stream)
    await site.ended[connection].wait()
    assert site.edge.traffic.limited == {"request_timeout": 1}


async def test_an_answer_that_never_comes_hits_the_time_of_a_request(nursery, autojump_clock):
    async def never(scope, receive, send):
        await trio.sleep_forever()

    site = Web.open(nursery, app=never)
    stream, _ = site.connect()
    await stream.send_all(GET)
    assert await seconds_until_closed(stream) == (b"", LIMITS.request_timeout)
    assert site.edge.traffic.limited == {"request_timeout": 1}


@pytest.mark.parametrize("has_front", [True, False])
async def test_the_last_request_hits_the_bound_of_requests(nursery, autojump_clock, has_front):
    site = Web.open(nursery, requests=2)
    if not has_front:
        site.edge.front = None
    await site.ask(GET, GET, GET)
    assert site.edge.traffic.limited == {"requests": 1}


async def test_what_is_no_bound_counts_as_none(site, autojump_clock):
    for ending in (b"", b"\x00", b"GET /health HTTP/1.1" + CLOSE):
        await site.exchange(GET, ending)
    stream, connection = site.connect()
    await stream.send_all(b"GET /big HTTP/1.1" + END)
    await wait_all_tasks_blocked()
    connection.abort()
    await site.ended[connection].wait()
    assert not site.edge.traffic.limited


async def test_the_idle_time_begins_anew_with_each_answer(site, autojump_clock):
    stream, _ = site.connect()
    for _ in range(5):
        await stream.send_all(GET)
        await trio.sleep(SLACK / 2)
    _, seconds = await seconds_until_closed(stream)
    assert LIMITS.idle_timeout - 1.5 * SLACK <= seconds <= LIMITS.idle_timeout


# Long polls of clients that are gone


POLL = b"GET /state?since=7&wait=60 HTTP/1.1" + END


async def test_a_long_poll_waits(site, autojump_clock):
    stream, _ = site.connect()
    began = trio.current_time()
    await stream.send_all(POLL)
    await stream.receive_some(1)
    assert trio.current_time() - began == 60


async def test_who_closes_its_half_gets_the_answer_to_its_long_poll_at_once(site, autojump_clock):
    """Most likely it is gone, and must not take a place for a minute."""
    stream, connection = site.connect()
    await stream.send_all(POLL)
    await trio.sleep(1)
    began = trio.current_time()
    assert site.edge.traffic.waiting == 1
    await stream.send_eof()
    [answer] = parse(await read_all(stream))
    assert answer.status == 200
    await site.ended[connection].wait()
    assert trio.current_time() == began
    assert site.edge.traffic.waiting == 0


async def test_abort_ends_whatever_is_in_flight_at_once(site, autojump_clock):
    stream, connection = site.connect(lockstep_stream_pair())
    await stream.send_all(b"GET /big HTTP/1.1" + END)
    await wait_all_tasks_blocked()
    began = trio.current_time()
    connection.abort()
    await site.ended[connection].wait()
    assert trio.current_time() == began


@pytest.mark.parametrize(
    ("refusal", "request_", "status"),
    [
        (0, b"GET /health HTTP/1.0\r\n\r\n", 200),
        (0, b"HEAD /readyz?verbose HTTP/1.1" + HOST + b"TE: trailers\r\n\r\n", 200),
        (0, b"OPTIONS /status HTTP/1.1" + END, 404),
        (503, b"GET /metrics HTTP/1.1" + END, 503),
        (503, b"POST /health HTTP/1.1" + HOST + b"Content-Length: 1\r\n\r\nx", 405),
    ],
)
async def test_health_checks_and_refusals_do_not_wait_behind_other_requests(
    nursery, autojump_clock, refusal, request_, status
):
    """Thousands may wait for their turn to ask the application; and whoever is refused keeps a place of the reserve."""
    site = Web.open(nursery)
    stream, connection = site.connect()
    connection.refusal = refusal
    async with site.edge._turns[Queue.OTHERS]:
        await stream.send_all(request_)
        await stream.send_eof()
        method = request_.partition(b" ")[0].decode()
        assert [answer.status for answer in parse(await read_all(stream), method)] == [status]
        assert trio.current_time() < 1


async def test_the_application_gets_a_body_in_one_message_however_small_its_chunks(nursery, autojump_clock):
    got = []

    async def app(scope, receive, send):
        got.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    chunked = b"POST /health HTTP/1.1" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    site = Web.open(nursery, app=app)
    assert await site.ask(chunked + b"1\r\nx\r\n" * 9_000, b"1\r\ny\r\n" * 9_000 + b"0\r\n\r\n")
    assert got == [{"type": "http.request", "body": b"x" * 9_000 + b"y" * 9_000, "more_body": False}]


async def test_a_body_without_an_end_is_refused_as_soon_as_it_is_too_long(nursery, autojump_clock):
    """Some versions of Quart keep it all, and look at it when it is complete."""
    site = Web.open(nursery)
    stream, _ = site.connect()
    await stream.send_all(b"POST /health HTTP/1.1" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    for _ in range(3):
        await stream.send_all(chunk)
        await wait_all_tasks_blocked()
    began = trio.current_time()
    [answer] = parse(await read_all(stream))
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert trio.current_time() - began <= LIMITS.linger_timeout
    assert site.edge.traffic.limited == {"body_bytes": 1}
