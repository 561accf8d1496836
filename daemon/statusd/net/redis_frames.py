"""What a Redis server sends on a connection where it also speaks unasked, in strict limits.

The protocol is RESP3: https://redis.io/docs/latest/develop/reference/protocol-spec/. Read here and not by redis-py,
whose way of handing over what was not asked for is not public, and not by hiredis, which allocates what a header
announces. Left out, because no server sends it to those who do not ask for it: attributes and streamed types.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

import attrs

from statusd.errors import ProbeError
from statusd.net.resp import MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, MAX_LINE

Value: TypeAlias = "bytes | list[Value] | None"
"""Whatever is written in one line or one string is bytes; a map is a list of keys and values in turn."""

_LINES: Final = frozenset(b"+-:_#,(")
_STRINGS: Final = frozenset(b"$=!")
_LISTS: Final = frozenset(b"*~%>")
_KNOWN: Final = _LINES | _STRINGS | _LISTS
_LENGTH: Final = re.compile(rb"-1|[0-9]{1,10}")


@attrs.frozen
class Frame:
    """Something whole that the server sent.

    Attributes:
        kind: the first byte on the wire, such as ``b"%"`` for a map and ``b">"`` for what was not asked for.
        value: what it holds.
    """

    kind: bytes
    value: Value

    @property
    def is_push(self) -> bool:
        """Whether it answers no command."""
        return self.kind == b">"

    @property
    def is_error(self) -> bool:
        """Whether it is a refusal, whose value then is its text."""
        return self.kind in {b"-", b"!"}


@attrs.define(eq=False)
class _Open:
    """A list whose elements are still arriving."""

    kind: bytes
    missing: int
    items: list[Value] = attrs.field(factory=list)


@attrs.define(eq=False)
class FrameReader:
    """Cuts the bytes that arrive into frames; holds no more than one unfinished frame of `max_bytes`.

    Attributes:
        peer: the server's name, for messages.
        max_bytes: bytes on the wire that one frame may have.
    """

    peer: str
    max_bytes: int = MAX_BYTES
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)
    _open: list[_Open] = attrs.field(factory=list, init=False)
    _string: tuple[bytes, int] | None = attrs.field(default=None, init=False)  # kind and length of what comes
    _bytes: int = attrs.field(default=0, init=False)  # of the frame, up to where the buffer begins
    _elements: int = attrs.field(default=0, init=False)

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes that have arrived and return the frames that they complete, in order.

        Raises:
            ProbeError: ``too_large`` or ``protocol_error``; the connection is of no use any more.
        """
        self._buffer += data
        frames: list[Frame] = []
        at = 0
        while (end := self._element(at, frames)) is not None:
            self._bytes += end - at
            if not self._open and self._string is None:
                self._bytes = self._elements = 0
            elif self._bytes > self.max_bytes:
                raise self._too_large(f"is over {self.max_bytes} bytes")
            at = end
        del self._buffer[:at]
        return frames

    def _element(self, at: int, frames: list[Frame]) -> int | None:
        """Take the header or string that begins at `at`; return where it ends, or None when it is not all there."""
        if self._string is not None:
            kind, length = self._string
            end = at + length + 2
            if len(self._buffer) < end:
                return None
            if self._buffer[end - 2 : end] != b"\r\n":
                raise self._foreign()
            self._string = None
            self._complete(kind, bytes(self._buffer[at : end - 2]), frames)
            return end
        if at == len(self._buffer):
            return None
        # Looked at before the line is whole, so that another kind of server is told at once.
        kind = bytes(self._buffer[at : at + 1])
        if kind[0] not in _KNOWN or (kind == b">" and self._open):
            raise self._foreign()
        end = self._buffer.find(b"\r\n", at, at + MAX_LINE)
        if end < 0:
            if len(self._buffer) - at >= MAX_LINE:
                raise self._too_large(f"has a line over {MAX_LINE} bytes")
            return None
        self._header(kind, bytes(self._buffer[at + 1 : end]), frames)
        return end + 2

    def _header(self, kind: bytes, text: bytes, frames: list[Frame]) -> None:
        if kind[0] in _LINES:
            self._complete(kind, None if kind == b"_" else text, frames)
            return
        if not _LENGTH.fullmatch(text):
            raise self._foreign()
        length = int(text)
        if length < 0:  # how RESP2 says null
            self._complete(kind, None, frames)
        elif kind[0] in _STRINGS:
            if self._bytes + length > self.max_bytes:
                raise self._too_large(f"is over {self.max_bytes} bytes")
            self._string = (kind, length)
        else:
            self._begin(kind, 2 * length if kind == b"%" else length, frames)

    def _begin(self, kind: bytes, length: int, frames: list[Frame]) -> None:
        self._elements += length
        if self._elements > MAX_ELEMENTS:
            raise self._too_large(f"has over {MAX_ELEMENTS} elements")
        if len(self._open) == MAX_DEPTH:
            raise self._too_large(f"nests deeper than {MAX_DEPTH} lists")
        if length:
            self._open.append(_Open(kind, length))
        else:
            self._complete(kind, [], frames)

    def _complete(self, kind: bytes, value: Value, frames: list[Frame]) -> None:
        while self._open:
            around = self._open[-1]
            around.items.append(value)
            around.missing -= 1
            if around.missing:
                return
            self._open.pop()
            kind, value = around.kind, around.items
        frames.append(Frame(kind, value))

    def _foreign(self) -> ProbeError:
        return ProbeError(
            "protocol_error",
            f"{self.peer} does not answer in Redis protocol: another kind of server listens there.",
        )

    def _too_large(self, what: str) -> ProbeError:
        return ProbeError("too_large", f"What {self.peer} sends {what}, which is the limit.")
