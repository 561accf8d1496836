"""Listening to servers that know no client tracking, are not Redis, or mean harm."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Callable

import pytest
import trio

from statusd.errors import ProbeError
from statusd.net.names import Resolver
from statusd.net.redis import RedisServers
from statusd.net.redis_frames import FrameReader
from statusd.net.trace import Trace
from statusd.values import Secret, Url

HELLO = b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n"
LOGIN = (HELLO, b"+OK\r\n")
NEWS = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """A heart that beats fast, so that no test waits for it."""
    monkeypatch.setattr("statusd.net.redis_push.HEARTBEAT", 0.05)


@pytest.fixture
async def servers():
    clients = RedisServers(Resolver())
    yield clients
    await clients.aclose()
    assert threads() == []


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("redis watch")]


def answering(*replies: bytes, then: bytes = b"", hangs_up: bool = False):
    """Answer the first commands with `replies`, and every further one, or only one, with `then`."""

    async def script(server, stream):
        left = list(replies)
        reader = FrameReader("the client")
        while data := await stream.receive_some():
            for command in reader.feed(data):
                server.seen.append(command.value)
                is_last = hangs_up and not left
                if reply := left.pop(0) if left else then:
                    await stream.send_all(reply)
                if is_last:
                    return

    return script


def repeating(piece: bytes, pause: float = 0.0):
    """Answer the login, and then send `piece` for ever, whatever is asked."""

    async def script(server, stream):
        for reply in LOGIN:
            await stream.receive_some()
            await stream.send_all(reply)
        while True:
            await stream.send_all(piece)
            await trio.sleep(pause)

    return script


class Heard:
    """What a watch came to."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


async def failure(
    servers: RedisServers, port: int, heard: Callable[[], None] | None = None, timeout: float = 5.0, **options
) -> ProbeError:
    at = Url.parse(f"redis://127.0.0.1:{port}")
    with trio.fail_after(40), pytest.raises(ProbeError) as caught:
        await servers.client(Trace(), timeout).watch(at, "k", changed=heard or Heard(), **options)
    assert threads() == []
    assert len(caught.value.message) < 200
    return caught.value


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        (
            (b"-ERR unknown command `HELLO`, with args beginning with: `3`, `hunter2`\r\n",),
            "unexpected_answer",
        ),
        ((b"-NOPROTO unsupported protocol version\r\n",), "unexpected_answer"),
        ((b"*2\r\n$5\r\nproto\r\n:2\r\n",), "unexpected_answer"),
        ((b"+OK\r\n",), "unexpected_answer"),
        ((b"_\r\n",), "unexpected_answer"),
        ((b"!8\r\nERR what\r\n",), "unexpected_answer"),
        (
            (HELLO, b"-ERR Unknown subcommand or wrong number of arguments for 'TRACKING'\r\n"),
            "unexpected_answer",
        ),
        ((HELLO, b"-ERR syntax error\r\n"), "unexpected_answer"),
        ((HELLO, b"-NOPERM this user has no permissions\r\n"), "unauthorized"),
        ((b"-NOAUTH HELLO must be called with the client already authenticated\r\n",), "unauthorized"),
        ((b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",), "unauthorized"),
        ((b"-DENIED Redis is running in protected mode\r\n",), "unauthorized"),
        ((b"-ERR max number of clients reached\r\n",), "unavailable"),
        ((HELLO, b"-LOADING Redis is loading the dataset in memory\r\n"), "unavailable"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "protocol_error"),
        ((b"\x15\x03\x03\x00\x02\x02\x50",), "protocol_error"),
        ((HELLO, b"+OK\r\n+OK\r\n"), "protocol_error"),
        ((b">1\r\n" * 10,), "protocol_error"),
        ((b">4000000000\r\n",), "too_large"),
        ((HELLO, b">1\r\n$2000000\r\n"), "too_large"),
        ((b"%2000000\r\n",), "too_large"),
        ((b"*1\r\n" * 1000,), "too_large"),
        ((b"+" + b"a" * 20_000,), "too_large"),
    ],
)
async def test_every_server_that_announces_nothing_has_its_reason(servers, serve, replies, reason):
    server = await serve(answering(*replies))
    heard = Heard()
    error = await failure(servers, server.port, heard, timeout=1, password=Secret("hunter2"))
    assert error.reason == reason
    assert "hunter2" not in repr((error, error.__cause__, error.__context__))
    assert heard.count <= 1


