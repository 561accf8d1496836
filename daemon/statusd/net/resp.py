"""The limits of a Redis reply, held on the wire before any of it is parsed.

The parser behind it (hiredis) allocates what a header announces, so the headers are read here first.
The protocol is RESP2: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from statusd.errors import ProbeError

MAX_BYTES: Final = 1 << 20
MAX_ELEMENTS: Final = 1 << 16  # parsed in a few milliseconds while the parser holds the GIL
MAX_DEPTH: Final = 7  # what hiredis itself allows; the deepest real replies nest 4 or 5 deep
MAX_LINE: Final = 16 * 1024

_LENGTH: Final = re.compile(rb"-1|[0-9]{1,10}")


@attrs.define(eq=False)
class ReplyGuard:
    """Follows the frames of replies as bytes arrive, and refuses what is over a limit or is not RESP2.

    Attributes:
        peer: the server's name, for messages.
        max_bytes: bytes on the wire that one reply may have.
    """

    peer: str
    max_bytes: int = MAX_BYTES
    _unanswered: int = 0
    _bytes: int = 0
    _elements: int = 0
    _skip: int = 0  # bytes of a bulk string, with its CRLF, that have not arrived yet
    _line: bytes = b""  # a header that has not arrived whole
    _open: list[int] = attrs.field(factory=list)  # elements still to come in each array around here

    def expect(self) -> None:
        """Allow one more reply: a command goes out."""
        self._unanswered += 1
        self._bytes = 0
        self._elements = 0

    @property
    def is_idle(self) -> bool:
        """Whether every command has been answered and nothing came after the answers."""
        return not self._unanswered and not self._line

    def feed(self, data: bytes) -> None:
        """Take bytes that have arrived.

        Raises:
            ProbeError: ``too_large`` or ``protocol_error``; the connection is of no use any more.
        """
        self._bytes += len(data)
        if self._bytes > self.max_bytes:
            raise self._too_large(f"is over {self.max_bytes} bytes")
        data = self._line + data
        self._line = b""
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                at += step
                self._skip -= step
                if not self._skip:
                    self._complete()
                continue
            end = data.find(b"\r\n", at, at + MAX_LINE)
            if end < 0:
                self._begin(data[at : at + 1])
                if len(data) - at >= MAX_LINE:
                    raise self._too_large(f"has a line over {MAX_LINE} bytes")
                self._line = data[at:]
                return
            self._header(data[at : at + 1], data[at + 1 : end])
            at = end + 2

    def _begin(self, kind: bytes) -> None:
        # Seen before the line is whole, so that a server that greets in another protocol is told at once.
        if kind not in {b"+", b"-", b":", b"$", b"*"}:
            raise ProbeError(
                "protocol_error",
                f"{self.peer} does not answer in Redis protocol: another kind of server listens there.",
            )
        if not self._unanswered:
            raise ProbeError("protocol_error", f"{self.peer} sends replies to commands that were never sent.")

    def _header(self, kind: bytes, text: bytes) -> None:
        self._begin(kind)
        if kind in {b"+", b"-", b":"}:
            self._complete()
            return
        if not _LENGTH.fullmatch(text):
            raise ProbeError(
                "protocol_error",
                f"{self.peer} sends a length that is not a number: it is not Redis protocol.",
            )
        length = int(text)
        if kind == b"$" and length >= 0:
            if length > self.max_bytes:
                raise self._too_large(f"is over {self.max_bytes} bytes")
            self._skip = length + 2
        elif kind == b"*" and length > 0:
            self._enter(length)
        else:
            self._complete()  # null, or an array of nothing

    def _enter(self, length: int) -> None:
        self._elements += length
        if self._elements > MAX_ELEMENTS:
            raise self._too_large(f"has over {MAX_ELEMENTS} elements")
        if len(self._open) == MAX_DEPTH:
            raise self._too_large(f"nests deeper than {MAX_DEPTH} arrays")
        self._open.append(length)

    def _complete(self) -> None:
        while self._open:
            self._open[-1] -= 1
            if self._open[-1]:
                return
            self._open.pop()
        self._unanswered -= 1

    def _too_large(self, what: str) -> ProbeError:
        return ProbeError("too_large", f"The reply of {self.peer} {what}, which is the limit.")
