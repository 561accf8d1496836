"""The server on real loopback sockets; and on memory streams where time must pass."""

import errno
import os
import socket
import struct

import attrs
import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from statusd.values import Bind
from statusd.web.app import create_app
from statusd.web.edge import http1
from statusd.web.edge.accepting import PAUSE
from statusd.web.edge.guard import Guard
from statusd.web.edge.limits import Limits
from statusd.web.edge.listener import GRACE, peer_of, serve
from statusd.web.edge.shared import Edge
from statusd.web.edge.sockets import Listener, open_listeners
from statusd.web.edge.stopping import FIRST
from tests.web.client import CLOSE, CONTEXT, END, HOST, BigView, parse, read_all, read_until, service

GET = b"GET /health HTTP/1.1" + END
OK = b'{"status":"ok"}'
EMPTY = b"\r\n\r\n"


@attrs.define(eq=False)
class Running:
    """A server on loopback."""

    address: tuple[str, int]
    stop: trio.Event
    done: trio.Event
    guard: Guard

    async def dial(self):
        return await trio.open_tcp_stream(*self.address)

    async def ask(self, *chunks, methods=()):
        """Send `chunks` on a new connection; return the answers and close."""
        async with await self.dial() as stream:
            for chunk in chunks:
                await stream.send_all(chunk)
            return parse(await read_all(stream), *methods)

    async def is_well(self):
        [answer] = await self.ask(b"GET /health HTTP/1.1" + CLOSE)
        return answer.body == b'{"status":"ok"}'


@pytest.fixture
async def running(nursery):
    app = create_app(service(BigView(context=CONTEXT)))
    return await run(nursery, app)


async def run(nursery, app, **options):
    listeners = open_listeners([Bind(host="127.0.0.1")])
    stop, done, guard = trio.Event(), trio.Event(), Guard()

    async def body(task_status):
        limits = options.pop("limits", None) or Limits()
        edge = Edge(app, limits, guard)
        await serve(edge, listeners, stop=stop, task_status=task_status, **options)
        done.set()

    await nursery.start(body)
    return Running(listeners[0].accepting.socket.getsockname(), stop, done, guard)


async def test_other_clients_are_served_meanwhile(running):
    async with await running.dial() as silent:
        await silent.send_all(b"GET /hea")
        assert await running.is_well()


async def test_every_kind_of_listener_is_served(nursery, tmp_path):
    inherited = socket.create_server(("127.0.0.1", 0))
    path = tmp_path / "http.sock"
    binds = [Bind(host="127.0.0.1"), Bind(host="::1"), Bind(path=str(path)), Bind(fd=inherited.detach())]
    listeners = open_listeners(binds)
    stop = trio.Event()
    app = create_app(service())
    await nursery.start(
        lambda task_status: serve(Edge(app, Limits(), Guard()), listeners, stop=stop, task_status=task_status)
    )
    dialed = [
        await trio.open_tcp_stream(*listener.accepting.socket.getsockname()[:2])
        for listener in listeners
        if listener.path is None
    ]
    for stream in [*dialed, await trio.open_unix_socket(path)]:
        async with stream:
            await stream.send_all(b"GET /health HTTP/1.1" + CLOSE)
            [answer] = parse(await read_all(stream))
            assert answer.status == 200
    stop.set()


# The three known ways in which one connection ends stock hypercorn 0.18 on trio

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes.fromhex("000000040000000000")


def headers_frame(path, method=b"GET", flags=0x05):
    """Return a HEADERS frame on stream 1 with literal, never indexed fields (RFC 7541, section 6.2.3)."""

    def literal(name, value):
        return b"\x10" + bytes([len(name)]) + name + bytes([len(value)]) + value

    block = (
        literal(b":method", method)
        + literal(b":scheme", b"http")
        + literal(b":path", path)
        + literal(b":authority", b"a")
    )
    return struct.pack(">I", len(block))[1:] + bytes([1, flags]) + struct.pack(">I", 1) + block


DATA = bytes.fromhex("000003000100000001") + b"abc"
H2C_UPGRADE = (
    b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)
