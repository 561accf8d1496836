"""The Redis client against servers that are not Redis, or mean harm."""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import trio
import trustme

from statusd.errors import ProbeError
from statusd.net.names import Resolver
from statusd.net.redis import RedisServers
from statusd.net.trace import Trace
from statusd.values import Secret, Url

Behaviour = Callable[[socket.socket, threading.Event], None]


@contextlib.contextmanager
def listening(behave: Behaviour, context: ssl.SSLContext | None = None) -> Iterator[Url]:
    """Serve each connection by `behave`, in a thread, until the block ends and sets the event."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=_accept, args=(listener, behave, context, ended), daemon=True)
        acceptor.start()
        try:
            yield Url.parse(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(5)


def _accept(
    listener: socket.socket, behave: Behaviour, context: ssl.SSLContext | None, ended: threading.Event
) -> None:
    while not ended.is_set():
        with contextlib.suppress(OSError):
            connection, _address = listener.accept()
            threading.Thread(target=_serve, args=(connection, behave, context, ended), daemon=True).start()


def _serve(
    connection: socket.socket, behave: Behaviour, context: ssl.SSLContext | None, ended: threading.Event
) -> None:
    with contextlib.suppress(OSError, ValueError), connection:
        connection.settimeout(10)
        if context is None:
            behave(connection, ended)
        else:
            with context.wrap_socket(connection, server_side=True) as secured:
                behave(secured, ended)


def answering(*replies: bytes) -> Behaviour:
    """Answer the two CLIENT SETINFO of the login with OK, then each command with the next of `replies`."""

    def behave(connection: socket.socket, _ended: threading.Event) -> None:
        answer(connection, b"+OK\r\n", b"+OK\r\n", *replies)
        while connection.recv(4096):
            pass

    return behave


def answer(connection: socket.socket, *replies: bytes) -> None:
    """Read a command for each of `replies`, and send it."""
    with connection.makefile("rb") as lines:
        for reply in replies:
            for _ in range(2 * int(lines.readline()[1:])):
                lines.readline()
            connection.sendall(reply)


def greeting(*data: bytes) -> Behaviour:
    """Send `data` unasked, and then nothing."""

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(b"".join(data))
        ended.wait(10)

    return behave


def repeating(piece: bytes, pause: float = 0.0, first: bytes = b"") -> Behaviour:
    """Answer the first command with `first`, and then `piece` for ever."""

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        answer(connection, b"+OK\r\n", b"+OK\r\n", first)
        while not ended.wait(pause):
            connection.sendall(piece)

    return behave


@pytest.fixture
async def servers():
    clients = RedisServers(Resolver())
    yield clients
    await clients.aclose()


async def failure(servers: RedisServers, at: Url, timeout: float = 5.0, **options: object) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        await servers.client(Trace(), timeout).execute(at, "HGETALL", "k", **options)
    return caught.value


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"$1048577\r\n", "too_large"),
        (b"$9999999999\r\n", "too_large"),
        (b"*65537\r\n", "too_large"),
        (b"*4000000000\r\n", "too_large"),
        (b"*1\r\n" * 100_000, "too_large"),
        (b"+" + b"a" * 20_000, "too_large"),
        (b"*50000\r\n" + b"$20\r\naaaaaaaaaaaaaaaaaaaa\r\n" * 50_000, "too_large"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "protocol_error"),
        (b"%1\r\n+a\r\n+b\r\n", "protocol_error"),
        (b"$x\r\n", "protocol_error"),
        (b":12a\r\n", "protocol_error"),
        (b"*2\r\n+a\r\n+b\r\n+c\r\n", "protocol_error"),
        (b"*1\r\n+a\r\n", "unexpected_answer"),
        (b"*2\r\n*0\r\n*0\r\n", "unexpected_answer"),
        (b"*2\r\n$-1\r\n$-1\r\n", "unexpected_answer"),
        (b"$4\r\nabcd\r\n", "unexpected_answer"),
        (b":0\r\n", "unexpected_answer"),
        (b"$-1\r\n", "unexpected_answer"),
        (b"+OK\r\n", "unexpected_answer"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "unavailable"),
        (b"-BUSY a script runs\r\n", "unavailable"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "unavailable"),
        (b"-CLUSTERDOWN Hash slot not served\r\n", "unavailable"),
        (b"-ERR max number of clients reached\r\n", "unavailable"),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", "unexpected_answer"),
        (b"-ASK 3999 127.0.0.1:6381\r\n", "unexpected_answer"),
        (b"-ERR unknown command\r\n", "unexpected_answer"),
        (b"-\r\n", "unexpected_answer"),
        (b"-NOAUTH Authentication required.\r\n", "unauthorized"),
        (b"-NOPERM no permissions\r\n", "unauthorized"),
        (b"-DENIED Redis is running in protected mode\r\n", "unauthorized"),
        (b"-WRONGTYPE Operation against a key\r\n", "wrong_type"),
        (b"*2\r\n-ERR inside\r\n-ERR inside\r\n", "unexpected_answer"),
    ],
)
async def test_every_reply_that_is_no_hash_has_its_reason(servers, reply, reason):
    with listening(answering(reply)) as at:
        error = await failure(servers, at)
        assert error.reason == reason
        assert len(error.message) < 200


async def test_a_server_that_sends_more_than_it_was_asked_does_not_answer_the_next_command(servers):
    extra = b"*2\r\n+a\r\n+stale\r\n"
    with listening(answering(b"*2\r\n$1\r\na\r\n$5\r\nfresh\r\n", b"*0\r\n" + extra)) as at:
        ask = servers.client(Trace(), 5)
        assert await ask.execute(at, "HGETALL", "k") == {b"a": b"fresh"}
        assert (await failure(servers, at)).reason == "protocol_error"
        assert await ask.execute(at, "HGETALL", "k") == {b"a": b"fresh"}


@pytest.mark.parametrize(
    "greets",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"220 mail.example ESMTP\r\n",
        b"\x15\x03\x03\x00\x02\x02\x50",
        b"\x00" * 100,
        b"+OK\r\n",
        b"J\x00\x00\x00\n8.0.33\x00",
    ],
)
async def test_a_server_that_speaks_first_is_not_redis(servers, greets):
    with listening(greeting(greets, greets)) as at:
        assert (await failure(servers, at)).reason == "protocol_error"


async def test_an_http_server_is_not_redis(servers):
    def http(connection: socket.socket, _ended: threading.Event) -> None:
        asked = connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + asked)

    trace = Trace(is_recording=True)
    with listening(http) as at, pytest.raises(ProbeError) as caught:
        await servers.client(trace, 5).execute(at, "HGETALL", "k", password=Secret("hunter2"))
    assert caught.value.reason == "protocol_error"
    assert caught.value.message.startswith(f"{at.authority} does not answer in Redis protocol")
    (received,) = [step.text for step in trace.steps if step.kind == "received"]
    assert received.startswith("HTTP/1.1 400 Bad Request")
    assert "***" in received
    assert "hunter2" not in received


async def test_a_server_that_hangs_up_is_a_lost_connection(servers):
    with listening(lambda *_: None) as at:
        assert (await failure(servers, at)).reason == "connection_lost"


@pytest.mark.parametrize(
    "behave",
    [
        greeting(),
        repeating(b"a", pause=0.05, first=b"+"),
        repeating(b"a", pause=0.05, first=b"$1000000\r\n"),
        repeating(b":1\r\n", pause=0.05, first=b"*60000\r\n"),
    ],
    ids=["silence", "dripping line", "dripping string", "dripping array"],
)
async def test_silence_and_drips_end_at_the_timeout_and_when_cancelled(servers, behave):
    with listening(behave) as at:
        began = time.monotonic()
        assert (await failure(servers, at, timeout=0.2)).reason == "timeout"
        with trio.move_on_after(0.2) as scope:
            await servers.client(Trace(), 30).execute(at, "HGETALL", "k")
        assert scope.cancelled_caught
        assert 0.39 < time.monotonic() - began < 1
        thread = next(thread for thread in threading.enumerate() if thread.name == f"redis {at.authority}")
        assert thread.is_alive()
        servers.close()
        thread.join(1)
        assert not thread.is_alive(), "the thread was not free"


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (repeating(b"x" * 65536, first=b"$900000\r\n"), "protocol_error"),
        (repeating(b"*1\r\n" * 1000), "too_large"),
        (repeating(b":1\r\n" * 1000, first=b"*65536\r\n"), "protocol_error"),
        (repeating(b"a" * 65536, first=b"+"), "too_large"),
        (repeating(b"$0\r\n\r\n" * 1000, first=b"*65536\r\n"), "protocol_error"),
        (repeating(b"$1000\r\n" + b"x" * 1000 + b"\r\n", first=b"*65536\r\n"), "too_large"),
    ],
)
async def test_an_endless_reply_costs_little_memory_and_time(servers, behave, reason):
    with listening(behave) as at:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        error = await failure(servers, at)
        assert error.reason == reason
        assert time.monotonic() - began < 2
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


async def test_the_largest_reply_within_the_limits_hardly_holds_the_loop(servers):
    pairs = 32_768
    reply = b"*%d\r\n" % (2 * pairs) + b"".join(
        b"$5\r\n%05d\r\n$1\r\nx\r\n" % number for number in range(pairs)
    )
    with listening(answering(reply)) as at:
        lags = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_lag, lags)
            fields = await servers.client(Trace(is_recording=True), 5).execute(at, "HGETALL", "k")
            nursery.cancel_scope.cancel()
        assert len(fields) == pairs
        assert max(lags) < 0.25  # generous: other work shares the processors


async def _lag(lags: list[float]) -> None:
    while True:
        began = time.monotonic()
        await trio.sleep(0.001)
        lags.append(time.monotonic() - began)


async def test_an_error_that_quotes_the_password_does_not_reach_message_trace_or_cause(servers):
    quote = b"-ERR unknown command `AUTH`, with args beginning with: `hunter2`,\r\n"

    def quoting(connection: socket.socket, _ended: threading.Event) -> None:
        while connection.recv(1000):
            connection.sendall(quote)

    trace = Trace(is_recording=True)
    with listening(quoting) as at, pytest.raises(ProbeError) as caught:
        await servers.client(trace, 5).execute(at, "HGETALL", "k", password=Secret("hunter2"))
    assert caught.value.reason == "unexpected_answer"
    assert "hunter2" not in repr((caught.value, caught.value.__cause__, trace.steps))
    assert caught.value.__suppress_context__
    assert "-(not shown: it may quote the password)" in [step.text for step in trace.steps]


async def test_an_error_reply_to_the_command_is_traced_without_the_password(servers):
    replies = (b"-ERR no, hunter2\r\n",)
    trace = Trace(is_recording=True)
    with listening(answering(b"+OK\r\n", *replies)) as at, pytest.raises(ProbeError):
        await servers.client(trace, 5).execute(at, "HGETALL", "k", password=Secret("hunter2"))
    assert [step.text for step in trace.steps if step.kind == "received"] == ["-no, ***"]


async def test_a_server_without_client_setinfo_and_acl_still_answers(servers):
    def old(connection: socket.socket, _ended: threading.Event) -> None:
        """Redis 5: AUTH takes one argument, CLIENT SETINFO and HELLO do not exist."""
        with connection.makefile("rb") as lines:
            while header := lines.readline():
                words = [(lines.readline(), lines.readline().strip())[1] for _ in range(int(header[1:]))]
                connection.sendall(_as_redis_5(words))

    with listening(old) as at:
        ask = servers.client(Trace(), 5)
        assert await ask.execute(at, "HGETALL", "k", username="u", password=Secret("pw")) == {b"a": b"1"}
        assert await ask.execute(at, "HGETALL", "k", password=Secret("pw")) == {b"a": b"1"}


def _as_redis_5(words: list[bytes]) -> bytes:
    if words[0] == b"AUTH":
        return (
            b"+OK\r\n" if words[1:] == [b"pw"] else b"-ERR wrong number of arguments for 'auth' command\r\n"
        )
    if words[0] == b"HGETALL":
        return b"*2\r\n$1\r\na\r\n$1\r\n1\r\n"
    return b"-ERR Unknown subcommand or wrong number of arguments\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path) -> str:
    path = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(path)
    return path


def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def secure(url: Url) -> Url:
    return url.with_scheme("rediss")


async def test_tls_is_spoken_and_the_connection_kept(servers, authority, ca_file):
    reply = b"*2\r\n$1\r\na\r\n$1\r\n1\r\n"
    with listening(answering(reply, reply, reply), serving(authority, "127.0.0.1")) as at:
        for _ in range(3):
            trace = Trace(is_recording=True)
            fields = await servers.client(trace, 5).execute(secure(at), "HGETALL", "k", ca_file=ca_file)
            assert fields == {b"a": b"1"}
        assert [step.text for step in trace.steps if step.kind == "sent"] == ["HGETALL k"]


async def test_tls_wants_a_trusted_certificate_for_the_right_name(servers, authority, ca_file, tmp_path):
    with listening(answering(), serving(authority, "127.0.0.1")) as at:
        assert (await failure(servers, secure(at))).reason == "tls_failed"
    with listening(answering(), serving(authority, "10.0.0.1")) as at:
        error = await failure(servers, secure(at), ca_file=ca_file)
        assert (error.reason, "another name" in error.message) == ("tls_failed", True)
    with listening(answering()) as at:
        assert (await failure(servers, secure(at), ca_file=str(tmp_path / "absent"))).reason == "tls_failed"


async def test_tls_to_a_server_that_speaks_none_is_told(servers):
    with listening(greeting(b"-ERR Protocol error\r\n")) as at:
        assert (await failure(servers, secure(at))).reason == "tls_failed"
    with listening(lambda *_: None) as at:
        assert (await failure(servers, secure(at))).reason in {"tls_failed", "connection_lost"}
    with listening(greeting()) as at:
        assert (await failure(servers, secure(at), timeout=0.2)).reason == "timeout"


async def test_plain_to_a_server_that_wants_tls_is_told(servers, authority):
    with listening(answering(), serving(authority, "127.0.0.1")) as at:
        assert (await failure(servers, at)).reason in {"protocol_error", "connection_lost"}


async def test_a_cancelled_command_over_tls_frees_the_thread_and_mixes_no_replies(
    servers, authority, ca_file
):
    def slow_once(connection: socket.socket, ended: threading.Event) -> None:
        if not first.is_set():
            first.set()
            answering()(connection, ended)  # reads the command, and says nothing
            return
        answering(b"*2\r\n$1\r\na\r\n$5\r\nfresh\r\n")(connection, ended)

    first = threading.Event()
    with listening(slow_once, serving(authority, "127.0.0.1")) as at:
        ask = servers.client(Trace(), 30)
        with trio.move_on_after(0.2) as scope:
            await ask.execute(secure(at), "HGETALL", "k", ca_file=ca_file)
        assert scope.cancelled_caught
        began = time.monotonic()
        assert await ask.execute(secure(at), "HGETALL", "k", ca_file=ca_file) == {b"a": b"fresh"}
        assert time.monotonic() - began < 1
