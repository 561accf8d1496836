"""What the edge serves, and within which bounds, may be replaced at any time: open connections ask anew for each request."""

import socket
from collections import Counter

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from statusd.values import Bind
from statusd.web.answering import Answers
from statusd.web.edge.admission import Admission
from statusd.web.edge.connection import Connection
from statusd.web.edge.front import Front
from statusd.web.edge.limits import Limits
from statusd.web.edge.listener import Server
from statusd.web.edge.sockets import open_listeners
from tests.web.client import CLOSE, CONTEXT, END, HOST, BigView, Web, parse, read_all, read_until, service
from tests.web.edge.h2client import dial
from tests.web.edge.test_admission import Visitor

GET = b"GET /health HTTP/1.1" + END
POST = b"POST /health HTTP/1.1" + HOST + b"Content-Length: 3\r\n\r\nabc"
OK = b'{"status":"ok"}'
SAID = b"said"


def says(text):
    """Return an application that says `text` to everything."""

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"%d" % len(text))],
            }
        )
        await send({"type": "http.response.body", "body": text})

    return app


def front_of(served):
    return Front(Answers(served), version=lambda: served.snapshot().version, now=served.now)


@pytest.fixture
async def site(nursery, autojump_clock):
    web = Web.open(nursery, BigView(context=CONTEXT))
    web.edge.app = says(SAID)
    web.edge.front = web.edge.probes_front = None
    return web


async def test_an_open_connection_is_answered_by_what_serves_now(site, autojump_clock):
    stream, _ = site.connect()
    for app, front, expected in [
        (says(b"first"), None, b"first"),
        (says(b"second"), None, b"second"),
        (says(b"third"), front_of(service()), OK),  # also where the connection is beyond the front stage
        (says(b"fourth"), None, b"fourth"),
        (says(b"fifth"), front_of(service()), OK),
    ]:
        site.edge.app, site.edge.front = app, front
        await stream.send_all(GET)
        assert (await read_until(stream, expected)).startswith(b"HTTP/1.1 200 ")
    site.edge.app, site.edge.front = says(b"sixth"), front_of(service())
    await stream.send_all(POST)
    await read_until(stream, b"sixth")


async def test_so_is_one_that_the_front_stage_has_had_so_far(site, autojump_clock):
    site.edge.front = front_of(service())
    stream, _ = site.connect()
    await stream.send_all(GET)
    await read_until(stream, OK)
    site.edge.front = None
    await stream.send_all(GET)
    await read_until(stream, SAID)


async def test_http2_too(site, autojump_clock):
    client = await dial(site)
    assert (await client.get("/health")).body == SAID
    site.edge.front = front_of(service())
    assert (await client.get("/health")).body == OK
    site.edge.front, site.edge.app = None, says(b"else")
    assert (await client.get("/health")).body == b"else"


async def test_behind_listeners_for_probe_endpoints_it_is_the_front_stage_of_those(site, autojump_clock):
    site.is_probes_only = True
    stream, _ = site.connect()
    site.edge.front = front_of(service())
    await stream.send_all(GET)
    await read_until(stream, SAID)
    site.edge.probes_front = front_of(service())
    await stream.send_all(GET)
    await read_until(stream, OK)


async def test_who_comes_with_a_request_is_answered_by_what_serves_now(nursery):
    web = Web.open(nursery, app=says(SAID))
    [listener] = open_listeners([Bind(host="127.0.0.1")])
    stop = trio.Event()
    await nursery.start(
        lambda task_status: Server(web.edge).run([listener], stop=stop, task_status=task_status)
    )
    for front, expected in [(None, SAID), (front_of(service()), OK), (None, SAID)]:
        web.edge.front = front
        with socket.create_connection(listener.socket.getsockname()) as sock:
            sock.sendall(b"GET /health HTTP/1.1" + CLOSE)
            async with trio.SocketStream(trio.socket.from_stdlib_socket(sock)) as stream:
                [answer] = parse(await read_all(stream))
                assert answer.body == expected
    stop.set()


@pytest.mark.parametrize("has_front", [True, False])
async def test_the_access_log_may_come_and_go(site, autojump_clock, has_front):
    taken = []

    class Log:
        def take(self, exchange):
            taken.append(exchange.target)

    site.edge.front = front_of(service()) if has_front else None
    stream, client = site.connect()[0], await dial(site)
    for log in (None, Log(), None):
        site.edge.traffic.log = log
        await stream.send_all(GET)
        await read_until(stream, OK if has_front else SAID)
        await client.get("/health?h2")
    assert taken == ["/health", "/health?h2"]


# Bounds


def limit(site, **limits):
    site.edge.limits = attrs.evolve(site.edge.limits, **limits)


async def test_longer_headers_are_taken_from_now_on_and_shorter_ones_alone(site, autojump_clock):
    request = b"GET /health HTTP/1.1" + HOST + b"X: " + b"a" * 30_000 + b"\r\n\r\n"
    stream, _ = site.connect()
    await stream.send_all(POST)
    await read_until(stream, SAID)
    limit(site, header_bytes=64 * 1024)
    await stream.send_all(request)
    await read_until(stream, SAID)
    limit(site, header_bytes=16 * 1024)
    await stream.send_all(request)
    [answer] = parse(await read_all(stream))
    assert answer.status == 431


