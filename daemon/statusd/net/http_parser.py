"""One HTTP/1.1 answer from bytes, with every cap but time; no I/O (parser: llhttp, by httptools)."""

from __future__ import annotations

from typing import Final

import httptools

from statusd.errors import ProbeError
from statusd.net.greeting import Greeting
from statusd.net.limits import (
    MAX_HEAD_BYTES,
    MAX_HEADER_FIELDS,
    MAX_INFORMATIONAL,
    max_wire_bytes,
)
from statusd.net.oserrors import hung_up

_BODYLESS: Final = frozenset({204, 304})  # RFC 9110, section 6.4.1


class ResponseParser:
    """Reads one final answer and skips the interim ones before it.

    Feed it what comes; call `end` when nothing more will; `dispose` of it in any case.

    Args:
        where: the address, for messages.
        max_body: bytes of body that are taken.

    Attributes:
        status: of the final answer, or of the interim one that is being read.
        headers: of the final answer, names in lower case; set when `has_head`.
        has_begun: whether any byte came.
        has_head: whether the final answer's header fields are complete.
        is_complete: whether the answer is.
    """

    def __init__(self, *, where: str, max_body: int) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.has_head = False
        self.is_complete = False
        self._where = where
        self._max_body = max_body
        self._max_wire = max_wire_bytes(max_body)
        self._wire = 0
        self._head = 0
        self._greeting = Greeting(where)
        self._informational = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._field_count = 0
        self._body = bytearray()
        self._ends_itself = False
        self._is_coded = False
        self._keeps_alive = False
        self._has_surplus = False
        self._failure: ProbeError | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    @property
    def has_begun(self) -> bool:
        """Whether any byte came."""
        return self._wire > 0

    @property
    def is_reusable(self) -> bool:
        """Whether the connection may carry another request: the answer said so, and nothing came after it."""
        return self.is_complete and self._keeps_alive and not self._has_surplus

    @property
    def body(self) -> bytes:
        """The body so far."""
        return bytes(self._body)

    def feed(self, data: bytes) -> None:
        """Take what came from the connection.

        Raises:
            ProbeError: ``protocol_error`` or ``too_large``.
        """
        self._wire += len(data)
        if self._wire > self._max_wire:
            raise self._too_large(f"an answer of over {self._max_wire} bytes")
        self._greeting.take(data)
        if self.has_head:
            self._parse(data)
            return
        # How far the parser came cannot be asked, so it gets no more than may belong to the head.
        room = MAX_HEAD_BYTES - self._head
        self._head += min(len(data), room)
        if len(data) <= room:
            self._parse(data)
            return
        view = memoryview(data)
        self._parse(view[:room])
        if not self.has_head:
            raise self._too_large(f"over {MAX_HEAD_BYTES} bytes of header")
        self._parse(view[room:])

    def end(self) -> None:
        """Take note that the upstream has finished sending.

        Raises:
            ProbeError: ``connection_lost`` when that does not complete the answer.
        """
        if self.has_head and not self._ends_itself:
            self.is_complete = True
        if not self.is_complete:
            raise hung_up(self._where)

    def dispose(self) -> None:
        """Let go of the parser, which holds this object, so that no cycle is left to the garbage collector."""
        self._parser = None

    def _parse(self, data: bytes | memoryview) -> None:
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._failure is not None:
                raise self._failure from None
            if not self.is_complete:
                raise self._broken("its answer is malformed") from error
            # "Connection: close", and then more
            self._has_surplus = True

    # What follows is called by the parser. Whatever is raised here, it raises another exception; which of ours is
    # meant is therefore noted, for `__context__` may be that of a plugin that asks again in an `except` block.

    def on_message_begin(self) -> None:
        """Begin an answer: an interim one, the final one, or one too many."""
        if self.is_complete:
            self._has_surplus = True
            raise self._broken("it answers more than it was asked")
        self._fields.clear()
        self._field_count = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field, or a trailer field, which is only counted."""
        self._field_count += 1
        if self._field_count > MAX_HEADER_FIELDS:
            raise self._fail(self._too_large(f"over {MAX_HEADER_FIELDS} header fields"))
        if not self.has_head:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Look at the status and at how the body will be delimited, before any of it comes."""
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self._inform()
            return
        self.headers = _joined(self._fields)
        self.has_head = True
        if self.status in _BODYLESS:
            self._ends_itself = True
        else:
            self._frame(self.headers.get("transfer-encoding"), self.headers.get("content-length"))
        self._is_coded = self.headers.get("content-encoding", "").strip().lower() not in {"", "identity"}
        # llhttp knows the answer only here; after `feed_data` it is always no
        self._keeps_alive = self._parser.should_keep_alive()
        if "transfer-encoding" in self.headers and self._parser.get_http_version() == "1.0":
            self._keeps_alive = False  # RFC 9112, section 6.1: its framing is not to be trusted

    def on_body(self, data: bytes) -> None:
        """Take some of the body."""
        if not self.has_head:
            raise self._fail(self._broken("it sends an interim answer with a body"))
        if self._is_coded:
            raise self._fail(self._broken("it compresses the body, although asked not to"))
        if len(self._body) + len(data) > self._max_body:
            raise self._fail(self._too_large(f"a body of over {self._max_body} bytes"))
        self._body += data

    def on_message_complete(self) -> None:
        """Finish the answer, unless it was an interim one."""
        if self.has_head:
            self.is_complete = True

    def _inform(self) -> None:
        if self.status == 101:
            raise self._fail(self._broken("it switches to another protocol, unasked"))
        if self.status < 100:
            raise self._fail(self._broken("its status code is below 100"))
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise self._fail(self._too_large(f"over {MAX_INFORMATIONAL} interim answers"))

    def _frame(self, coding: str | None, length: str | None) -> None:
        # llhttp has refused both at once, two lengths, and lengths that are no number
        if coding is not None and coding.strip().lower() != "chunked":
            raise self._fail(self._broken("its transfer coding is not chunked"))
        if length is not None and int(length) > self._max_body:
            raise self._fail(self._too_large(f"a body of over {self._max_body} bytes"))
        self._ends_itself = coding is not None or length is not None

    def _fail(self, failure: ProbeError) -> ProbeError:
        self._failure = failure
        return failure

    def _too_large(self, what: str) -> ProbeError:
        return ProbeError("too_large", f"{self._where} sends {what}: is it the right address?")

    def _broken(self, why: str) -> ProbeError:
        return ProbeError("protocol_error", f"{self._where} breaks the rules of HTTP/1.1: {why}.")


def _joined(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return `fields` by name in lower case; values of repeated ones joined (RFC 9110, section 5.3)."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
