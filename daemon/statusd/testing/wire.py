"""What a simulated upstream reads and writes: requests as they came, replies as they go out."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import attrs
import httptools
import msgspec
import trio

CHUNK: Final = 65536
"""Bytes to read at a time."""


@attrs.frozen(kw_only=True)
class Request:
    """A request as a simulated upstream received it.

    Attributes:
        method: in upper case.
        target: path and query as they came.
        headers: names in lower case; of repeated ones the values joined by ``", "``.
        body: the bytes, without transfer coding.
        is_keep_alive: whether the client wants the connection kept (RFC 9112, section 9.3).
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    is_keep_alive: bool = True

    @property
    def path(self) -> str:
        """The target up to ``?``."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target after ``?``."""
        return self.target.partition("?")[2]


@attrs.frozen(kw_only=True)
class Response:
    """A complete answer of a simulated upstream.

    Attributes:
        status: the status code.
        body: the bytes.
        content_type: the ``Content-Type`` value, or None to send none.
        headers: further header fields, in order.
    """

    status: int = 200
    body: bytes = b""
    content_type: str | None = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Response:
        """Return `value` as a JSON answer."""
        return cls(status=status, body=msgspec.json.encode(value))

    @classmethod
    def text(cls, text: str, status: int = 200) -> Response:
        """Return `text` as a ``text/plain`` answer."""
        return cls(status=status, body=text.encode(), content_type="text/plain; charset=utf-8")

    def encode(self, *, is_keep_alive: bool = True, is_head: bool = False) -> bytes:
        """Return the bytes for the wire (RFC 9112).

        Args:
            is_keep_alive: False announces ``Connection: close``.
            is_head: the request was HEAD, so the body stays away.
        """
        lines = [f"HTTP/1.1 {self.status} {_phrase(self.status)}"]
        if self.content_type is not None:
            lines.append(f"Content-Type: {self.content_type}")
        if self.status not in {204, 304}:
            lines.append(f"Content-Length: {len(self.body)}")
        if not is_keep_alive:
            lines.append("Connection: close")
        lines += [f"{name}: {value}" for name, value in self.headers]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return head if is_head or self.status in {204, 304} else head + self.body


class MalformedRequestError(Exception):
    """Raised by `RequestReader` when the bytes are not HTTP/1; simulators answer 400."""


class RequestReader:
    """Reads requests from a stream, one after another, pipelined ones as well.

    Args:
        stream: where the bytes come from.
    """

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._collected = _Collected()
        self._parser = httptools.HttpRequestParser(self._collected)
        self._collected.parser = self._parser
        self._is_upgraded = False

    async def receive(self) -> Request | None:
        """Return the next request, or None at the end of the stream or after an upgrade.

        Raises:
            MalformedRequestError: when the bytes are not HTTP/1.
        """
        while not self._collected.requests:
            data = b"" if self._is_upgraded else await self._stream.receive_some(CHUNK)
            if not data:
                return None
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                self._is_upgraded = True
            except httptools.HttpParserError as error:
                raise MalformedRequestError from error
        return self._collected.requests.popleft()


class _Collected:
    """The callbacks of httptools, which build requests."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.parser: Any = None
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body = b""
        self._is_keep_alive = False

    def on_message_begin(self) -> None:
        self._reset()

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        # Asked here, because later the parser has forgotten it and always says no.
        self._is_keep_alive = self.parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        self._body += piece

    def on_message_complete(self) -> None:
        request = Request(
            method=self.parser.get_method().decode("ascii"),
            target=self._target.decode("latin-1"),
            headers=self._headers,
            body=self._body,
            is_keep_alive=self._is_keep_alive,
        )
        self.requests.append(request)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unnamed"