async def test_longer_headers_are_taken_of_http2_from_now_on_and_shorter_ones_alone(site, autojump_clock):
    client = await dial(site)
    many = [(f"x-{number}", "a" * 8_000) for number in range(5)]
    assert (await client.get("/health")).status == 200
    limit(site, header_bytes=64 * 1024)
    assert (await client.get("/health", fields=many)).status == 200
    limit(site, header_bytes=30 * 1024)
    assert (await client.get("/health", fields=many)).status == 431
    assert (await client.get("/health")).status == 200


@pytest.mark.parametrize("seconds", [3.0, 40.0])
async def test_the_next_idle_time_is_the_new_one(site, autojump_clock, seconds):
    stream, _ = site.connect()
    await stream.send_all(GET)
    await read_until(stream, SAID)
    limit(site, idle_timeout=seconds)
    await stream.send_all(GET)
    await read_until(stream, SAID)
    began = trio.current_time()
    assert await read_all(stream) == b""
    assert trio.current_time() - began == pytest.approx(seconds)


async def test_fewer_requests_for_a_connection_than_it_has_had_end_it_after_the_next_one(
    site, autojump_clock
):
    stream, _ = site.connect()
    for _ in range(5):
        await stream.send_all(GET)
        await read_until(stream, SAID)
    await wait_all_tasks_blocked()
    limit(site, requests=3)
    await stream.send_all(GET)
    [answer] = parse(await read_all(stream))
    assert (answer.body, answer.headers["connection"]) == (SAID, "close")
    assert site.edge.traffic.limited["requests"] == 1


async def test_body_and_time_for_an_answer_are_the_new_ones(site, autojump_clock):
    stream, client = site.connect()[0], await dial(site)
    await client.get("/health")
    await stream.send_all(GET)
    await read_until(stream, SAID)

    async def hang(scope, receive, send):
        await trio.sleep_forever()

    site.edge.app = hang
    limit(site, request_timeout=7.0, send_timeout=1.0)
    began = trio.current_time()
    await stream.send_all(GET)
    assert await read_all(stream) == b""
    assert trio.current_time() - began == 7
    await client.get("/health")
    assert trio.current_time() - began == 14


def test_places_grow_and_shrink_and_nobody_loses_one_for_that():
    admission = Admission.of(Limits(connections=8, reserved=2), Counter(), is_probes_only=False)
    visitors = [Visitor() for _ in range(6)]
    assert all(admission.admit(visitor) for visitor in visitors)
    admission.resize(Limits(connections=4, reserved=1, connections_per_peer=9))
    assert (admission.main.places, admission.reserve.places, admission.per_peer) == (3, 1, 9)
    assert not any(visitor.is_aborted for visitor in visitors)
    for visitor in visitors[:4]:
        admission.leave(visitor)
    assert not admission.main.is_full
    admission.resize(Limits(connections=100, reserved=10))
    more = [Visitor() for _ in range(88)]
    assert all(admission.admit(visitor) for visitor in more)
    assert not any(visitor.is_aborted for visitor in (*visitors, *more))


def test_listeners_for_probe_endpoints_have_as_many_places_as_are_reserved_now():
    admission = Admission.of(Limits(connections=8, reserved=2), Counter(), is_probes_only=True)
    admission.resize(Limits(connections=64, reserved=7))
    assert (admission.main.places, admission.reserve.places) == (7, 0)


async def test_who_comes_next_meets_the_new_number_of_places(nursery):
    web = Web.open(nursery, BigView(context=CONTEXT), connections=4, reserved=1)
    [listener] = open_listeners([Bind(host="127.0.0.1")])
    stop, server = trio.Event(), Server(web.edge)
    await nursery.start(lambda task_status: server.run([listener], stop=stop, task_status=task_status))
    clients = []

    async def come(number):
        clients.extend(socket.create_connection(listener.socket.getsockname()) for _ in range(number))
        with trio.fail_after(5):
            while web.edge.traffic.accepted < len(clients):
                await trio.sleep(0.001)
        await wait_all_tasks_blocked()

    await come(3)
    web.edge.limits = Limits(connections=20, reserved=1)
    await come(10)
    assert web.edge.traffic.connections == 13
    web.edge.limits = Limits(connections=4, reserved=1)
    await wait_all_tasks_blocked()
    assert web.edge.traffic.connections == 13  # they go as they end, or as others come
    await come(1)
    assert web.edge.traffic.connections == 13
    for client in clients:
        client.close()
    stop.set()


async def test_the_deadline_of_a_connection_that_waits_is_left_alone(site, autojump_clock):
    stream, connection = site.connect()
    await wait_all_tasks_blocked()
    assert isinstance(connection, Connection)
    limit(site, header_timeout=1.0)
    began = trio.current_time()
    assert await read_all(stream) == b""
    assert trio.current_time() - began == Limits().header_timeout
