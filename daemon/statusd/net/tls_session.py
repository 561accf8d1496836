"""TLS over a trio socket, for one task that asks and then listens; closing needs no farewell and never waits."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import TypeVar

import trio

from statusd.errors import ProbeError
from statusd.net.limits import MAX_TLS_SILENCE, RECEIVE_BYTES
from statusd.net.tls import TlsTarget

T = TypeVar("T")


class TlsSession:
    """The TLS layer of one connection (`ssl.MemoryBIO`).

    Unlike `trio.SSLStream` it can tell whether anything is left unread, which decides whether the connection may
    be used again; it is for one task at a time.

    Args:
        sock: connected; whoever made it closes it.
        target: whom to expect there.
        where: the address, for messages.
    """

    def __init__(self, sock: trio.socket.SocketType, target: TlsTarget, where: str) -> None:
        self._sock = sock
        self._where = where
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = target.context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=target.server_name
        )

    async def handshake(self) -> None:
        """Make sure of the other end.

        Raises:
            ssl.SSLError: it is not who it should be, or speaks no TLS.
            OSError: the connection broke.
        """
        await self._drive(self._object.do_handshake)

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        await self._drive(lambda: self._object.write(data))

    async def receive(self) -> bytes:
        """Return some bytes, or none at the orderly end.

        Raises:
            ssl.SSLError: the connection broke, or ended without close_notify (RFC 8446, section 6.1), so that bytes
                may be missing.
        """
        return await self._drive(lambda: self._object.read(RECEIVE_BYTES))

    @property
    def is_drained(self) -> bool:
        """Whether everything that came was read."""
        return not self._incoming.pending and not self._object.pending()

    async def _drive(self, operation: Callable[[], T]) -> T:
        silence = 0
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                await self._flush()
                silence += await self._fill()
                if silence > MAX_TLS_SILENCE:
                    raise ProbeError(
                        "too_large",
                        f"{self._where} sent over {MAX_TLS_SILENCE} bytes of TLS without content.",
                    ) from None
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # the alert that names the cause is a courtesy
                    await self._flush()
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if pending := self._outgoing.read():
            await send_all(self._sock, pending)

    async def _fill(self) -> int:
        data = await self._sock.recv(RECEIVE_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return len(data)


async def send_all(sock: trio.socket.SocketType, data: bytes) -> None:
    """Send all of `data`, however little the socket takes at once."""
    rest = memoryview(data)
    while rest:
        sent = await sock.send(rest)
        rest = rest[sent:]
