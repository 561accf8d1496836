"""The life of one connection: its deadlines, its writes, its end."""

from __future__ import annotations

import math
from typing import Final

import attrs
import trio

from statusd.web.access import is_probe
from statusd.web.edge import plain
from statusd.web.edge.admission import Room, Stage
from statusd.web.edge.front import Front
from statusd.web.edge.shared import Edge
from statusd.web.edge.stopping import FIRST, GLANCE
from statusd.web.edge.talk import Talk
from statusd.web.edge.tls import TlsStream, shake_hands

PIECE: Final = 64 * 1024
"""Bytes of an answer that share one send deadline."""

SLACK: Final = 0.1
"""Seconds by which an idle time may be cut short: to move the deadline takes a seventh of the time of an answer."""


@attrs.define(eq=False, kw_only=True)
class Connection:
    """Serves HTTP on one stream and closes it; nothing it does can outlast its deadlines.

    One cancel scope spans it all, and its deadline moves with what is awaited: a header, an answer, the next
    request. The front stage answers what it can; for the rest there is a `Talk`.

    Attributes:
        stream: the byte stream; owned.
        edge: what connections share.
        peer: the peer's address as people write it; ``""`` when it has none.
        is_tls: whether the client is to speak TLS; `stream` is then encrypted once the handshake is done.
        is_probes_only: whether it came to a listener for probe endpoints alone.
        is_h2: whether HTTP/2 is spoken, which the client chooses as it begins TLS.
        data: what has been received already.
        unsent: the rest of the only answer.
        room: where it has a place.
        refusal: the status code that all but one request for a probe endpoint get; 0 = it is served like any other.
        is_busy: whether a request is being answered.
        is_stream: whether the answer is an event stream.
        is_ended: whether nothing more is to be read or said.
        is_broken: whether nothing can be.
    """

    stream: trio.abc.HalfCloseableStream | TlsStream
    edge: Edge
    peer: str = ""
    is_tls: bool = False
    is_probes_only: bool = False
    is_h2: bool = False
    data: bytes = b""
    unsent: bytes = b""
    room: Room = attrs.field(factory=Room)
    refusal: int = 0
    is_busy: bool = attrs.field(default=False, init=False)
    is_stream: bool = attrs.field(default=False, init=False)
    is_ended: bool = attrs.field(default=False, init=False)
    is_broken: bool = attrs.field(default=False, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _bound: str = attrs.field(default="", init=False)  # what the deadline stands for
    _talk: Talk | None = attrs.field(default=None, init=False)
    _file: int | None = attrs.field(default=None, init=False)  # of a plain socket
    _requests: int = attrs.field(default=0, init=False)
    _is_begun: bool = attrs.field(default=True, init=False)  # the first request's time runs from the start
    _is_heard_out: bool = attrs.field(default=False, init=False)  # whether the client sends no more

    @property
    def is_last(self) -> bool:
        """Whether no further request is served after the one that is being answered."""
        return self.edge.is_stopping or self.refusal > 0 or self._requests >= self.edge.limits.requests

    @property
    def front(self) -> Front | None:
        """What answers between two requests what it can; HTTP/2 asks it itself."""
        return None if self.is_h2 else self.edge.front_for(is_probes_only=self.is_probes_only)

    @property
    def deadline(self) -> float:
        """When what is awaited must have come, in seconds of trio's clock."""
        return self._scope.deadline

    async def run(self) -> None:
        """Serve until the client leaves, a deadline passes, or the server stops."""
        try:
            with self._scope:
                if not self.is_tls or await self._shake_hands():
                    await self._serve()
                if self.is_ended and not self.is_broken:
                    await self._linger()
            if self._scope.cancelled_caught and self._bound:
                self.edge.traffic.limited[self._bound] += 1
        finally:
            self._talk = None  # which refers back
            if isinstance(self.stream, trio.SocketStream):
                self.stream.socket.close()
            else:
                await trio.aclose_forcefully(self.stream)

    async def _shake_hands(self) -> bool:
        """Begin TLS; False where the client does not, which is normal, and counted."""
        assert not isinstance(self.stream, TlsStream)
        self.due("handshake_timeout")
        begun = await shake_hands(self.stream, self.edge, is_probes_only=self.is_probes_only)
        if isinstance(begun, TlsStream):
            self.stream = begun
            self.is_h2 = begun.protocol == "h2"
            return True
        self.edge.traffic.failed_handshakes += 1
        await self.send(begun)
        self.is_broken = self.is_broken or not begun
        self.end()
        return False

    async def _serve(self) -> None:
        self.due("header_timeout")
        if isinstance(self.stream, trio.SocketStream):
            self._file = self.stream.socket.fileno()
        if self.unsent:
            self.busy()
            await self.send(self.unsent)
            self.end()
            return
        data = self.data or await self.receive()
        while data and (front := self.front) is not None and await self.answer(front, data):
            data = b"" if self.is_ended else await self.receive()
        if data:
            if not self._requests:
                self.room.move(self, Stage.SILENT)
            self._talk = Talk(self)
            await self._talk.run(data)

    async def answer(self, front: Front, data: bytes) -> bool:
        """Answer `data`, if `front` can; return whether it could."""
        found = front.reply(data)
        if found is None:
            return False
        reply, closes = found
        if self.refusal and not is_probe(reply.asked.path):
            reply = front.refused(reply.asked, self.refusal)
        self.take()
        is_last = closes or self.is_last
        answer = reply.closing if is_last else reply.data
        sent = self._send_now(answer)
        if sent < len(answer) or reply.rest:
            self.busy()
            await self.send(answer[sent:])
            await self.send(reply.rest)
        if is_last:
            self._is_heard_out = closes
            self.end()
        else:
            self.idle()
        reply.count(self.edge.traffic, self.peer)
        return True

    def finish(self) -> None:
        """End soon, because the server stops: after the request in flight or that is begun, else at once."""
        if self._talk is not None and self._talk.finish():
            return
        if self.is_stream or (not self.is_busy and not self.is_ended):
            self.due_at(min(self.deadline, trio.current_time() + self._last_call))
        if self.is_stream and self._talk is not None:
            self._talk.hurry(self.deadline)  # its client does not read

    def abort(self) -> None:
        """End now, whatever is in flight."""
        self._bound = ""
        self.expire()

    def expire(self) -> None:
        """End now, because the deadline has passed."""
        self.is_broken = self.is_ended = True
        self._scope.cancel()
        if self._talk is not None:
            self._talk.hurry(-math.inf)

    def end(self) -> None:
        """Read and say nothing more; `run` then closes."""
        self.is_ended = True
        self._bound = ""
        if self._talk is not None:
            self._talk.stop()

    async def send(self, data: bytes) -> None:
        """Send `data`; a client that is gone, or too slow to take it, ends the connection. Nothing once it has ended."""
        view = memoryview(data)[self._send_now(data) :]
        for start in range(0, len(view), PIECE):
            if self.is_ended or not await self._send(view[start : start + PIECE]):
                return

    def _send_now(self, data: bytes) -> int:
        """Send what the socket takes at once; return how many bytes that was, or all when nobody is there to take it."""
        if self._file is None or self.is_ended:
            return 0
        try:
            return plain.write(self._file, data)
        except OSError:
            self.is_broken = True
            self.end()
            return len(data)

    async def _send(self, piece: memoryview) -> bool:
        # Whoever does not read a stream costs nothing but the connection, and gets a newer snapshot when it does again.
        is_stream = self.is_stream
        if self.is_busy and not is_stream:
            self.room.move(self, Stage.STALLED)
        with trio.move_on_after(math.inf if is_stream else self.edge.limits.send_timeout) as scope:
            try:
                if self._file is not None:
                    await plain.write_all(self._file, piece)
                else:
                    await self.stream.send_all(piece)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                self.is_broken = True
        if scope.cancelled_caught:
            self.edge.traffic.limited["send_timeout"] += 1
            self.is_broken = True
        if self.is_broken:
            self.end()
        elif not is_stream:
            self.room.move(self, Stage.BUSY if self.is_busy else Stage.IDLE)
        return not self.is_broken

    async def receive(self) -> bytes:
        """Return what the client sent; ``b""`` when it sends no more, or is gone."""
        try:
            if self._file is not None:
                return await plain.read(self._file, plain.READ)
            return bytes(await self.stream.receive_some(plain.READ))
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            self.is_broken = self.is_ended = True
            return b""

    def take(self) -> None:
        """Count a request."""
        self._requests += 1
        if self._requests >= self.edge.limits.requests:
            self.edge.traffic.limited["requests"] += 1

    def begin(self) -> None:
        """Begin the time for a request's header, unless it runs already."""
        if not self._is_begun and not self.is_busy:
            self._is_begun = True
            self.due("header_timeout")

    def busy(self) -> None:
        """Begin the time for a request's body and answer."""
        self.is_busy, self.is_stream = True, False
        self.room.move(self, Stage.BUSY)
        self.due("request_timeout")

    def idle(self) -> None:
        """Begin the time to the next request."""
        self.is_busy = self.is_stream = self._is_begun = False
        self.room.move(self, Stage.IDLE)
        if self.edge.is_stopping and not self.is_h2:  # which says so to its client; others have not been told
            self.due_at(trio.current_time() + GLANCE)
            return
        deadline = trio.current_time() + self.edge.limits.idle_timeout
        if self._bound != "idle_timeout" or abs(deadline - self._scope.deadline) > SLACK:
            self.due_at(deadline, "idle_timeout")

    def due(self, bound: str) -> None:
        """Begin the time that `bound` leaves, as `Limits` names it; a short moment when the server is stopping."""
        if self.edge.is_stopping and not self.is_busy:
            self.due_at(trio.current_time() + self._last_call)
        else:
            self.due_at(trio.current_time() + getattr(self.edge.limits, bound), bound)

    @property
    def _last_call(self) -> float:
        """Seconds for what may still come when the server stops; the client of an idle connection knows how it may end."""
        return FIRST if self._is_begun and not self.is_stream else GLANCE

    def due_at(self, deadline: float, bound: str = "") -> None:
        """End at `deadline`, in seconds of trio's clock; it counts as a hit of `bound`."""
        self._bound = "" if self.is_broken else bound
        self._scope.deadline = deadline

    async def _linger(self) -> None:
        """Send the end of the stream, and drain what the client is still sending.

        Closing a socket with unread input resets it, and the reset may overtake the answer (RFC 9112, section 9.6).
        """
        if self._is_heard_out and self._file is not None:
            return
        self.room.move(self, Stage.IDLE)
        self.due_at(trio.current_time() + self.edge.limits.linger_timeout)
        try:
            if isinstance(self.stream, TlsStream):
                self.stream = await self.stream.leave()
            await plain.drain(self.stream)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
