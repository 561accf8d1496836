"""TLS on a connection: its beginning, and its end."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import trio

from statusd.plugin.contracts import problem
from statusd.web.edge.requests import headers_of

TlsStream: TypeAlias = trio.SSLStream[Any]

_SPOKEN: Final = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})
"""What OpenSSL calls a client that asks in the clear."""


def _plain_refusal() -> bytes:
    document = problem(400, "Bad Request", "tls_wanted", "This port speaks TLS: ask again with https.")
    fields = b"".join(b"%b: %b\r\n" % pair for pair in headers_of(document))
    return b"HTTP/1.1 400 Bad Request\r\n" + fields + b"connection: close\r\n\r\n" + document.body


_REFUSAL: Final = _plain_refusal()


async def shake_hands(
    transport: trio.abc.HalfCloseableStream, context: ssl.SSLContext, turn: Callable[[], Awaitable[None]]
) -> TlsStream | bytes:
    """Return the encrypted stream on `transport`, or, where the client begins none, what to tell it in the clear.

    Args:
        transport: just accepted; the caller closes it.
        context: the certificate.
        turn: returns when it is this handshake's turn. Each takes about a millisecond of computing: many that come
            at once would keep everybody else waiting until the last of them has gone its first step.
    """
    if isinstance(transport, trio.SocketStream):
        await trio.lowlevel.wait_readable(transport.socket)
        await turn()
    # Browsers and probes end without a farewell (RFC 9110, section 4.2.2), and nothing here depends on one.
    stream = trio.SSLStream(transport, context, server_side=True, https_compatible=True)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        return _REFUSAL if getattr(error.__cause__, "reason", "") in _SPOKEN else b""
    if isinstance(transport, trio.SocketStream):
        _acknowledge(transport)
    return stream


def _acknowledge(transport: trio.SocketStream) -> None:
    """Tell the client at once that its part of the handshake has come.

    TLS 1.3 has nothing more for it before its request, which a client with Nagle's algorithm would hold back until
    the kernel's delayed acknowledgement, for 40 ms (tcp(7)).
    """
    with suppress(OSError):  # a Unix socket has none
        transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


async def take_leave(stream: TlsStream) -> trio.abc.HalfCloseableStream:
    """Send the end of the encrypted stream, and return what is below it once the client has said its own.

    What the client is still sending is no longer understood; it may wait below.
    """
    transport: trio.abc.HalfCloseableStream = stream.transport_stream
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.unwrap()
    return transport
