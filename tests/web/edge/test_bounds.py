"""Bounds of the server as clients see them: who is ended for whose sake, and who is answered all the same."""

import contextlib
import errno
import os
import socket
import struct
import tracemalloc

import attrs
import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from statusd.values import Bind
from statusd.web.answering import Answers
from statusd.web.edge.accepting import BATCH
from statusd.web.edge.admission import EXTRA
from statusd.web.edge.front import Front
from statusd.web.edge.limits import Limits
from statusd.web.edge.listener import serve
from statusd.web.edge.sockets import Listener, open_listeners
from tests.web.client import (
    CLOSE,
    CONTEXT,
    END,
    HOST,
    BigView,
    Web,
    edge_of,
    parse,
    read_all,
    read_until,
    service,
)

GET = b"GET /health HTTP/1.1" + END
STATE = b"GET /state HTTP/1.1" + END
POLL = b"GET /state?since=7&wait=60 HTTP/1.1" + END
EVENTS = b"GET /events HTTP/1.1" + END
BIG = b"GET /big HTTP/1.1" + END
POST = b"POST /health HTTP/1.1" + HOST + b"Content-Length: 9\r\n\r\n"
OK = b'{"status":"ok"}'


@attrs.define(eq=False)
class MemoryListener(trio.abc.Listener):
    """Accepts the streams that the test puts in."""

    send: object = None
    receive: object = None

    def __attrs_post_init__(self):
        self.send, self.receive = trio.open_memory_channel(1000)

    async def accept(self):
        return await self.receive.receive()

    async def aclose(self):
        self.receive.close()


@attrs.define(eq=False)
class House:
    """A server on memory streams, and its clients."""

    edge: object
    everything: MemoryListener = attrs.field(factory=MemoryListener)
    probes: MemoryListener = attrs.field(factory=MemoryListener)

    def dial(self, *, pair=None, probes=False):
        ours, theirs = pair or memory_stream_pair()
        (self.probes if probes else self.everything).send.send_nowait(theirs)
        return ours

    async def come(self, data=b"", **options):
        """Return a client that has sent `data`, and waits now."""
        stream = self.dial(**options)
        if data:
            await stream.send_all(data)
        await wait_all_tasks_blocked()
        return stream

    async def ask(self, data, **options):
        """Return the only answer to `data` on a connection that the server closes."""
        async with await self.come(data, **options) as stream:
            [answer] = parse(await read_all(stream))
        await wait_all_tasks_blocked()
        return answer

    @property
    def limited(self):
        return dict(self.edge.traffic.limited)


@pytest.fixture(params=["front", "app"])
async def house(request, nursery, autojump_clock):
    """Four places of which one is reserved; with the front stage and without."""
    house = House(edge_of(service(BigView(context=CONTEXT)), Limits(connections=4, reserved=1)))
    if request.param == "app":
        house.edge.front = None
    listeners = [
        Listener(accepting=house.everything, address="memory"),
        Listener(accepting=house.probes, address="memory", is_probes_only=True),
    ]
    await nursery.start(
        lambda task_status: serve(house.edge, listeners, stop=trio.Event(), task_status=task_status)
    )
    return house


async def over(*streams):
    """Return on which connections there is nothing, not even of an answer, but the end."""
    found = []
    for stream in streams:
        data = None
        with trio.move_on_after(0.001):
            data = await stream.receive_some(1)
        found.append(data == b"")
    return found


async def test_a_newcomer_costs_the_oldest_silent_connection(house, autojump_clock):
    idle = await house.come(GET)
    await read_until(idle, OK)
    silent = [await house.come(b"GET /hea"), await house.come()]
    await house.come(GET)
    assert await over(*silent) == [True, False]
    await idle.send_all(GET)
    await read_until(idle, OK)
    assert house.limited == {"connections": 1}


async def test_then_the_longest_idle_one(house, autojump_clock):
    idle = [await house.come(GET) for _ in range(3)]
    for stream in idle:
        await read_until(stream, OK)
    await idle[0].send_all(GET)
    await read_until(idle[0], OK)
    await wait_all_tasks_blocked()
    await house.come()
    assert await over(*idle) == [False, True, False]


