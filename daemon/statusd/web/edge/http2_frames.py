"""What an HTTP/2 client sends, cut into frames, before any of it is acted upon.

The parser below takes whole frames only, one at a time: so it never holds more than one, what came before a bad frame
is answered, and each frame can be charged for before it costs anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import attrs
from h2.errors import ErrorCodes

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Final = 9
"""Bytes before each frame's payload (RFC 9113, section 4.1)."""
LARGEST: Final = 16 * 1024
"""Bytes of a payload; nobody may send more without having been allowed to (section 4.2)."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
ACK: Final = 0x1
END_HEADERS: Final = 0x4

HEADER_TABLE_SIZE: Final = 1
LARGEST_TABLE: Final = 4096
"""Bytes of header fields that we remember for a client; it may allow more, and has no right to it (RFC 7541, section 4.2)."""
HEEDED: Final = range(HEADER_TABLE_SIZE, 7)
"""Settings of clients; what else they send is to be ignored (RFC 9113, section 6.5.2), and would be kept by the parser."""

PATIENCE: Final = 1000.0
"""Frames that ask for nothing and may come at once."""
EACH_SECOND: Final = 50.0
"""Such frames that are given back each second."""
EACH_BYTE: Final = 2 / 1024
"""Such frames that are given back for a byte of an answer: clients open the window of a stream and of the connection."""
RESET: Final = 5.0
"""What a request costs that is taken back (CVE-2023-44487)."""


class BadFramesError(Exception):
    """What came ends the connection.

    Args:
        code: why, for the client.
        bound: which bound was passed; ``""`` when it is a fault instead.
    """

    def __init__(self, code: ErrorCodes, bound: str = "") -> None:
        super().__init__(code.name)
        self.code = code
        self.bound = bound


@attrs.frozen
class Frame:
    """A frame.

    Attributes:
        kind: its type.
        data: all of it.
    """

    kind: int
    data: bytes


class Frames:
    """Cuts.

    Args:
        header_bytes: what a header may take, HEADERS and CONTINUATION frames together.
    """

    def __init__(self, header_bytes: int) -> None:
        self.header_bytes = header_bytes
        self._buffer = bytearray()
        self._block: int | None = None
        """Bytes of the header that is not complete yet."""
        self._is_opened = False
        self._is_set = False

    @property
    def is_in_header(self) -> bool:
        """Whether a header has begun to come, and is not complete."""
        return self._block is not None or (len(self._buffer) > 3 and self._buffer[3] == HEADERS)

    def take(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes.

        Args:
            data: what has come.

        Raises:
            BadFramesError: for what is no HTTP/2, or is too large.
        """
        buffer = self._buffer
        buffer += data
        if not self._is_opened:
            if not PREFACE.startswith(buffer[: len(PREFACE)]):
                raise BadFramesError(ErrorCodes.PROTOCOL_ERROR)
            if len(buffer) < len(PREFACE):
                return
            del buffer[: len(PREFACE)]
            self._is_opened = True
        while len(buffer) >= HEAD:
            length, kind, flags = int.from_bytes(buffer[:3], "big"), buffer[3], buffer[4]
            self._admit(length, kind, flags)
            if len(buffer) < HEAD + length:
                return
            frame = bytes(buffer[: HEAD + length])
            del buffer[: HEAD + length]
            self._follow(length, kind, flags)
            if kind == SETTINGS and not flags & ACK:
                frame = _plain_settings(frame)
            yield Frame(kind, frame)

    def _admit(self, length: int, kind: int, flags: int) -> None:
        if length > LARGEST:
            raise BadFramesError(ErrorCodes.FRAME_SIZE_ERROR)
        if not self._is_set and (kind != SETTINGS or flags & ACK):  # RFC 9113, section 3.4
            raise BadFramesError(ErrorCodes.PROTOCOL_ERROR)
        # Wherever it belongs; what is out of place the parser finds.
        if kind in {HEADERS, CONTINUATION} and (self._block or 0) + length > self.header_bytes:
            raise BadFramesError(ErrorCodes.ENHANCE_YOUR_CALM, "header_bytes")

    def _follow(self, length: int, kind: int, flags: int) -> None:
        self._is_set = True
        if kind in {HEADERS, CONTINUATION}:
            self._block = None if flags & END_HEADERS else (self._block or 0) + length


def _plain_settings(frame: bytes) -> bytes:
    """Return a SETTINGS frame without what we do not heed, and with no more memory wanted of us than we have."""
    payload = frame[HEAD:]
    if len(payload) % 6:
        return frame
    kept = bytearray()
    for start in range(0, len(payload), 6):
        number = int.from_bytes(payload[start : start + 2], "big")
        value = int.from_bytes(payload[start + 2 : start + 6], "big")
        if number == HEADER_TABLE_SIZE:
            value = min(value, LARGEST_TABLE)
        if number in HEEDED:
            kept += number.to_bytes(2, "big") + value.to_bytes(4, "big")
    return len(kept).to_bytes(3, "big") + frame[3:HEAD] + bytes(kept)


@attrs.define(eq=False)
class Calm:
    """How much a client may still cost without asking for anything: what is free to send and work to take is charged.

    Attributes:
        clock: returns the time, in seconds.
    """

    clock: Callable[[], float]
    _left: float = attrs.field(default=PATIENCE, init=False)
    _at: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._at = self.clock()

    def charge(self, cost: float) -> None:
        """Charge for what came.

        Raises:
            BadFramesError: when it was too much in too short a time.
        """
        now = self.clock()
        self._left = min(PATIENCE, self._left + (now - self._at) * EACH_SECOND) - cost
        self._at = now
        if self._left < 0:
            raise BadFramesError(ErrorCodes.ENHANCE_YOUR_CALM, "http2_frames")

    def earn(self, size: int) -> None:
        """Give back what it takes to ask for the next bytes of an answer.

        Args:
            size: bytes that were sent.
        """
        self._left = min(PATIENCE, self._left + size * EACH_BYTE)