WEBSOCKET = (
    b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
KILLS = {
    "h2c with a path that is not ASCII": [PREFACE + SETTINGS + headers_frame(b"/\xff")],
    "h2c with data after the answer": [PREFACE + SETTINGS + headers_frame(b"/health", b"POST", 0x04), DATA],
    "websocket with a trailing byte": [WEBSOCKET + b"\xff"],
    "h2c by upgrade": [H2C_UPGRADE + PREFACE + SETTINGS, DATA],
}


@pytest.mark.parametrize("packets", KILLS.values(), ids=KILLS)
async def test_no_known_packet_ends_the_server(running, packets):
    async with await running.dial() as stream:
        for packet in packets:
            await stream.send_all(packet)
            await stream.receive_some(65536)
        assert await running.is_well()
    assert not running.guard.failures


@pytest.mark.parametrize("place", ["_create_stream", "_send_h11_event"])
@pytest.mark.parametrize("kind", ["plain", "group"])
async def test_an_exception_of_one_connection_ends_that_one_alone(nursery, caplog, monkeypatch, place, kind):
    """Whatever the next bug inside the protocol is."""
    real = getattr(http1._Protocol, place)

    async def broken(self, event):
        if any(value == b"evil.example" for _, value in getattr(event, "headers", ())):
            raise (
                KeyError(place)
                if kind == "plain"
                else ExceptionGroup("several", [KeyError(place), ValueError()])
            )
        return await real(self, event)

    async def app(scope, receive, send):
        host = dict(scope["headers"])[b"host"]
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"0"), (b"x", host)],
            }
        )
        await send({"type": "http.response.body"})

    monkeypatch.setattr(http1._Protocol, place, broken)
    running = await run(nursery, app)
    async with await running.dial() as good, await running.dial() as evil:
        await good.send_all(GET)
        await read_until(good, EMPTY)
        await evil.send_all(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert [answer.status for answer in parse(await read_all(evil))] in ([], [500])
        await good.send_all(GET)
        await read_until(good, EMPTY)
    assert sum(running.guard.failures.values()) == 1
    assert len(caplog.records) == 1
    assert "KeyError" in caplog.text


async def test_a_client_that_resets_is_no_failure(running, caplog):
    for packet in (b"", b"GET /he", GET, b"GET /big HTTP/1.1" + END, GET * 100):
        with socket.create_connection(running.address) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(packet)
    assert await running.is_well()
    assert not running.guard.failures
    assert not caplog.records


async def test_a_large_body_gets_its_413_although_it_is_never_read(running):
    head = b"POST /health HTTP/1.1" + HOST + b"Content-Length: 900000\r\n\r\n"
    [answer] = await running.ask(head, b"a" * 900_000)
    assert answer.status == 413


async def test_a_header_of_70_kb_is_431(running):
    [answer] = await running.ask(b"GET /health HTTP/1.1" + HOST + b"X: " + b"a" * 70_000 + b"\r\n\r\n")
    assert answer.status == 431


# Stopping


async def test_stopping_closes_listeners_and_idle_connections_at_once(running):
    async with await running.dial() as idle, await running.dial() as silent:
        await idle.send_all(GET)
        await read_until(idle, OK)
        began = trio.current_time()
        running.stop.set()
        assert await idle.receive_some(1000) == b""
        assert trio.current_time() - began < FIRST
        assert await silent.receive_some(1000) == b""
        await running.done.wait()
        assert trio.current_time() - began < 2 * FIRST
    with pytest.raises(OSError, match="all attempts to connect"):
        await running.dial()


async def test_a_request_in_flight_is_finished_and_told_to_close(nursery):
    started, go = trio.Event(), trio.Event()

    async def slow(scope, receive, send):
        started.set()
        await go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    running = await run(nursery, slow)
    async with await running.dial() as stream:
        await stream.send_all(GET)
        await started.wait()
        running.stop.set()
        await wait_all_tasks_blocked()
        go.set()
        [answer] = parse(await read_all(stream))
    assert (answer.body, answer.headers["connection"]) == (b"ok", "close")
    await running.done.wait()


async def test_a_client_that_does_not_read_cannot_delay_the_end(nursery, caplog):
    running = await run(nursery, create_app(service(BigView(context=CONTEXT))), grace=0.2)
    async with await running.dial() as stream:
        await stream.send_all(b"GET /big HTTP/1.1" + END)
        await stream.receive_some(1)
        began = trio.current_time()
        running.stop.set()
        await running.done.wait()
        assert 0.2 <= trio.current_time() - began < 2
    assert "1 connections were cut off: not done within 0.2 s." in caplog.text


async def test_cancelling_serve_ends_it_at_once(nursery):
    listeners = open_listeners([Bind(host="127.0.0.1"), Bind(host="127.0.0.1")])
    app = create_app(service(BigView(context=CONTEXT)))
    scope = trio.CancelScope()

    async def body(task_status):
        with scope:
            await serve(Edge(app, Limits(), Guard()), listeners, stop=trio.Event(), task_status=task_status)

    async with trio.open_nursery() as inner:
        await inner.start(body)
        stream = await trio.open_tcp_stream(*listeners[0].accepting.socket.getsockname())
        await stream.send_all(b"GET /big HTTP/1.1" + END)
        await stream.receive_some(1)
        began = trio.current_time()
        scope.cancel()
    assert trio.current_time() - began < 1
    assert [listener.accepting.socket.fileno() for listener in listeners] == [-1, -1]
    await stream.aclose()


# On memory streams, under a clock that jumps


@attrs.define(eq=False)
class MemoryListener(trio.abc.Listener):
    """Accepts what the test puts in: streams, and errors to raise."""

    send: object = None
    receive: object = None

    def __attrs_post_init__(self):
        self.send, self.receive = trio.open_memory_channel(100)

    async def accept(self):
        item = await self.receive.receive()
        if isinstance(item, Exception):
            raise item
        return item

    async def aclose(self):
        self.receive.close()


@attrs.define(eq=False)
class Memory:
    listener: MemoryListener
    stop: trio.Event
    done: trio.Event
    guard: Guard

    @classmethod
    async def run(cls, nursery, app):
        memory = cls(MemoryListener(), trio.Event(), trio.Event(), Guard())
        listener = Listener(accepting=memory.listener, address="memory")

        async def body(task_status):
            edge = Edge(app, Limits(), memory.guard)
            await serve(edge, [listener], stop=memory.stop, task_status=task_status)
            memory.done.set()

        await nursery.start(body)
        return memory

    def dial(self, pair=None):
        ours, theirs = pair or memory_stream_pair()
        self.listener.send.send_nowait(theirs)
        return ours


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EIO])
async def test_accepting_survives_every_shortage_with_a_pause_and_few_log_lines(
    nursery, autojump_clock, caplog, code
):
    memory = await Memory.run(nursery, create_app(service()))
    for _ in range(20):
        memory.listener.send.send_nowait(OSError(code, os.strerror(code)))
    stream = memory.dial()
    began = trio.current_time()
    await stream.send_all(GET)
    await read_until(stream, OK)
    assert trio.current_time() - began == pytest.approx(20 * PAUSE)
    assert memory.guard.failures == {"accept": 20}
    assert len(caplog.records) == 1
    memory.stop.set()