async def test_then_who_does_not_read_its_answer_or_does_not_send_its_body(house, autojump_clock):
    unread = await house.come(BIG, pair=lockstep_stream_pair())
    await trio.sleep(1)
    upload = await house.come(POST)
    await trio.sleep(1)
    stream = await house.come(EVENTS)
    await house.come(GET)
    await house.come(EVENTS)
    await house.come(EVENTS)
    assert await over(upload) == [True]
    assert b"retry" in await stream.receive_some(1000)
    with pytest.raises(AssertionError, match="unfinished"):
        parse(await read_all(unread))
    assert house.limited["connections"] == 3


async def test_a_body_that_is_complete_is_answered_in_a_full_house(house, autojump_clock):
    upload = await house.come(POST)
    await upload.send_all(b"a" * 9)
    await read_until(upload, b"}")


async def fill(house):
    """Take all places but the reserved one for what is never ended for others."""
    return [await house.come(data) for data in (EVENTS, POLL, EVENTS)]


async def test_streams_and_long_polls_are_never_ended_for_others(house, autojump_clock):
    clients = await fill(house)
    for _ in range(20):
        await house.ask(STATE)
    assert await over(clients[1]) == [False]
    for stream in (clients[0], clients[2]):
        assert b"snapshot" in await stream.receive_some(10_000)


async def test_in_a_full_house_probe_endpoints_are_answered_and_all_else_is_503(house, autojump_clock):
    await fill(house)
    answer = await house.ask(GET)
    assert (answer.status, answer.body, answer.headers["connection"]) == (200, OK, "close")
    answer = await house.ask(STATE)
    assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (
        503,
        "10",
        "close",
    )
    assert b'"too_many_connections"' in answer.body


@pytest.mark.parametrize("path", [b"/nope", b"/events", b"/metrics", b"/", b"/state?since=7&wait=60"])
async def test_in_a_full_house_nothing_but_a_probe_endpoint_is_answered(house, autojump_clock, path):
    await fill(house)
    assert (await house.ask(b"GET " + path + b" HTTP/1.1" + END)).status == 503


async def test_in_a_full_house_a_health_check_in_pieces_is_answered(house, autojump_clock):
    await fill(house)
    stream = await house.come(GET[:7])
    await stream.send_all(GET[7:])
    [answer] = parse(await read_all(stream))
    assert answer.status == 200


async def test_in_a_full_house_only_one_request_is_taken(house, autojump_clock):
    await fill(house)
    assert (await house.ask(GET + GET + STATE)).status == 200


async def test_in_the_reserve_silence_goes_first(house, autojump_clock):
    await fill(house)
    silent = [await house.come() for _ in range(3)]
    assert (await house.ask(GET)).status == 200
    assert await over(*silent) == [True] * 3
    assert house.limited == {"connections": 4, "reserved": 3}


async def test_nobody_ever_waits_for_a_place(house, autojump_clock):
    clients = await fill(house)
    began = trio.current_time()
    for _ in range(50):
        await house.come()
        assert (await house.ask(GET)).status == 200
    assert trio.current_time() == began
    assert await over(clients[1]) == [False]


async def test_once_a_place_is_free_everything_is_answered_again(house, autojump_clock):
    clients = await fill(house)
    assert (await house.ask(STATE)).status == 503
    await clients[0].aclose()
    await wait_all_tasks_blocked()
    stream = await house.come(STATE)
    await stream.send_eof()
    [answer] = parse(await read_all(stream))
    assert answer.status == 200


async def test_a_flood_at_one_kind_of_listener_is_nothing_to_the_other(house, autojump_clock):
    await fill(house)
    await house.come()
    for _ in range(20):
        assert (await house.ask(b"GET /health HTTP/1.1" + CLOSE, probes=True)).status == 200
    for _ in range(20):
        await house.come(probes=True)
    assert (await house.ask(GET)).status == 200
    assert (await house.ask(b"GET /state HTTP/1.1" + CLOSE, probes=True)).status == 404


async def test_connections_are_counted_while_they_are_open(house, autojump_clock):
    clients = await fill(house)
    await house.ask(STATE)
    traffic = house.edge.traffic
    assert (traffic.accepted, traffic.connections) == (4, 3)
    for stream in clients:
        await stream.aclose()
    await wait_all_tasks_blocked()
    assert (traffic.accepted, traffic.connections) == (4, 0)


# On real sockets, where connections have addresses, and several are ready at once


