"""What a simulated upstream does with connections and requests: answer, hang, refuse, drip, lie."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import ClassVar, Final

import attrs
import trio

from statusd.testing.wire import Request, Response

HTML_PAGE: Final = b"<!doctype html>\n<title>It works</title>\n<p>Some other server.</p>\n"
"""What a misrouted request often gets, at 200."""


class Port(Enum):
    """What a simulated upstream's port does with a new connection."""

    OPEN = "accepts it"
    CLOSED = "refuses it"
    SILENT = "drops its SYN, so that connecting never ends"


@attrs.define(eq=False)
class Exchange:
    """One request and the connection it came on.

    Attributes:
        request: what was asked.
        stream: where the answer goes, as bytes.
        respond: returns the upstream's normal answer.
        answer: sends the upstream's normal answer.
        is_last: set to True to have the connection closed afterwards.
    """

    request: Request
    stream: trio.abc.Stream
    respond: Callable[[Request], Response]
    answer: Callable[[Exchange], Awaitable[None]]
    is_last: bool = False

    async def send(self, data: bytes) -> None:
        """Send raw bytes."""
        await self.stream.send_all(data)

    def normal_bytes(self) -> bytes:
        """Return the upstream's normal answer as it would go out."""
        return self._encoded(self.respond(self.request))

    async def send_response(self, response: Response) -> None:
        """Send a complete answer."""
        await self.send(self._encoded(response))

    def _encoded(self, response: Response) -> bytes:
        keep = self.request.is_keep_alive and not self.is_last
        return response.encode(is_keep_alive=keep, is_head=self.request.method == "HEAD")


@attrs.frozen
class Behaviour:
    """Base of what a simulated upstream does; assign one to `Upstream.behaviour` at any time."""

    port: ClassVar[Port] = Port.OPEN
    reads: ClassVar[bool] = True
    """Whether bytes are read at all; if not, a connection is accepted and left alone, TLS handshake included."""
    closes: ClassVar[bool] = False
    """Whether connections are closed at once, new and kept ones alike."""

    async def perform(self, exchange: Exchange) -> None:
        """Answer one request, or do whatever this does instead."""
        await exchange.answer(exchange)


@attrs.frozen
class Answer(Behaviour):
    """Answers normally."""


@attrs.frozen
class Refuse(Behaviour):
    """Refuses connections, and closes the ones it had, as a stopped server does; the port stays reserved."""

    port: ClassVar[Port] = Port.CLOSED
    closes: ClassVar[bool] = True


@attrs.frozen
class Unreachable(Behaviour):
    """Drops SYNs, as a firewall or a vanished host does: connecting never ends, and kept connections fall silent.

    It fills the backlog of a listening socket, which Linux then answers no SYN for; TCP only.
    """

    port: ClassVar[Port] = Port.SILENT

    async def perform(self, exchange: Exchange) -> None:
        """Say nothing."""
        del exchange
        await trio.sleep_forever()


@attrs.frozen
class Hang(Behaviour):
    """Accepts, reads the request and never answers, or not further than `first`.

    Attributes:
        first: bytes to send before falling silent, such as half a header.
    """

    first: bytes = b""

    async def perform(self, exchange: Exchange) -> None:
        """Send `first`, then nothing for ever."""
        if self.first:
            await exchange.send(self.first)
        await trio.sleep_forever()


@attrs.frozen
class Ignore(Behaviour):
    """Accepts and reads nothing, as a stopped process (SIGSTOP) does; a TLS handshake never ends."""

    reads: ClassVar[bool] = False

    async def perform(self, exchange: Exchange) -> None:
        """Say nothing to a request on a connection that was read from before."""
        del exchange
        await trio.sleep_forever()


@attrs.frozen
class Drop(Behaviour):
    """Accepts, then closes without a word.

    Attributes:
        is_reset: close with RST instead of FIN.
    """

    is_reset: bool = False
    closes: ClassVar[bool] = True


@attrs.frozen
class Delay(Behaviour):
    """Answers normally, late.

    Attributes:
        seconds: how late.
    """

    seconds: float

    async def perform(self, exchange: Exchange) -> None:
        """Wait, then answer."""
        await trio.sleep(self.seconds)
        await exchange.answer(exchange)


