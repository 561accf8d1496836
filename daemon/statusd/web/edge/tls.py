"""TLS on a connection: its beginning, its middle, and its end."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from email.utils import formatdate
from typing import Any, Final

import attrs
import trio

from statusd.plugin.contracts import problem
from statusd.web.edge import plain
from statusd.web.edge.requests import headers_of
from statusd.web.edge.shared import Edge, Queue

PIECE: Final = 8 * 1024
"""Bytes that are en- or decrypted at once: the buffers between the socket and OpenSSL grow to it, and never shrink."""

_SPOKEN: Final = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})
"""What OpenSSL calls a client that asks in the clear."""


def _plain_refusal() -> bytes:
    document = problem(400, "Bad Request", "tls_wanted", "This port speaks TLS: ask again with https.")
    headers = [*headers_of(document), (b"date", formatdate(usegmt=True).encode()), (b"connection", b"close")]
    fields = b"".join(b"%b: %b\r\n" % pair for pair in headers)
    return b"HTTP/1.1 400 Bad Request\r\n" + fields + b"\r\n" + document.body


@attrs.define(eq=False)
class _Sips(trio.abc.Stream):
    """What is below TLS, read a little at a time."""

    transport: trio.abc.HalfCloseableStream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        size = max_bytes or PIECE
        if not isinstance(self.transport, trio.SocketStream):
            return await self.transport.receive_some(size)
        try:
            return await plain.read(self.transport.socket.fileno(), size)
        except OSError as error:
            raise trio.BrokenResourceError("the client is gone") from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(self.transport, trio.SocketStream):
            await self.transport.send_all(data)
            return
        try:
            await plain.write_all(self.transport.socket.fileno(), memoryview(data))
        except OSError as error:
            raise trio.BrokenResourceError("the client is gone") from error

    async def wait_send_all_might_not_block(self) -> None:
        await self.transport.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.transport.aclose()


class TlsStream(trio.abc.Stream):
    """The server's end of an encrypted stream.

    Args:
        transport: what is below; owned.
        context: the certificate.
    """

    def __init__(self, transport: trio.abc.HalfCloseableStream, context: ssl.SSLContext) -> None:
        self.transport = transport
        # Browsers and probes end without a farewell (RFC 9110, section 4.2.2), and nothing here depends on one.
        self._tls = trio.SSLStream(_Sips(transport), context, server_side=True, https_compatible=True)

    @property
    def socket(self) -> Any:
        """The socket at the bottom, or None."""
        return getattr(self.transport, "socket", None)

    @property
    def protocol(self) -> str | None:
        """What the client chose by ALPN (RFC 7301)."""
        chosen: str | None = self._tls.selected_alpn_protocol()
        return chosen

    async def begin(self) -> None:
        """Shake hands.

        Raises:
            trio.BrokenResourceError: the client does not; the cause says more.
        """
        await self._tls.do_handshake()
        if isinstance(self.transport, trio.SocketStream):
            # TLS 1.3 has nothing more to say before the client's request. A client with Nagle's algorithm would hold
            # that back until the kernel acknowledges the rest of the handshake, which takes it 40 ms (tcp(7)).
            with suppress(OSError):  # a Unix socket has no such thing
                self.transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, as trio's streams do."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            await self._tls.send_all(view[start : start + PIECE])

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return what has come, as trio's streams do."""
        return await self._tls.receive_some(max_bytes)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room, as trio's streams do."""
        await self._tls.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close, without a farewell, and without waiting for anything."""
        try:
            await self._tls.aclose()
        finally:
            self.forget()

    def forget(self) -> None:
        """Let go of all that refers back; nothing can be sent or received any more.

        Trio's stream would keep itself, and 40 KB of OpenSSL's, until a garbage collection: a flood of handshakes could
        fill the memory before that.
        """
        vars(self._tls).clear()

    async def leave(self) -> trio.abc.HalfCloseableStream:
        """Send the end of the encrypted stream, and return what is below once the client has said its own.

        What the client is still sending is no longer understood; it may wait below.
        """
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._tls.unwrap()
        self.forget()
        return self.transport


async def shake_hands(
    transport: trio.abc.HalfCloseableStream, edge: Edge, *, is_probes_only: bool
) -> TlsStream | bytes:
    """Return the encrypted stream on `transport`, or, where the client begins none, what to tell it in the clear.

    Each takes about a millisecond of computing: many that come at once would keep everybody else waiting until the last
    of them has gone its first step. So they take turns.

    Args:
        transport: just accepted; the caller closes it.
        edge: has the certificate.
        is_probes_only: whether it came to a listener for probe endpoints alone.
    """
    certificates = edge.certificates
    assert certificates is not None
    if isinstance(transport, trio.SocketStream):
        await trio.lowlevel.wait_readable(transport.socket)
        await edge.turn(Queue.PROBES_HANDSHAKES if is_probes_only else Queue.HANDSHAKES)
        certificates = edge.certificates or certificates  # may be others by now
    stream, is_begun = TlsStream(transport, certificates.context), False
    try:
        await stream.begin()
        is_begun = True
    except trio.BrokenResourceError as error:
        return _plain_refusal() if getattr(error.__cause__, "reason", "") in _SPOKEN else b""
    finally:
        if not is_begun:
            stream.forget()
    return stream