async def never(scope, receive, send):
    """Hold on to the request, come what may."""
    await trio.sleep_forever()


async def test_a_request_that_is_never_answered_is_cut_after_the_grace(nursery, autojump_clock):
    memory = await Memory.run(nursery, never)
    stream = memory.dial()
    await stream.send_all(GET)
    await wait_all_tasks_blocked()
    began = trio.current_time()
    memory.stop.set()
    await memory.done.wait()
    assert trio.current_time() - began == pytest.approx(GRACE)
    assert GRACE < 5


async def test_twenty_clients_that_pipeline_and_never_read_do_not_delay_the_end(nursery, autojump_clock):
    memory = await Memory.run(nursery, create_app(service(BigView(context=CONTEXT))))
    for _ in range(20):
        stream = memory.dial(lockstep_stream_pair())
        await stream.send_all((b"GET /big HTTP/1.1" + END) * 10)
    began = trio.current_time()
    memory.stop.set()
    await memory.done.wait()
    assert trio.current_time() - began == pytest.approx(GRACE)


async def test_a_request_that_arrives_with_the_stop_is_still_answered(nursery, autojump_clock):
    memory = await Memory.run(nursery, create_app(service()))
    stream = memory.dial()
    await wait_all_tasks_blocked()
    memory.stop.set()
    await stream.send_all(GET)
    [answer] = parse(await read_all(stream))
    assert answer.headers["connection"] == "close"


async def test_a_connection_accepted_just_before_the_stop_delays_it_by_the_time_for_a_first_request(
    nursery, autojump_clock
):
    memory = await Memory.run(nursery, create_app(service()))
    began = trio.current_time()
    stream = memory.dial()
    memory.stop.set()
    await memory.done.wait()
    assert trio.current_time() - began == FIRST < GRACE
    await stream.aclose()


async def test_serve_without_connections_ends_at_once(nursery, autojump_clock):
    memory = await Memory.run(nursery, create_app(service()))
    began = trio.current_time()
    memory.stop.set()
    await memory.done.wait()
    assert trio.current_time() == began


async def test_an_odd_hypercorn_stops_the_start(monkeypatch):
    monkeypatch.setattr(http1, "version", lambda _: "0.19.1")
    with pytest.raises(Exception, match=r"hypercorn 0\.19\.1 is installed"):
        await serve(Edge(never, Limits(), Guard()), [], stop=trio.Event())


def test_a_stream_without_addresses_has_none():
    left, right = socket.socketpair()
    with left, right:
        unix = trio.SocketStream(trio.socket.from_stdlib_socket(left))
        assert peer_of(unix) == peer_of(object()) == ""


def test_a_client_that_is_gone_has_no_address():
    with socket.socket() as unconnected:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(unconnected))
        assert peer_of(stream) == ""
