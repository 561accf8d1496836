"""A simulated upstream: a real server on real sockets that behaves as it is told, from one moment to the next."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

import attrs
import trio

from statusd.testing.behaviours import Answer, Behaviour, Drop, Exchange, Port
from statusd.testing.wire import MalformedRequestError, Request, RequestReader, Response

RESET: Final = struct.pack("ii", 1, 0)
"""``SO_LINGER`` on, zero seconds: close() sends RST (socket(7))."""
FILLERS: Final = 4
"""Connections that fill a backlog of zero, with some to spare."""


@attrs.define(eq=False, kw_only=True)
class Upstream:
    """A server on loopback that records what it is asked and can misbehave; base of the simulators.

    Use it as an async context manager, or by ``await nursery.start(upstream.run)``. Assigning `behaviour` takes
    effect at once: an answer in progress is cut off, kept connections follow the new behaviour at their next
    request, or are closed where it says so.

    Attributes:
        host: an IP address to listen on; the port is chosen by the system and stays the same for its life.
        unix_socket: path of a Unix socket to listen on instead.
        tls: a server-side context, to speak TLS.
        requests: every request read so far.
        accepted: number of connections accepted so far.
        port: the port, once it runs.
    """

    host: str = "127.0.0.1"
    unix_socket: str = ""
    tls: ssl.SSLContext | None = None
    requests: list[Request] = attrs.field(factory=list, init=False)
    accepted: int = attrs.field(default=0, init=False)
    port: int = attrs.field(default=0, init=False)
    _behaviour: Behaviour = attrs.field(factory=Answer)
    _reserved: socket.socket | None = attrs.field(default=None, init=False)
    _listener: trio.SocketListener | None = attrs.field(default=None, init=False)
    _fillers: list[socket.socket] = attrs.field(factory=list, init=False)
    _connections: set[trio.CancelScope] = attrs.field(factory=set, init=False)
    _exchanges: set[trio.CancelScope] = attrs.field(factory=set, init=False)
    _arrived: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _managers: list[Any] = attrs.field(factory=list, init=False)

    def respond(self, request: Request) -> Response:
        """Return the normal answer to `request`; simulators override it."""
        del request
        return Response.json({"ok": True})

    async def answer(self, exchange: Exchange) -> None:
        """Send the normal answer; simulators of other protocols override it."""
        await exchange.send_response(self.respond(exchange.request))

    @property
    def url(self) -> str:
        """The address as clients write it, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://localhost" if self.unix_socket else f"{scheme}://{host}:{self.port}"

    @property
    def targets(self) -> list[str]:
        """Method and target of every request so far, as ``"GET /health"``."""
        return [f"{request.method} {request.target}" for request in self.requests]

    @property
    def open_connections(self) -> int:
        """Number of connections open now."""
        return len(self._connections)

    @property
    def behaviour(self) -> Behaviour:
        """What it does with connections and requests."""
        return self._behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        before, self._behaviour = self._behaviour, behaviour
        if self._nursery is None:
            return
        for scope in list(self._connections if behaviour.closes else self._exchanges):
            scope.cancel()
        if behaviour.port is not before.port:
            self._close_port()
            self._open_port()
            self._start_accepting()

    async def wait_for_requests(self, count: int) -> None:
        """Wait until it has read `count` requests in all."""
        while len(self.requests) < count:
            await self._arrived.park()

    async def run(self, *, task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; the started value is the upstream itself."""
        with self._sockets():
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._start_accepting()
                # A task that never ends keeps the nursery open while the port is closed.
                nursery.start_soon(trio.sleep_forever)
                task_status.started(self)

    async def __aenter__(self) -> Self:
        manager = trio.open_nursery()
        nursery = await manager.__aenter__()
        self._managers.append((manager, nursery.cancel_scope))
        try:
            await nursery.start(self.run)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The nursery never sees the block's own exception, so it leaves as it is, not in an ExceptionGroup.
        manager, scope = self._managers.pop()
        scope.cancel()
        await manager.__aexit__(None, None, None)

    @contextlib.contextmanager
    def _sockets(self) -> Iterator[None]:
        if not self.unix_socket:
            self._reserved = self._bound(self.port)
            self.port = self._reserved.getsockname()[1]
        try:
            self._open_port()
            yield
        finally:
            self._nursery = None
            self._close_port()
            if self._reserved is not None:
                self._reserved.close()
                self._reserved = None
            if self.unix_socket:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.unix_socket)  # noqa: PTH108  # the pair of bind(), on a name that is no file

    def _bound(self, port: int) -> socket.socket:
        bound = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            # Two sockets may share an address while at most one of them listens (socket(7), SO_REUSEADDR): the first
            # one reserves the port, and never listens, so that connecting is refused while there is no other.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(self.unix_socket or (self.host, port))
        except OSError:
            bound.close()
            raise
        return bound

    @property
    def _family(self) -> socket.AddressFamily:
        if self.unix_socket:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def _open_port(self) -> None:
        if self._behaviour.port is Port.CLOSED:
            return
        if self.unix_socket:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.unix_socket)  # noqa: PTH108  # bind() wants the name free
        listening = self._bound(self.port)
        is_silent = self._behaviour.port is Port.SILENT
        listening.listen(0 if is_silent else 128)
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        for _ in range(FILLERS if is_silent else 0):
            filler = socket.socket(self._family, socket.SOCK_STREAM)
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
            self._fillers.append(filler)

    def _start_accepting(self) -> None:
        if self._listener is not None and self._behaviour.port is Port.OPEN:
            assert self._nursery is not None
            self._nursery.start_soon(self._accept, self._listener)

    def _close_port(self) -> None:
        if self._listener is not None:
            self._listener.socket.close()
            self._listener = None
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    async def _accept(self, listener: trio.SocketListener) -> None:
        assert self._nursery is not None
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                return
            self.accepted += 1
            self._nursery.start_soon(self._serve, stream)

    async def _serve(self, transport: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                await self._converse(transport)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the client went away, which is its right
            finally:
                self._connections.discard(scope)
                if isinstance(self._behaviour, Drop) and self._behaviour.is_reset:
                    transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                transport.socket.close()

    async def _converse(self, transport: trio.SocketStream) -> None:
        if self._behaviour.closes:
            return
        if not self._behaviour.reads:
            with self._interruptible():
                await trio.sleep_forever()
            return
        stream: trio.abc.Stream = transport
        if self.tls is not None:
            stream = trio.SSLStream(transport, self.tls, server_side=True, https_compatible=True)
        reader = RequestReader(stream)
        while await self._exchange(reader, stream):
            pass
        await stream.aclose()

    async def _exchange(self, reader: RequestReader, stream: trio.abc.Stream) -> bool:
        try:
            request = await reader.receive()
        except MalformedRequestError:
            await stream.send_all(Response.text("not HTTP", 400).encode(is_keep_alive=False))
            return False
        if request is None:
            return False
        self.requests.append(request)
        self._arrived.unpark_all()
        exchange = Exchange(request=request, stream=stream, respond=self.respond, answer=self.answer)
        with self._interruptible() as scope:
            await self._behaviour.perform(exchange)
        return not (scope.cancelled_caught or exchange.is_last or not request.is_keep_alive)

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[trio.CancelScope]:
        """Open a scope that the next change of behaviour cancels."""
        with trio.CancelScope() as scope:
            self._exchanges.add(scope)
            try:
                yield scope
            finally:
                self._exchanges.discard(scope)