@attrs.define(eq=False)
class Loopback:
    """A server on loopback, which has the front stage in every run of the tests."""

    edge: object
    address: tuple[str, int]

    @classmethod
    async def run(cls, nursery, *, size=8 << 20, **limits):
        listeners = open_listeners([Bind(host="127.0.0.1")])
        served = service(BigView(context=CONTEXT, size=size))
        edge = edge_of(served, Limits(**limits))
        edge.front = Front(Answers(served), version=lambda: served.snapshot().version, now=served.now)
        await nursery.start(
            lambda task_status: serve(edge, listeners, stop=trio.Event(), task_status=task_status)
        )
        return cls(edge, listeners[0].accepting.socket.getsockname())

    def send(self, data, source="127.0.0.1"):
        """Connect and send `data`, before the server can notice."""
        sock = socket.create_connection(self.address, source_address=(source, 0))
        sock.sendall(data)
        return trio.SocketStream(trio.socket.from_stdlib_socket(sock))

    async def ask(self, data, source="127.0.0.1"):
        async with self.send(data, source) as stream:
            [answer] = parse(await read_all(stream))
        return answer

    async def keep(self, source="127.0.0.1"):
        """Return a connection on which one request is answered."""
        stream = self.send(GET, source)
        await read_until(stream, OK)
        return stream


async def test_beyond_its_bound_a_peer_gets_health_checks_and_429(nursery):
    server = await Loopback.run(nursery, connections_per_peer=2)
    async with contextlib.AsyncExitStack() as clients:
        for _ in range(2):
            await clients.enter_async_context(await server.keep())
        answer = await server.ask(b"GET /state HTTP/1.1" + CLOSE)
        assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (
            429,
            "10",
            "close",
        )
        assert b'"too_many_from_address"' in answer.body
        assert (await server.ask(GET)).status == 200
        assert (await server.ask(b"GET /state HTTP/1.1" + CLOSE, "127.0.0.2")).status == 200
        while server.edge.traffic.connections > 2:
            await trio.sleep(0.001)
        for _ in range(EXTRA):
            await clients.enter_async_context(server.send(b"GET /hea"))
        refused = await clients.enter_async_context(server.send(b"GET /hea"))
        assert await read_all(refused) == b""
    assert dict(server.edge.traffic.limited) == {"connections_per_peer": EXTRA + 3}


async def test_many_that_are_ready_at_once_are_all_answered(nursery):
    server = await Loopback.run(nursery)
    async with contextlib.AsyncExitStack() as clients:
        streams = [
            await clients.enter_async_context(server.send(b"GET /health HTTP/1.1" + CLOSE))
            for _ in range(3 * BATCH + 1)
        ]
        for stream in streams:
            [answer] = parse(await read_all(stream))
            assert (answer.body, answer.headers["connection"]) == (OK, "close")
    assert server.edge.traffic.accepted == 3 * BATCH + 1
    assert server.edge.traffic.connections == 0
    assert server.edge.traffic.requests == {("/health", "front", 200): 3 * BATCH + 1}


async def test_a_health_check_that_comes_with_its_connection_needs_no_place(nursery):
    server = await Loopback.run(nursery, connections=2, reserved=1)
    async with server.send(EVENTS) as stream, server.send(b"GET /events HTTP/1.1" + END):
        assert await stream.receive_some(1000)
        assert (await server.ask(b"GET /health HTTP/1.1" + CLOSE)).status == 200
        assert "reserved" not in server.edge.traffic.limited


async def test_a_health_check_that_comes_together_with_more_than_there_are_places_is_answered(nursery):
    server = await Loopback.run(nursery, connections=4, reserved=2)
    async with contextlib.AsyncExitStack() as clients:
        for _ in range(6):
            await clients.enter_async_context(server.send(POST))
        answer = await server.ask(GET)
        assert (answer.status, answer.headers["connection"].lower()) == (200, "close")


@pytest.mark.parametrize(("spell", "least", "most"), [(0.0, BATCH, 2 * BATCH), (60.0, 5 * BATCH, 5 * BATCH)])
async def test_accepting_goes_on_for_as_long_as_all_else_has_taken(nursery, monkeypatch, spell, least, most):
    """In long passes a few at a time would be too few, and the kernel would send health checks away."""
    monkeypatch.setattr("statusd.web.edge.accepting.SPELL", spell)
    server = await Loopback.run(nursery)
    steps, before = [], 0
    async with contextlib.AsyncExitStack() as clients:
        for _ in range(5 * BATCH):
            await clients.enter_async_context(server.send(b""))
        while before < 5 * BATCH:
            await trio.lowlevel.checkpoint()
            steps.append(server.edge.traffic.accepted - before)
            before = server.edge.traffic.accepted
    assert least <= max(steps) <= most  # one pass, or two: trio shuffles tasks


