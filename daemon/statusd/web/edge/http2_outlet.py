"""What is sent on an HTTP/2 connection: frames of all its streams, in turns, no more at a time than the client takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import attrs
import trio
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from statusd.web.edge.http2_frames import Calm
from statusd.web.edge.wire import Wire

FULL: Final = 64 * 1024
"""Bytes that wait to be written, beyond which no more are made and nothing more is read."""
FRAME: Final = 16 * 1024
"""Bytes of an answer in one frame: after that it is another stream's turn."""


@attrs.define(eq=False)
class _Piece:
    """A part of an answer that is to be sent; `rest` is what is not sent yet."""

    number: int
    rest: memoryview
    is_end: bool
    sent: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class Outlet:
    """Sends; one task writes, so that a request may be cancelled at any time without tearing a frame.

    Attributes:
        parser: the state of the connection and its streams.
        calm: what the client may still cost.
        is_over: whether nothing more will be sent than what waits already.
    """

    parser: H2Connection
    calm: Calm
    is_over: bool = False
    _out: bytearray = attrs.field(factory=bytearray, init=False)
    _pieces: dict[int, _Piece] = attrs.field(factory=dict, init=False)
    _wake: trio.Event = attrs.field(factory=trio.Event, init=False)
    _written: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def run(self, wire: Wire) -> None:
        """Write until it is over, then end the connection."""
        while True:
            self._wake = trio.Event()
            self._fill()
            if self._out:
                data, self._out = bytes(self._out), bytearray()
                await wire.write(data)
                self._written.set()
                self._written = trio.Event()
            elif self.is_over:
                wire.end()
                return
            else:
                await self._wake.wait()

    async def room(self) -> None:
        """Return once there is room for more."""
        while len(self._out) >= FULL and not self.is_over:
            await self._written.wait()

    def flush(self) -> None:
        """Have sent what the parser wants to say, and what the client has opened its window for."""
        self._out += self.parser.data_to_send()
        self._wake.set()

    def is_waiting(self, number: int) -> bool:
        """Whether a part of a stream's answer waits for the client."""
        return number in self._pieces

    def close(self) -> None:
        """Send what waits already, and nothing more."""
        self.is_over = True
        self._pieces.clear()
        self._wake.set()
        self._written.set()

    def head(self, number: int, fields: Iterable[tuple[bytes, bytes]], *, is_end: bool = False) -> None:
        """Send the header of an answer.

        Args:
            number: of the stream.
            fields: of it, ``:status`` first.
            is_end: whether that is all of the answer.
        """
        if not self.is_over:
            self.parser.send_headers(number, list(fields), end_stream=is_end)
            self.flush()

    def reset(self, number: int, code: ErrorCodes) -> None:
        """End a stream that is not closed on both sides.

        Args:
            number: of the stream.
            code: why.
        """
        if not self.is_over:
            self.drop(number)
            self.parser.reset_stream(number, code)
            self.flush()

    def drop(self, number: int) -> None:
        """Send nothing more of what waits of a stream.

        Args:
            number: of the stream.
        """
        self._pieces.pop(number, None)

    def go_away(self, last: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Tell the client to ask for nothing more.

        The parser is not told: it would have the streams that are in flight end, too.

        Args:
            last: the newest stream that is served.
            code: why.
        """
        if not self.is_over:
            self._out += b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + last.to_bytes(4, "big")
            self._out += int(code).to_bytes(4, "big")
            self._wake.set()

    def send_now(self, number: int, data: bytes) -> memoryview | None:
        """Send the body of an answer as far as it goes at once; return the rest, or None when that was all.

        Args:
            number: of the stream, which ends with it.
            data: the body.
        """
        piece = _Piece(number, memoryview(data), is_end=True)
        while not self._pieces and not self.is_over and len(self._out) < FULL and self._step(piece):
            pass
        self._wake.set()
        return None if piece.sent.is_set() else piece.rest

    async def send(self, number: int, data: memoryview, *, is_end: bool) -> None:
        """Send a part of an answer's body; return once the client's windows have let all of it out.

        Args:
            number: of the stream.
            data: the part.
            is_end: whether it is the last one.
        """
        if self.is_over:
            return
        piece = self._pieces[number] = _Piece(number, data, is_end=is_end)
        self._wake.set()
        try:
            await piece.sent.wait()
        finally:
            self._pieces.pop(number, None)

    def _fill(self) -> None:
        """Make frames of what waits, a stream after the other."""
        turns = deque(self._pieces.values())
        while turns and len(self._out) < FULL:
            piece = turns.popleft()
            if not self._step(piece):
                continue
            del self._pieces[piece.number]
            if not piece.sent.is_set():
                self._pieces[piece.number] = piece  # behind the others, next time too
                turns.append(piece)

    def _step(self, piece: _Piece) -> bool:
        """Make one frame; False when the client's windows are shut, or all is sent."""
        if piece.sent.is_set():
            return False
        window = self.parser.local_flow_control_window(piece.number)
        size = max(0, min(window, FRAME, len(piece.rest)))
        if not size and piece.rest:
            return False
        chunk, piece.rest = piece.rest[:size], piece.rest[size:]
        is_done = not piece.rest
        if size:
            self.parser.send_data(piece.number, bytes(chunk), end_stream=piece.is_end and is_done)
        elif piece.is_end:  # goes out in a window shrunk below nothing, too (RFC 9113, section 6.9.2)
            self.parser.end_stream(piece.number)
        self._out += self.parser.data_to_send()
        self.calm.earn(size)
        if is_done:
            piece.sent.set()
        return True
