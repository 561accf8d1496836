"""The end of the server: who has connected gets an answer, whoever has nothing to say does not delay it."""

import os
import socket

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from statusd.values import Bind
from statusd.web.edge.listener import GRACE, Server
from statusd.web.edge.sockets import open_listeners
from statusd.web.edge.stopping import FIRST, GLANCE
from tests.web.client import CLOSE, CONTEXT, END, BigView, Web, edge_of, parse, read_all, read_until, service
from tests.web.edge.h2client import PREFACE, SETTINGS, dial
from tests.web.edge.load import Load
from tests.web.edge.test_changes import connect

GET = b"GET /health HTTP/1.1" + END
ONCE = b"GET /health HTTP/1.1" + CLOSE
OK = b'{"status":"ok"}'
MOMENT = 5


@attrs.define(eq=False)
class Site:
    server: Server
    address: object
    stop: trio.Event
    done: trio.Event

    @classmethod
    async def run(cls, nursery, bind):
        listeners = open_listeners([bind])
        server = Server(edge_of(service(BigView(context=CONTEXT))))
        site = cls(server, listeners[0].socket.getsockname(), trio.Event(), trio.Event())

        async def body(task_status):
            await server.run(listeners, stop=site.stop, task_status=task_status)
            site.done.set()

        await nursery.start(body)
        return site


# On real sockets: the backlog


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_who_has_connected_before_the_stop_is_served(nursery, tmp_path, kind):
    bind = Bind(host="127.0.0.1") if kind == "tcp" else Bind(path=str(tmp_path / "http.sock"))
    site = await Site.run(nursery, bind)
    waiting = [connect(site.address, GET) for _ in range(100)]  # nothing of the server runs meanwhile
    late = [connect(site.address) for _ in range(10)]
    site.stop.set()
    while site.server.edge.traffic.accepted < 110:
        await trio.sleep(0.001)
    for stream in late:
        await stream.send_all(GET)
    for stream in (*waiting, *late):
        [answer] = parse(await read_all(stream))
        assert (answer.status, answer.headers["connection"].lower()) == (200, "close")
        await stream.aclose()
    await site.done.wait()
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        connect(site.address)


async def test_who_waits_at_a_socket_that_was_handed_over_waits_for_the_next_process(nursery):
    with socket.create_server(("127.0.0.1", 0), backlog=100) as theirs:
        first = await Site.run(nursery, Bind(fd=os.dup(theirs.fileno())))
        await wait_all_tasks_blocked()
        async with connect(first.address, GET) as kept:
            await read_until(kept, OK)
            first.stop.set()
            await first.done.wait()
            assert await read_all(kept) == b""
        waiting = [connect(first.address, ONCE) for _ in range(50)]
        assert first.server.edge.traffic.accepted == 1
        second = await Site.run(nursery, Bind(fd=os.dup(theirs.fileno())))
        for stream in waiting:
            [answer] = parse(await read_all(stream))
            assert answer.status == 200
            await stream.aclose()
        second.stop.set()


async def test_twenty_restarts_over_one_socket_that_was_handed_over_lose_no_request(nursery):
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as theirs:
        load = Load(theirs.getsockname())
        async with load.applied():
            for _ in range(20):
                seen = load.answered
                site = await Site.run(nursery, Bind(fd=os.dup(theirs.fileno())))
                with trio.fail_after(MOMENT):
                    while load.answered < seen + 20 and not load.failures:
                        await trio.sleep(0.001)
                site.stop.set()
                await site.done.wait()
            await Site.run(nursery, Bind(fd=os.dup(theirs.fileno())))
    assert load.failures == []
    assert load.answered >= 400
    nursery.cancel_scope.cancel()


# On memory streams, under a clock that jumps


@pytest.fixture
async def site(nursery, autojump_clock):
    return Web.open(nursery, BigView(context=CONTEXT))


def stop(site):
    site.edge.is_stopping = True
    for connection in site.ended:
        connection.finish()


@pytest.mark.parametrize("pieces", [[GET], [GET[:9], GET[9:]], [b"GET /state HTTP/1.1" + END]])
async def test_the_first_request_has_its_time(site, autojump_clock, pieces):
    stream, _ = site.connect()
    await wait_all_tasks_blocked()
    stop(site)
    await trio.sleep(0.9 * FIRST)
    for piece in pieces:
        await stream.send_all(piece)
        await wait_all_tasks_blocked()
    [answer] = parse(await read_all(stream))
    assert (answer.status, answer.headers["connection"].lower()) == (200, "close")


async def test_a_crowd_that_says_nothing_is_gone_after_that(site, autojump_clock):
    streams = [site.connect()[0] for _ in range(50)]
    for stream in streams[:25]:
        await stream.send_all(GET[:9])
    await wait_all_tasks_blocked()
    began = trio.current_time()
    stop(site)
    for ended in site.ended.values():
        await ended.wait()
    assert trio.current_time() - began == pytest.approx(FIRST)
    assert FIRST < GRACE
    assert not site.edge.traffic.limited


async def test_a_header_whose_time_is_over_sooner_has_no_more(site, autojump_clock):
    stream, _ = site.connect()
    await trio.sleep(site.edge.limits.header_timeout - FIRST / 4)
    stop(site)
    began = trio.current_time()
    assert await read_all(stream) == b""
    assert trio.current_time() - began == pytest.approx(FIRST / 4)


