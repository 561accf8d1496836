"""Server-Sent Events: the parser of the WHATWG specification (HTML, section 9.2.5 and 9.2.6), without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import attrs

from statusd.client.faults import ClientError

MAX_EVENT: Final = 64 * 1024 * 1024
"""Bytes of one event, and of one line."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_DIGITS: Final = re.compile(r"[0-9]+")
_LONGEST_NUMBER: Final = 15
"""Digits of ``retry:`` that are read; more is longer than anybody waits."""


@attrs.frozen(kw_only=True)
class Event:
    """One event.

    Attributes:
        type: what ``event:`` said, or ``message``.
        data: the lines of ``data:``, joined by line feeds.
        id: the last event id so far.
    """

    type: str
    data: str
    id: str


@attrs.define(eq=False)
class EventParser:
    """Turns the bytes of a stream into events, however they are split.

    Attributes:
        max_event: bytes of an event and of a line; beyond it `feed` raises.
        last_id: the last event id of the dispatched blocks.
        retry: milliseconds that the server wants clients to wait before they reconnect, or None.
    """

    max_event: int = MAX_EVENT
    last_id: str = ""
    retry: int | None = None
    _start: bytes | None = b""  # of the stream, until it is known whether it is a byte order mark
    _is_after_cr: bool = False
    _partial: bytearray = attrs.field(factory=bytearray)  # the line that is not complete yet
    _id: str = ""
    _type: str = ""
    _data: list[str] = attrs.field(factory=list)
    _size: int = 0

    def __attrs_post_init__(self) -> None:
        self._id = self.last_id

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that `data` completes; what no empty line ends is kept, and is no event at the end.

        Raises:
            ClientError: ``too_large``.
        """
        if self._start is not None:
            data = self._without_mark(self._start + data)
        if self._is_after_cr and data:
            data = data.removeprefix(b"\n")  # the second half of a line end that was split
            self._is_after_cr = False
        *ends, rest = _LINE_END.split(data)
        self._is_after_cr = data.endswith(b"\r")
        for end in ends:
            line, self._partial = self._partial + end, bytearray()
            self._bound(len(line))
            event = self._take(line)
            if event is not None:
                yield event
        self._partial += rest
        self._bound(len(self._partial))

    def _without_mark(self, start: bytes) -> bytes:
        mark = b"\xef\xbb\xbf"
        if len(start) < len(mark) and mark.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start.removeprefix(mark)

    def _take(self, line: bytearray) -> Event | None:
        if not line:
            return self._dispatch()
        # Decoded by the line: no line end is part of a character, so it is the same as decoding the whole.
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._size += len(line)
                self._bound(self._size)
                self._data.append(value)
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if _DIGITS.fullmatch(value):
                self.retry = int(value[:_LONGEST_NUMBER])
            case _:
                pass  # a comment, whose name is empty, or a field that nobody knows
        return None

    def _dispatch(self) -> Event | None:
        self.last_id = self._id
        kind, lines = self._type or "message", self._data
        self._type, self._data, self._size = "", [], 0
        return Event(type=kind, data="\n".join(lines), id=self.last_id) if lines else None

    def _bound(self, size: int) -> None:
        if size > self.max_event:
            raise ClientError(
                "too_large",
                f"An event is over {self.max_event} bytes: follow a branch of the tree instead of the whole.",
            )
