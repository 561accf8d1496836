"""What is said on a connection beyond the front stage: a protocol, and the requests that the application answers."""

from __future__ import annotations

import math
import re
import socket
from typing import TYPE_CHECKING, Final

import trio

from statusd.web.access import is_probe
from statusd.web.edge.admission import Stage
from statusd.web.edge.http1 import Http
from statusd.web.edge.http2 import Http2
from statusd.web.edge.shared import Queue
from statusd.web.edge.wire import Address, Message, Send
from statusd.web.patience import Patience

if TYPE_CHECKING:
    from statusd.web.edge.connection import Connection

# No part of it can begin where another may end: a search that goes back would take quadratic time.
_PROBE: Final = re.compile(rb"[A-Z]+ (/[!->@-~]*)(?:\?[!-~]*)? HTTP/1\.[01]\r\n(?:[^\r\n]+\r\n){0,30}\r\n")


class Talk:
    """The wire between a protocol and a connection.

    What the application sends is shielded from the application's own cancellation, for otherwise protocol state and
    bytes on the wire would part; the deadline of the connection, and its `abort`, end that, too.

    Args:
        connection: the one.
    """

    def __init__(self, connection: Connection) -> None:
        self.is_tls = connection.is_tls
        self.is_probes_only = connection.is_probes_only
        self.refusal = connection.refusal
        self.peer = connection.peer
        self.patience = Patience(is_over=connection.refusal > 0)
        self._connection = connection
        self._reading = trio.CancelScope()
        self._delivering: set[trio.CancelScope] = set()
        self._sending = trio.Lock()
        self._answered = trio.Event()
        self._http: Http | Http2 | None = None

    @property
    def client(self) -> Address:
        """The peer's address, or None."""
        return _address(self._connection.stream, "getpeername")

    @property
    def server(self) -> Address:
        """Our own address, or None."""
        return _address(self._connection.stream, "getsockname")

    @property
    def is_last(self) -> bool:
        """Whether no further request is served after the one that is being answered."""
        return self._connection.is_last

    async def run(self, data: bytes) -> None:
        """Serve from `data` on, until nothing more is to be read or said.

        Args:
            data: what the front stage could not answer.
        """
        try:
            async with trio.open_nursery() as nursery:
                kind = Http2 if self._connection.is_h2 else Http
                self._http = http = kind(self._connection.edge, self, nursery)
                with self._reading:
                    await self._read(http, data)
                await http.close()
        finally:
            if self._http is not None:
                self._http.forget()
                self._http = None

    async def write(self, data: bytes) -> None:
        """Send `data`; a client that is gone, or too slow to take it, ends the connection."""
        async with self._sending:
            await self._connection.send(data)

    async def deliver(self, send: Send, message: Message) -> None:
        """Await ``send(message)``, shielded until the connection's deadline; nothing once it has ended."""
        if self._connection.is_ended:
            return
        with trio.CancelScope(shield=True, deadline=self._connection.deadline) as scope:
            self._delivering.add(scope)
            try:
                await send(message)
            finally:
                self._delivering.discard(scope)
        if scope.cancelled_caught:
            self._connection.expire()

    def finish(self) -> bool:
        """Have the protocol end by itself, because the server stops; return whether it can."""
        if not isinstance(self._http, Http2):
            return False
        self._http.finish()
        return True

    def begun(self) -> None:
        """Begin the time for a request's header, unless it runs already."""
        self._connection.begin()

    def busy(self) -> None:
        """Begin the time for requests that have their own: it ends what they do not."""
        limits = self._connection.edge.limits
        self._connection.is_stream = False
        self._connection.busy()
        deadline = trio.current_time() + limits.request_timeout + limits.send_timeout
        self._connection.due_at(deadline, "request_timeout")

    def asked(self) -> None:
        """Count a request, and begin its time."""
        self._connection.take()
        self._connection.busy()
        self._answered = trio.Event()

    def endless(self) -> None:
        """Let the answer take as long as the client listens."""
        self._connection.is_stream = True
        self._connection.due_at(math.inf)
        self._answered.set()

    def idle(self) -> None:
        """Begin the time to the next request."""
        self._connection.idle()
        self._answered.set()

    def end(self) -> None:
        """Say nothing more, and close."""
        self._connection.end()

    def stop(self) -> None:
        """Stop reading; told by the connection, which has ended."""
        self._answered.set()
        self._reading.cancel()

    def hurry(self, deadline: float) -> None:
        """End by then what is being sent; told by the connection."""
        for scope in self._delivering:
            scope.deadline = deadline

    async def _read(self, http: Http | Http2, data: bytes) -> None:
        connection = self._connection
        while True:
            # Many that drip at the same time must not keep the front stage waiting. Who is to leave soon does not wait.
            if data and not connection.refusal:
                await connection.edge.turn(_queue_for(data))
            await http.feed(data)
            if not data:
                await self._finish_half_closed()
                return
            if http.is_receiving and connection.is_busy:
                connection.room.move(connection, Stage.STALLED)
            data = await connection.receive()
            while data and not connection.is_busy and http.is_between:
                front = connection.front
                if front is None or not await connection.answer(front, data):
                    break
                data = await connection.receive()
            if connection.is_broken:
                return
            if connection.is_busy and http.is_receiving:
                connection.room.move(connection, Stage.BUSY)

    async def _finish_half_closed(self) -> None:
        """Answer what it has asked: it may have closed its half only. Most likely it is gone, so nothing waits for it."""
        connection = self._connection
        self.patience.end()
        while connection.is_busy and not connection.is_ended:
            if connection.is_stream:  # which has no end to wait for
                connection.abort()
            await self._answered.wait()


def _queue_for(data: bytes) -> Queue:
    """Return where what has come waits to be understood: the whole header of a request for a probe endpoint apart."""
    match = _PROBE.fullmatch(data)
    return Queue.PROBES if match and is_probe(match[1].decode()) else Queue.OTHERS


def _address(stream: object, which: str) -> Address:
    """Return an address of the socket below `stream`; None for what has none: Unix sockets, clients that are gone."""
    sock = getattr(stream, "socket", None)
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    try:
        name = getattr(sock, which)()
    except OSError:
        return None
    return name[0], name[1]
