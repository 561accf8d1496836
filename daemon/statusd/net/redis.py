"""The Redis client that probes use: commands in, replies out, the waiting done by a thread of each server.

The protocol spoken is RESP2, which every version of Redis, Valkey and their kin understands without ``HELLO``; where
changes are listened to, on a connection of its own, it is RESP3.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import attrs
import trio

from statusd.errors import ProbeError
from statusd.net.names import Resolver
from statusd.net.redis_job import Address, Job, NotConnectedError, Target
from statusd.net.redis_thread import Server
from statusd.net.redis_watch import Watch
from statusd.net.tls import TlsTarget, tls_target
from statusd.net.trace import Trace
from statusd.values import Secret, Url

_JOIN: Final = 1.0
"""Seconds for a thread to end whose socket was just shut down."""


class RedisServers:
    """All Redis servers that are asked, each with its thread and its one connection; one object for the daemon.

    A server is a URL with credentials and CA file: sources that agree in all of these share a connection, and
    their commands go one after another.

    Args:
        resolver: resolves host names; asked only when there is no connection yet.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._servers: dict[Target, Server] = {}
        self._clients: dict[Target, set[RedisClient]] = {}
        self._watches: set[Watch] = set()
        self._is_closed = False

    def client(self, trace: Trace, timeout: float) -> RedisClient:
        """Return the client of one source.

        Args:
            trace: where to note phases, commands and replies.
            timeout: seconds after which a command ends on its own; the caller's cancel scope may end it earlier.
        """
        return RedisClient(self, trace, timeout)

    def server(self, target: Target, client: RedisClient) -> Server:
        """Return the server for `target`, the same one for each `client` until none has any use for it."""
        if self._is_closed:
            raise trio.ClosedResourceError("the Redis clients are closed")
        if target not in self._servers:
            self._servers[target] = Server(target)
        self._clients.setdefault(target, set()).add(client)
        return self._servers[target]

    async def leave(self, client: RedisClient) -> None:
        """Note that `client` asks no more, and close the connections that were its alone."""
        for target, clients in [*self._clients.items()]:
            clients.discard(client)
            if not clients:
                del self._clients[target]
                server = self._servers.pop(target)
                server.close()
                await trio.to_thread.run_sync(server.join, _JOIN)

    async def route(self, target: Target) -> tuple[Sequence[Address], TlsTarget | None]:
        """Return where `target` listens, one address at least, and whom to expect there with TLS."""
        if target.path:
            return [(socket.AF_UNIX, target.path)], None
        addresses = await self._resolver.resolve(target.host, target.port)
        return addresses, await tls_target(target.host, target.ca_file) if target.is_tls else None

    async def listen(self, watch: Watch) -> None:
        """Run `watch`, which ends with these clients."""
        if self._is_closed:
            raise trio.ClosedResourceError("the Redis clients are closed")
        self._watches.add(watch)
        try:
            await watch.run()
        finally:
            self._watches.discard(watch)

    def close(self) -> None:
        """End every command, close every connection and let the threads end; later commands fail."""
        self._is_closed = True
        for each in self._threads():
            each.close()

    def _threads(self) -> list[Server | Watch]:
        return [*self._servers.values(), *self._watches]

    async def aclose(self) -> None:
        """Close as `close` does, and wait for the threads to end."""
        self.close()
        limiter = trio.CapacityLimiter(1)
        for each in self._threads():
            await trio.to_thread.run_sync(each.join, _JOIN, limiter=limiter)


@attrs.frozen(eq=False)
class RedisClient:
    """A `statusd.RedisClient` over the shared `RedisServers`."""

    _servers: RedisServers
    _trace: Trace
    _timeout: float

    async def execute(
        self,
        url: Url,
        *command: str | bytes | int,
        username: str = "",
        password: Secret | None = None,
        ca_file: str = "",
    ) -> Any:
        """Send one command and return its reply, as `statusd.RedisClient.execute` says.

        When the caller's cancel scope ends the wait, the connection is shut down at once, so that no later command
        can get this one's reply.
        """
        for part in command:
            if isinstance(part, bool) or not isinstance(part, str | bytes | int):
                raise TypeError("a Redis command consists of str, bytes and int")
        if not command:
            raise TypeError("a Redis command has at least a name")
        target = _target(url, username, password, ca_file)
        server = self._servers.server(target, self)
        job = Job(command=command, trace=self._trace, deadline=time.monotonic() + self._timeout)
        if target.path:
            job.addresses = [(socket.AF_UNIX, target.path)]
        try:
            return await server.ask(job)
        except NotConnectedError:
            self._trace.enter(f"resolving {target.host}")
            addresses, tls = await self._servers.route(target)
        return await server.ask(attrs.evolve(job, addresses=addresses, tls=tls))

    async def aclose(self) -> None:
        """Close the connections that no other source shares."""
        await self._servers.leave(self)

    async def watch(
        self,
        url: Url,
        *keys: str,
        changed: Callable[[], None],
        username: str = "",
        password: Secret | None = None,
        ca_file: str = "",
    ) -> None:
        """Listen for changes of `keys`, as `statusd.RedisClient.watch` says.

        Like that for commands the connection is replaced once it is `MAX_KEPT_AGE` old; as each new one calls
        `changed`, nothing is missed in between.
        """
        if not keys:
            raise TypeError("there is no key to watch")
        names = frozenset(key.encode() for key in keys)
        target = _target(url, username, password, ca_file)
        while True:
            with trio.move_on_after(self._timeout) as scope:
                addresses, tls = await self._servers.route(target)
            if scope.cancelled_caught:
                raise ProbeError("timeout", f"The name {target.host} was not looked up in time.")
            watch = Watch(
                target=target,
                addresses=addresses,
                tls=tls,
                keys=names,
                changed=changed,
                timeout=self._timeout,
            )
            await self._servers.listen(watch)


def _target(url: Url, username: str, password: Secret | None, ca_file: str) -> Target:
    if url.scheme not in {"redis", "rediss", "unix"}:
        raise ProbeError(
            "unexpected_answer", "The URL is not one of Redis: use redis://, rediss:// or unix://."
        )
    query = parse_qs(url.query)
    database = query.get("db", [""])[-1]
    path = ""
    if url.scheme == "unix":
        path = unquote(url.path)
        if not path or "\0" in path:
            raise ProbeError("not_found", "The unix:// URL names no socket: use unix:///path/to/redis.sock.")
    else:
        database = database or unquote(url.path).strip("/")
    if not re.fullmatch(r"[0-9]{0,9}", database):
        raise ProbeError("unexpected_answer", "The URL's database is not a number: use redis://host:6379/0.")
    return Target(
        host=url.host or "localhost",
        port=url.port or 6379,
        path=path,
        is_tls=url.scheme == "rediss",
        database=int(database or 0),
        username=url.username or Secret(username),
        password=url.password or password or Secret(),
        ca_file=ca_file,
    )