async def test_a_client_that_drips_does_not_delay_the_end_beyond_that(site, autojump_clock):
    stream, connection = site.connect()
    began = trio.current_time()
    stop(site)
    for byte in GET[:-1]:
        with trio.move_on_after(0.3):
            try:
                await stream.send_all(bytes([byte]))
            except trio.BrokenResourceError:
                break
            await trio.sleep_forever()
    await site.ended[connection].wait()
    assert trio.current_time() - began < 2 * FIRST + 0.3


@pytest.mark.parametrize("first", [b"GET /health HTTP/1.1" + END, b"GET /health?a=%zz HTTP/1.1" + END])
async def test_an_idle_connection_ends_at_once(site, autojump_clock, first):
    stream, _ = site.connect()
    await stream.send_all(first)
    await stream.receive_some(65536)
    await wait_all_tasks_blocked()
    stop(site)
    began = trio.current_time()
    await read_all(stream)
    assert trio.current_time() - began == pytest.approx(GLANCE)


async def test_a_request_that_has_begun_on_a_kept_connection_is_answered(site, autojump_clock):
    stream, _ = site.connect()
    await stream.send_all(GET)
    await read_until(stream, OK)
    await stream.send_all(GET[:9])
    await wait_all_tasks_blocked()
    stop(site)
    await trio.sleep(FIRST / 2)
    await stream.send_all(GET[9:])
    [answer] = parse(await read_all(stream))
    assert (answer.status, answer.headers["connection"].lower()) == (200, "close")


async def test_who_asks_on_a_kept_connection_meanwhile_is_answered_and_told(site, autojump_clock):
    stream, _ = site.connect()
    await stream.send_all(GET)
    await read_until(stream, OK)
    stop(site)
    await stream.send_all(GET)
    [answer] = parse(await read_all(stream))
    assert (answer.status, answer.headers["connection"].lower()) == (200, "close")


@pytest.mark.parametrize("steps", range(12))
async def test_so_is_who_was_not_told_with_the_answer_before(nursery, autojump_clock, steps):
    """The stop may come at any step of an answer."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await trio.sleep(1)
        await send({"type": "http.response.body", "body": b"ok"})

    site = Web.open(nursery, app=app)
    stream, connection = site.connect()
    await stream.send_all(GET)
    await trio.sleep(0.9 if steps < 6 else 1)
    for _ in range(steps % 6):
        await trio.lowlevel.checkpoint()
    stop(site)
    await read_until(stream, b"\r\n\r\nok")
    await stream.send_all(GET)
    [answer] = parse(await read_all(stream))
    assert (answer.body, answer.headers["connection"].lower()) == (b"ok", "close")
    await site.ended[connection].wait()


async def test_who_was_not_told_and_asks_no_more_is_gone_at_once(nursery, autojump_clock):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await trio.sleep(1)
        await send({"type": "http.response.body", "body": b"ok"})

    site = Web.open(nursery, app=app)
    stream, _ = site.connect()
    await stream.send_all(GET)
    await wait_all_tasks_blocked()
    began = trio.current_time()
    stop(site)
    await read_all(stream)
    assert trio.current_time() - began == pytest.approx(1 + GLANCE)
    assert not site.edge.traffic.limited


async def test_the_first_request_of_http2_has_its_time(site, autojump_clock):
    client = await dial(site)
    await wait_all_tasks_blocked()
    stop(site)
    await trio.sleep(0.9 * FIRST)
    got = await client.get("/health")
    assert (got.status, got.is_whole) == (200, True)
    assert await client.until_closed() == pytest.approx(GLANCE)
    assert client.terminated[0][1] == (1 << 31) - 1
    assert client.terminated[-1][1] == 1


async def test_http2_that_asks_for_nothing_is_gone_after_that(site, autojump_clock):
    client = await dial(site)
    await wait_all_tasks_blocked()
    stop(site)
    assert await client.until_closed() == pytest.approx(FIRST + GLANCE)


async def test_http2_whose_client_leaves_is_gone_at_once(site, autojump_clock):
    client = await dial(site)
    await wait_all_tasks_blocked()
    stop(site)
    began = trio.current_time()
    await client.stream.aclose()
    await client.ended.wait()
    assert trio.current_time() - began <= GLANCE


async def test_http2_that_begins_after_the_stop_has_its_time(site, autojump_clock):
    site.edge.is_stopping = True
    client = await dial(site, is_opened=False)
    await trio.sleep(FIRST / 3)
    await client.stream.send_all(PREFACE + SETTINGS)
    client.h2.initiate_connection()
    client.h2.data_to_send()
    await trio.sleep(FIRST / 3)
    assert (await client.get("/health")).status == 200
    await client.until_closed()


async def test_nobody_who_is_silent_delays_the_end_beyond_the_grace(nursery):
    site = await Site.run(nursery, Bind(host="127.0.0.1"))
    silent = [connect(site.address, data) for data in (b"", GET[:9]) for _ in range(20)]
    await wait_all_tasks_blocked()
    began = trio.current_time()
    site.stop.set()
    await site.done.wait()
    assert trio.current_time() - began < GRACE
    for stream in silent:
        await stream.aclose()