async def test_those_who_come_together_with_their_requests_do_not_end_each_other(nursery):
    server = await Loopback.run(nursery, connections=2 * BATCH, reserved=BATCH)
    async with contextlib.AsyncExitStack() as clients:
        streams = [await clients.enter_async_context(server.send(GET)) for _ in range(BATCH)]
        for stream in streams:
            await read_until(stream, OK)


async def test_what_comes_with_a_connection_and_is_not_all_is_kept(nursery):
    server = await Loopback.run(nursery)
    for first, rest in [(GET[:9], GET[9:]), (GET, GET), (POST, b"a" * 9), (BIG, GET)]:
        async with server.send(first) as stream:
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(rest)
            await stream.send_eof()
            assert parse(await read_all(stream))


@pytest.mark.parametrize("first", [0, 1, 100])
async def test_an_answer_that_the_socket_does_not_take_at_once_is_finished(nursery, monkeypatch, first):
    """As far as the kernel takes: nothing, or a part."""
    server = await Loopback.run(nursery)
    real = socket.socket.send

    def send(self, data):
        if not first:
            raise BlockingIOError
        return real(self, data[:first])

    async with server.send(b"GET /health HTTP/1.1" + CLOSE) as stream:
        with monkeypatch.context() as patched:
            patched.setattr("statusd.web.edge.express.socket.socket.send", send)
            while not server.edge.traffic.accepted:
                await trio.sleep(0.001)
        [answer] = parse(await read_all(stream))
        assert answer.body == OK
    assert server.edge.traffic.requests == {("/health", "front", 200): 1}


async def test_a_large_answer_is_bounded_although_nothing_comes_after_it(nursery):
    """The kernel would take it whole, and keep it on a closed socket for as long as the client does not read."""
    server = await Loopback.run(nursery, size=2_000_000, send_timeout=0.2)
    async with server.send(b"GET /big HTTP/1.1" + CLOSE):
        with trio.fail_after(10):
            while not server.edge.traffic.limited["send_timeout"]:
                await trio.sleep(0.001)


async def test_clients_that_do_not_read_a_large_answer_share_it(nursery, autojump_clock):
    site, clients = Web.open(nursery, BigView(context=CONTEXT, size=1 << 20)), []
    assert (await site.ask(BIG))[0].status == 200  # it is rendered
    tracemalloc.start()
    try:
        for request in [BIG, b"GET /big HTTP/1.1" + CLOSE] * 8:
            stream, _ = site.connect(lockstep_stream_pair())
            await stream.send_all(request)
            clients.append(stream)
        await wait_all_tasks_blocked()
        assert tracemalloc.get_traced_memory()[0] < 2 << 20
    finally:
        tracemalloc.stop()
    for stream in clients:
        await stream.aclose()


def test_a_client_that_is_gone_before_it_is_accepted_is_no_failure(caplog):
    async def main():
        async with trio.open_nursery() as nursery:
            server = await Loopback.run(nursery)
            for data in (b"", GET, b"GET /health HTTP/1.1" + CLOSE, BIG):
                with socket.create_connection(server.address) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.sendall(data)
            assert (await server.ask(b"GET /health HTTP/1.1" + CLOSE)).status == 200
            assert not server.edge.guard.failures
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert not caplog.records


async def test_a_failure_of_the_front_stage_ends_that_connection_alone(nursery, monkeypatch, caplog):
    server = await Loopback.run(nursery)
    with monkeypatch.context() as patched:
        patched.setattr(Answers, "at_once", lambda _self, _asked: 1 / 0)
        async with server.send(b"GET /health HTTP/1.1" + CLOSE) as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                assert await read_all(stream) == b""
    assert (await server.ask(b"GET /health HTTP/1.1" + CLOSE)).status == 200
    assert server.edge.guard.failures == {"connection": 1}
    assert "ZeroDivisionError" in caplog.text


async def test_an_error_of_one_connection_that_is_accepted_does_not_hold_up_the_next(nursery, monkeypatch):
    server = await Loopback.run(nursery)
    real = socket.socket.accept
    errors = [errno.ECONNABORTED, errno.EPROTO, errno.EPERM]

    def accept(self):
        if errors:
            code = errors.pop()
            raise OSError(code, os.strerror(code))
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    assert (await server.ask(b"GET /health HTTP/1.1" + CLOSE)).status == 200
    assert not errors
    assert not server.edge.guard.failures