@attrs.frozen
class Drip(Behaviour):
    """Sends its answer byte by byte.

    Attributes:
        pause: seconds between two bytes.
        data: the bytes; the normal answer when None.
    """

    pause: float = 0.5
    data: bytes | None = None

    async def perform(self, exchange: Exchange) -> None:
        """Send one byte, wait, send the next."""
        data = exchange.normal_bytes() if self.data is None else self.data
        for at in range(len(data)):
            await exchange.send(data[at : at + 1])
            await trio.sleep(self.pause)


@attrs.frozen
class Raw(Behaviour):
    """Sends bytes as they are, HTTP or not, and closes.

    Attributes:
        data: the bytes.
    """

    data: bytes

    async def perform(self, exchange: Exchange) -> None:
        """Send the bytes."""
        await exchange.send(self.data)
        exchange.is_last = True


@attrs.frozen
class Say(Behaviour):
    """Answers every request alike.

    Attributes:
        response: the answer.
    """

    response: Response

    async def perform(self, exchange: Exchange) -> None:
        """Send the answer."""
        await exchange.send_response(self.response)


@attrs.frozen
class Cut(Behaviour):
    """Begins its answer and closes before the end.

    Attributes:
        missing: bytes that stay away; all but the first when the answer is not longer.
        response: the answer; the normal one when None.
    """

    missing: int = 1
    response: Response | None = None

    async def perform(self, exchange: Exchange) -> None:
        """Send the answer but its last bytes."""
        response = self.response or exchange.respond(exchange.request)
        data = response.encode()
        await exchange.send(data[: max(1, len(data) - self.missing)])
        exchange.is_last = True


@attrs.frozen
class Flood(Behaviour):
    """Sends one piece again and again: huge bodies, endless ones, endless headers, endless interim answers.

    Attributes:
        head: bytes to send first.
        piece: bytes to repeat.
        count: how often; for ever when None.
    """

    head: bytes
    piece: bytes
    count: int | None = None

    async def perform(self, exchange: Exchange) -> None:
        """Send until done, or until the client closes."""
        await exchange.send(self.head)
        sent = 0
        while self.count is None or sent < self.count:
            await exchange.send(self.piece)
            sent += 1
        exchange.is_last = True


def say(status: int, body: bytes = b"", content_type: str | None = "application/json") -> Say:
    """Return the behaviour that answers every request with `status` and `body`."""
    return Say(Response(status=status, body=body, content_type=content_type))


def html() -> Say:
    """Return the behaviour of some other web server: a page at 200, whatever is asked."""
    return say(200, HTML_PAGE, "text/html; charset=utf-8")


def redirect(location: str, status: int = 307) -> Say:
    """Return the behaviour that sends every client elsewhere."""
    return Say(Response(status=status, content_type=None, headers=(("Location", location),)))


def huge_body(size: int) -> Flood:
    """Return the behaviour that sends a body of `size` mebibytes, announced by its length."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size << 20}\r\n\r\n"
    return Flood(head.encode(), b" " * (1 << 20), size)


def endless_body(*, is_chunked: bool = False) -> Flood:
    """Return the behaviour that sends a body without end, in chunks or until the connection closes."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    if is_chunked:
        return Flood(head + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b" " * 4096 + b"\r\n")
    return Flood(head + b"Connection: close\r\n\r\n", b" " * 4096)


def endless_headers(*, is_one: bool = False) -> Flood:
    """Return the behaviour that never ends its header: field after field, or one field without end."""
    head = b"HTTP/1.1 200 OK\r\n"
    return Flood(head + b"X-Pad: ", b"a" * 1024) if is_one else Flood(head, b"X-Pad: " + b"a" * 64 + b"\r\n")


def endless_interim(status: int = 102) -> Flood:
    """Return the behaviour that sends interim answers (1xx, RFC 9110, section 15.2) without end."""
    return Flood(b"", f"HTTP/1.1 {status} Interim\r\n\r\n".encode())
