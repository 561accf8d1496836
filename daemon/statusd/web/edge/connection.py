"""The life of one connection: its deadlines, its writes, its end."""

from __future__ import annotations

import math
import os
import socket
from typing import Final

import attrs
import trio

from statusd.web.edge.front import Front, Reply
from statusd.web.edge.http1 import Http
from statusd.web.edge.shared import Edge
from statusd.web.edge.tls import TlsStream, shake_hands, take_leave
from statusd.web.edge.traffic import FRONT, Exchange
from statusd.web.edge.wire import Address, Message, Send

READ: Final = 8 * 1024
"""Bytes asked of the socket at once; a header can exceed its limit by no more."""

PIECE: Final = 64 * 1024
"""Bytes of an answer that share one send deadline."""

GLANCE: Final = 0.05
"""Seconds left to an idle connection when the server stops."""

LINGER: Final = 1 << 20
"""Bytes of unread input that are drained at most after the last answer."""


@attrs.define(eq=False, kw_only=True)
class Connection:
    """Serves HTTP on one stream and closes it; nothing it does can outlast its deadlines.

    One cancel scope spans it all, and its deadline moves with what is awaited: a header, an answer, the next
    request. What the application sends is shielded from the application's own cancellation, for otherwise
    protocol state and bytes on the wire would part; `abort` ends that, too.

    Attributes:
        stream: the byte stream; owned.
        edge: what connections share.
        peer: the peer's address as people write it; ``""`` when it has none.
        is_tls: whether the client is to speak TLS; `stream` is then encrypted once the handshake is done.
        is_probes_only: whether it came to a listener for probe endpoints alone.
    """

    stream: trio.abc.HalfCloseableStream | TlsStream
    edge: Edge
    peer: str = ""
    is_tls: bool = False
    is_probes_only: bool = False
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _reading: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _delivering: trio.CancelScope | None = attrs.field(default=None, init=False)
    _sending: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _answered: trio.Event = attrs.field(factory=trio.Event, init=False)
    _http: Http | None = attrs.field(default=None, init=False)
    _file: int | None = attrs.field(default=None, init=False)
    _requests: int = attrs.field(default=0, init=False)
    _is_busy: bool = attrs.field(default=False, init=False)
    _is_begun: bool = attrs.field(default=True, init=False)  # the first request's time runs from the start
    _is_ended: bool = attrs.field(default=False, init=False)
    _is_broken: bool = attrs.field(default=False, init=False)
    _is_stream: bool = attrs.field(default=False, init=False)

    @property
    def is_silent(self) -> bool:
        """Whether no whole request has come yet."""
        return not self._requests and not self._is_ended

    @property
    def client(self) -> Address:
        """The peer's address, or None."""
        return _address(self.stream, "getpeername")

    @property
    def server(self) -> Address:
        """Our own address, or None."""
        return _address(self.stream, "getsockname")

    @property
    def is_last(self) -> bool:
        """Whether no further request is served after the one that is being answered."""
        return self.edge.is_stopping or self._requests >= self.edge.limits.requests

    async def run(self) -> None:
        """Serve until the client leaves, a deadline passes, or the server stops."""
        try:
            with self._scope:
                if not self.is_tls or await self._shake_hands():
                    await self._serve()
                if self._is_ended and not self._is_broken:
                    await self._linger()
        finally:
            await trio.aclose_forcefully(self.stream)

    async def _shake_hands(self) -> bool:
        """Begin TLS; False where the client does not, which is normal, and counted."""
        edge = self.edge
        assert edge.certificates is not None
        assert not isinstance(self.stream, trio.SSLStream)
        self._due_in(GLANCE if edge.is_stopping else math.inf)  # it has its own deadline, to be counted
        with trio.move_on_after(edge.limits.handshake_timeout) as scope:
            begun = await shake_hands(self.stream, edge.certificates.context, edge.turn)
        if scope.cancelled_caught:
            edge.traffic.limited["handshake_timeout"] += 1
            self._is_broken = True
            return False
        if isinstance(begun, trio.SSLStream):
            self.stream = begun
            return True
        edge.traffic.failed_handshakes += 1
        await self.write(begun)
        self._is_broken = self._is_broken or not begun
        self.end()
        return False

    async def _serve(self) -> None:
        self._due_in(GLANCE if self.edge.is_stopping else self.edge.limits.header_timeout)
        front = self.edge.probes_front if self.is_probes_only else self.edge.front
        data = await self._answer_plainly(front) if front is not None else await self._receive()
        if data:
            await self._hand_over(data, front)

    async def _hand_over(self, data: bytes, front: Front | None) -> None:
        """Serve with the application's help, from `data` on."""
        async with trio.open_nursery() as nursery:
            self._http = http = Http(self.edge, self, nursery)
            with self._reading:
                await self._read(http, data, front)
            await http.close()

    def finish(self) -> None:
        """End soon, because the server stops: after the request in flight, else at once.

        A short moment is left in which a request that the kernel holds already is still taken.
        """
        if self._is_stream or (not self._is_busy and not self._is_ended):
            self._due_in(GLANCE)
        if self._is_stream and self._delivering is not None:
            self._delivering.deadline = self._scope.deadline  # its client does not read

    def abort(self) -> None:
        """End now, whatever is in flight."""
        self._is_broken = self._is_ended = True
        self._scope.cancel()
        if self._delivering is not None:
            self._delivering.cancel()

    async def write(self, data: bytes) -> None:
        """Send `data`; a client that is gone, or too slow to take it, ends the connection."""
        async with self._sending:
            view = memoryview(data)
            for start in range(0, len(view), PIECE):
                if self._is_ended or not await self._send(view[start : start + PIECE]):
                    return

    async def _send(self, piece: memoryview) -> bool:
        # Whoever does not read a stream costs nothing but the connection, and gets a newer snapshot when it does again.
        seconds = math.inf if self._is_stream else self.edge.limits.send_timeout
        with trio.move_on_after(seconds) as scope:
            try:
                await self.stream.send_all(piece)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._is_broken = True
        if scope.cancelled_caught or self._is_broken:
            self._is_broken = True
            self.end()
        return not self._is_broken

    async def deliver(self, send: Send, message: Message) -> None:
        """Await ``send(message)``, shielded until the request's deadline; nothing once the connection has ended."""
        if self._is_ended:
            return
        with trio.CancelScope(shield=True, deadline=self._scope.deadline) as scope:
            self._delivering = scope
            await send(message)
        self._delivering = None
        if scope.cancelled_caught:
            self.abort()

    def asked(self) -> None:
        """Count a request, and begin its time."""
        self._requests += 1
        self._busy()

    def _busy(self) -> None:
        """Begin the time for a request's body and answer."""
        self._is_busy = True
        self._answered = trio.Event()
        self._due_in(self.edge.limits.request_timeout)

    def endless(self) -> None:
        """Let the answer take as long as the client listens."""
        self._is_stream = True
        self._answered.set()
        self._scope.deadline = math.inf

    def idle(self) -> None:
        """Begin the time to the next request."""
        self._is_busy = self._is_stream = False
        self._is_begun = False
        self._answered.set()
        self._due_in(self.edge.limits.idle_timeout)

    def end(self) -> None:
        """Stop reading; `run` then closes."""
        self._is_ended = True
        self._answered.set()
        self._reading.cancel()

    async def _answer_plainly(self, front: Front) -> bytes:
        """Answer what the front stage can; return what it cannot, ``b""`` at the end."""
        if isinstance(self.stream, trio.SocketStream):
            self._file = self.stream.socket.fileno()
        while not self._is_ended:
            data = await self._receive()
            found = front.reply(data) if data else None
            if found is None:
                return data
            await self._reply(*found)
        return b""

    async def _reply(self, reply: Reply, closes: bool) -> None:  # as it is returned
        self._requests += 1
        is_last = closes or self.is_last
        data = reply.closing if is_last else reply.data
        sent = self._send_now(data)
        if sent < len(data):
            self._busy()
            await self.write(data[sent:])
        self.idle()
        if is_last:
            self.end()
        self._count(reply)

    def _send_now(self, data: bytes) -> int:
        """Send what the socket takes at once, which nearly always is all; return how many bytes that was."""
        if self._file is None:
            return 0
        try:
            return os.write(self._file, data)
        except BlockingIOError:
            return 0
        except OSError:
            self._is_broken = True
            self.end()
            return len(data)

    def _count(self, reply: Reply) -> None:
        traffic = self.edge.traffic
        route, status = reply.counted
        traffic.requests[route, FRONT, status] += 1
        if traffic.log is not None:
            asked = reply.asked
            query = "?" + asked.query.decode("ascii", "replace") if asked.query else ""
            traffic.log.take(
                Exchange(
                    client=self.peer,
                    method=asked.method,
                    target=asked.path + query,
                    version="1.1",
                    status=status,
                    size=len(reply.body),
                    seconds=0.0,
                    stage=FRONT,
                )
            )

    async def _receive(self) -> bytes:
        """Return what the client sent; ``b""`` when it sends no more, or is gone."""
        try:
            return bytes(await self.stream.receive_some(READ))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._is_broken = self._is_ended = True
            return b""

    async def _read(self, http: Http, data: bytes, front: Front | None) -> None:
        while True:
            if not self._is_begun and not self._is_busy:
                self._is_begun = True
                self._due_in(self.edge.limits.header_timeout)
            await http.feed(data)
            if not data:
                await self._finish_half_closed()
                return
            data = await self._receive()
            while data and front is not None and not self._is_busy and http.is_between:
                found = front.reply(data)
                if found is None:
                    break
                await self._reply(*found)
                data = await self._receive()
            if self._is_broken:
                return

    async def _finish_half_closed(self) -> None:
        # It may have closed its half only, and still want the answer to what it has asked.
        while self._is_busy and not self._is_ended:
            if self._is_stream:  # which has no end to wait for
                self.abort()
            await self._answered.wait()

    async def _linger(self) -> None:
        """Send the end of the stream, and drain what the client is still sending.

        Closing a socket with unread input resets it, and the reset may overtake the answer (RFC 9112, section 9.6).
        """
        self._due_in(self.edge.limits.linger_timeout)
        drained = 0
        try:
            if isinstance(self.stream, trio.SSLStream):
                self.stream = await take_leave(self.stream)
            await self.stream.send_eof()
            while drained < LINGER and (data := await self.stream.receive_some(READ)):
                drained += len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    def _due_in(self, seconds: float) -> None:
        self._scope.deadline = trio.current_time() + seconds


def _address(stream: object, which: str) -> Address:
    """Return an address of the socket below `stream`; None for what has none: Unix sockets, clients that are gone."""
    sock = getattr(getattr(stream, "transport_stream", stream), "socket", None)
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    try:
        name = getattr(sock, which)()
    except OSError:
        return None
    return name[0], name[1]