async def test_what_is_said_is_no_more_than_the_login_the_wish_and_a_heartbeat(servers, serve):
    server = await serve(answering(*LOGIN, hangs_up=True))
    await failure(servers, server.port, username="u", password=Secret("pw"))
    assert server.seen == [
        [b"HELLO", b"3", b"AUTH", b"u", b"pw"],
        [b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", b"k"],
        [b"PING"],
    ]
    server.seen.clear()
    await failure(servers, server.port, password=Secret("pw"))
    assert server.seen[0] == [b"HELLO", b"3", b"AUTH", b"default", b"pw"]
    server.seen.clear()
    await failure(servers, server.port)
    assert server.seen[0] == [b"HELLO", b"3"]


@pytest.mark.parametrize(
    ("news", "calls"),
    [
        (NEWS, 2),
        (b">2\r\n+invalidate\r\n_\r\n", 2),
        (b">2\r\n+invalidate\r\n$-1\r\n", 2),
        (b">2\r\n$10\r\ninvalidate\r\n*3\r\n$1\r\na\r\n$1\r\nk\r\n$2\r\nkk\r\n", 2),
        (b">2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\nkk\r\n*1\r\n$1\r\nk\r\n", 1),
        (b">2\r\n$10\r\ninvalidate\r\n*0\r\n", 1),
        (b">2\r\n$10\r\ninvalidate\r\n$1\r\nk\r\n", 1),
        (b">1\r\n$10\r\ninvalidate\r\n", 1),
        (b">3\r\n$7\r\nmessage\r\n$1\r\nk\r\n$1\r\nk\r\n", 1),
        (b">0\r\n", 1),
        (b"", 1),
    ],
)
async def test_what_counts_as_news(servers, serve, news, calls):
    # Sent in place of the first PONG, and so some time after listening began.
    server = await serve(answering(*LOGIN, then=news, hangs_up=True))
    heard = Heard()
    assert (await failure(servers, server.port, heard)).reason == "connection_lost"
    assert heard.count == calls


async def test_a_server_that_hangs_up_is_a_lost_connection(servers, serve):
    async def nothing(_server, _stream):
        pass

    server = await serve(nothing)
    assert (await failure(servers, server.port)).reason == "connection_lost"


@pytest.mark.parametrize(
    "script",
    [
        answering(),
        answering(HELLO),
        answering(*LOGIN),
        answering(HELLO[:20]),
        answering(*LOGIN, then=NEWS[:20]),
        repeating(NEWS, pause=0.02),
        repeating(b"$", pause=0.02),
    ],
    ids=["silence", "half a login", "no heart", "half a reply", "half a push", "drips of news", "drips"],
)
async def test_silence_and_drips_end_in_time_and_at_once_when_cancelled(servers, serve, script):
    server = await serve(script)
    assert (await failure(servers, server.port, timeout=0.2)).reason == "timeout"
    with trio.move_on_after(0.1) as scope:
        await failure(servers, server.port, timeout=30)
    assert scope.cancelled_caught
    assert threads() == []


async def test_an_address_that_drops_everything_is_given_up_at_the_timeout_and_when_cancelled(servers):
    with socket.socket() as listener, socket.socket() as filler, socket.socket() as more:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for each in (filler, more):
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        assert (await failure(servers, port, timeout=0.1)).reason == "timeout"
        with trio.move_on_after(0.1) as scope:
            await failure(servers, port, timeout=30)
        assert scope.cancelled_caught
        assert threads() == []


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        (NEWS * 1000, "too_large"),
        (b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nx\r\n" * 1000, "too_large"),
        (b">1\r\n$500000\r\n" + b"x" * 500_000 + b"\r\n", "too_large"),
        (b">1\r\n_\r\n" * 5000, "too_large"),
        (b"*1\r\n" * 1000, "too_large"),
        (b"+" + b"a" * 60_000, "too_large"),
        (b":1\r\n" * 1000, "protocol_error"),
    ],
)
async def test_an_endless_flood_ends_and_costs_little_memory(servers, serve, monkeypatch, piece, reason):
    monkeypatch.setattr("statusd.net.redis_push.HEARTBEAT", 60.0)  # however slow this machine is
    server = await serve(repeating(piece))
    heard = Heard()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (await failure(servers, server.port, heard)).reason == reason
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


async def test_a_steady_stream_of_news_with_a_beating_heart_goes_on(servers, serve):
    server = await serve(answering(*LOGIN, then=NEWS + b"+PONG\r\n"))
    heard = Heard()
    with trio.move_on_after(5) as scope:
        async with trio.open_nursery() as nursery:
            at = Url.parse(f"redis://127.0.0.1:{server.port}")
            client = servers.client(Trace(), 5)
            nursery.start_soon(lambda: client.watch(at, "k", changed=heard))
            while heard.count < 5:
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
    assert not scope.cancelled_caught
